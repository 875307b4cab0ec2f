//! The server process: its settings, its start, and its stop.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, bail};
use nix::unistd::Pid;

use super::binaries::Binaries;
use super::events::{Event, Events, Left};
use super::folder::Folder;
use super::stop;
use crate::limits;

/// The port is only part of the socket's name, and the folder is the cluster's own.
pub(super) const PORT: u16 = 5432;

/// Who may connect to data that lasts. The folder of the socket is closed to other users, so no password is asked for;
/// but only the superuser reaches the databases of the cluster itself.
const RULES: &str = "\
local  all          postgres  trust
local  replication  postgres  trust
local  postgres,template1  all  reject
local  all          all       trust
";

/// Whether the data is meant to outlive the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Durable: what was committed is there after a power cut.
    Lasting,
    /// Not durable: nothing is flushed, and the shutdown skips its checkpoint.
    Throwaway,
}

/// A Postgres that is ready. Stopped when dropped.
pub(super) struct Server<'a> {
    pid: Pid,
    care: Care,
    events: &'a Events,
}

impl<'a> Server<'a> {
    /// Starts Postgres on `folder` with its socket in `socket`, and waits until it is ready. Of two settings of one
    /// name the later wins, so `others` come last. Must be called on the main thread: the kernel takes the end of the
    /// calling thread for the end of the parent.
    pub(super) fn start(
        binaries: &Binaries,
        folder: &Folder,
        socket: &Path,
        care: Care,
        others: &[String],
        events: &'a Events,
    ) -> anyhow::Result<Self> {
        let mut postgres = folder.account.tied_command(&binaries.folder.join("postgres"), "INT");
        postgres.arg("-D").arg(folder.data()).args(["-p", &PORT.to_string()]).arg("-k").arg(socket);
        // The same as in deploy/compose.yaml, which has the reason.
        for (variable, bytes) in limits::POSTGRES_MALLOC {
            postgres.env(variable, bytes.to_string());
        }
        for setting in settings(care) {
            postgres.args(["-c", setting]);
        }
        // A throwaway cluster has a database for each test, and one role that serves them all.
        if care == Care::Lasting {
            postgres.arg("-c").arg(format!("hba_file={}", folder.admit(RULES)?.display()));
        }
        for setting in others {
            postgres.args(["-c", setting]);
        }
        let log = File::create(folder.log()).context("cannot make the log file")?;
        postgres.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let pid = events.spawn(&mut postgres).context("cannot run `postgres`")?;
        let server = Self { pid, care, events };
        let begun = Instant::now();
        while !server.is_ready(&folder.data()) {
            match events.next(limits::POSTGRES_POLL_EVERY) {
                None if begun.elapsed() < limits::POSTGRES_START_MAX => {}
                None => {
                    let seconds = limits::POSTGRES_START_MAX.as_secs();
                    bail!("Postgres was not ready after {seconds} s; its log:\n{}", folder.log_tail())
                }
                Some(Event::Ended(status)) => {
                    bail!("Postgres did not start ({status}); its log:\n{}", folder.log_tail())
                }
                Some(Event::Leave) => bail!(Left),
            }
        }
        Ok(server)
    }

    /// Waits until we are asked to leave.
    ///
    /// # Errors
    /// When Postgres ends before that.
    pub(super) fn wait(&self, folder: &Folder) -> anyhow::Result<()> {
        match self.events.wait() {
            Event::Leave => Ok(()),
            Event::Ended(status) => bail!("Postgres ended by itself ({status}); its log:\n{}", folder.log_tail()),
        }
    }

    /// Whether the pid file shows that this very process accepts connections, if only to read: lines 1 and 8.
    fn is_ready(&self, data: &Path) -> bool {
        let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
        let mut lines = text.lines();
        lines.next().is_some_and(|pid| pid == self.pid.to_string())
            && lines.nth(6).is_some_and(|status| ["ready", "standby"].contains(&status.trim_end()))
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let stops = match self.care {
            Care::Lasting => &stop::LASTING[..],
            Care::Throwaway => &stop::THROWAWAY[..],
        };
        self.events.stop(self.pid, stops);
    }
}

/// The settings of a cluster that only this machine's galo uses.
fn settings(care: Care) -> impl Iterator<Item = &'static str> {
    let always = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        // Two nodes with 64 connections each, and a test per core with a pool of its own.
        "max_connections=500",
        // The working set is a few pages; the default is 128 MB.
        "shared_buffers=32MB",
        "timezone=UTC",
        "log_timezone=UTC",
        // Never worth it for statements of a millisecond, and it loads LLVM into every backend.
        "jit=off",
    ];
    let throwaway =
        ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0"];
    let throwaway = throwaway.into_iter().filter(move |_| care == Care::Throwaway);
    always.into_iter().chain(throwaway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_throwaway_cluster_forgoes_durability() {
        assert!(settings(Care::Throwaway).any(|setting| setting == "fsync=off"));
        assert!(!settings(Care::Lasting).any(|setting| setting.ends_with("=off") && setting != "jit=off"));
        assert!(settings(Care::Lasting).any(|setting| setting == "listen_addresses="));
    }
}
