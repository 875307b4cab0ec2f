//! The server process itself: initdb, start, ready, stop. Every command line that a Postgres binary is given is in this
//! file. Called by the guard.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::account::{Account, answer};
use super::binaries::Binaries;
use super::events::{Event, Events, Left};
use super::folder::Folder;
use crate::limits;

/// The role that owns the cluster.
pub const SUPERUSER: &str = "postgres";

/// The port is only part of the socket's name, and the folder is the cluster's own.
pub(super) const PORT: u16 = 5432;

/// Takes half a second; a slow disk under load takes ten.
pub(super) const INITDB_MAX: Duration = Duration::from_secs(60);

/// Takes 50 ms; after a crash the log since the last checkpoint (1 GB at most) is read first.
pub(super) const START_MAX: Duration = Duration::from_secs(60);

/// How each signal stops postgres, and how long it may take: a fast shutdown writes a checkpoint; an immediate one
/// gives its children 5 s before it kills them; the last cannot be refused.
pub(super) const STOPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(20)),
    (Signal::SIGQUIT, Duration::from_secs(7)),
    (Signal::SIGKILL, Duration::from_secs(3)),
];

/// All of `STOPS`.
pub(super) const STOP_MAX: Duration = Duration::from_secs(20 + 7 + 3);

/// Postgres tells that it is ready in a file. 5 ms is a tenth of what a start takes.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// As much of the log as a person reads.
const LOG_TAIL_LINES: usize = 20;

/// Who may connect to data that lasts. Whoever gets to the socket is let in, its folder is closed to everyone else; but
/// a role only to the database of its own name: `galo` to `galo`.
const RULES: &str = "\
local  all          postgres  trust
local  replication  postgres  trust
local  sameuser     all       trust
";

/// Whether the data is meant to outlive the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Durable: what was committed is there after a power cut.
    Lasting,
    /// Nothing is ever flushed, and the shutdown skips its checkpoint.
    Throwaway,
}

/// Makes the data folder, under a temporary name until it is complete.
pub(super) fn initdb(binaries: &Binaries, folder: &Folder, care: Care, events: &Events) -> anyhow::Result<()> {
    let unfinished = folder.unfinished();
    fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    folder.account.own(&unfinished)?;
    let mut initdb = tied(folder.account, &binaries.folder.join("initdb"), "KILL");
    initdb.arg("-D").arg(&unfinished).args(["-U", SUPERUSER]);
    initdb.args(["-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]);
    if care == Care::Throwaway {
        initdb.arg("--no-sync");
    }
    let log = File::create(folder.log()).context("cannot make the log file")?;
    initdb.stdout(log.try_clone()?).stderr(log);
    let pid = events.spawn(&mut initdb).context("cannot run initdb")?;
    match events.next(INITDB_MAX) {
        Some(Event::Ended(status)) if status.success() => {}
        Some(Event::Ended(status)) => bail!("initdb failed ({status}); it said:\n{}", log_tail(folder)),
        early => {
            // What it has made so far is of no use to anyone.
            end(pid, &STOPS[2..], events);
            match early {
                Some(_) => bail!(Left),
                None => bail!("initdb was not done after {} s; it said:\n{}", INITDB_MAX.as_secs(), log_tail(folder)),
            }
        }
    }
    fs::rename(&unfinished, folder.data()).context("cannot rename the new data folder")
}

/// A postgres that is ready. Stopped when dropped.
pub(super) struct Server<'a> {
    pid: Pid,
    care: Care,
    events: &'a Events,
}

impl<'a> Server<'a> {
    /// Starts postgres on `folder`, its socket in `socket`, and waits until it is ready. Of two settings of one name
    /// the later wins, so `others` come last. To be called on the main thread: the kernel takes the end of the
    /// calling thread for the end of the parent.
    pub(super) fn start(
        binaries: &Binaries,
        folder: &Folder,
        socket: &Path,
        care: Care,
        others: &[String],
        events: &'a Events,
    ) -> anyhow::Result<Self> {
        let mut postgres = tied(folder.account, &binaries.folder.join("postgres"), "INT");
        postgres.arg("-D").arg(folder.data()).args(["-p", &PORT.to_string()]).arg("-k").arg(socket);
        // As deploy/compose.yaml has it, with the reason.
        for (variable, bytes) in limits::POSTGRES_MALLOC {
            postgres.env(variable, bytes.to_string());
        }
        for setting in settings(care) {
            postgres.args(["-c", setting]);
        }
        // A cluster that is thrown away has a database for each test, and one role that serves.
        if care == Care::Lasting {
            postgres.arg("-c").arg(format!("hba_file={}", folder.admit(RULES)?.display()));
        }
        for setting in others {
            postgres.args(["-c", setting]);
        }
        let log = File::create(folder.log()).context("cannot make the log file")?;
        postgres.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let pid = events.spawn(&mut postgres).context("cannot run postgres")?;
        let server = Self { pid, care, events };
        let begun = Instant::now();
        while !server.is_ready(&folder.data()) {
            match events.next(POLL_EVERY) {
                None if begun.elapsed() < START_MAX => {}
                None => bail!("postgres was not ready after {} s; its log:\n{}", START_MAX.as_secs(), log_tail(folder)),
                Some(Event::Ended(status)) => {
                    bail!("postgres did not start ({status}); its log:\n{}", log_tail(folder))
                }
                Some(Event::Leave) => bail!(Left),
            }
        }
        Ok(server)
    }

    /// Returns when somebody wants us to leave. Errors when postgres ends before that.
    pub(super) fn wait(&self, folder: &Folder) -> anyhow::Result<()> {
        match self.events.wait() {
            Event::Leave => Ok(()),
            Event::Ended(status) => bail!("postgres ended by itself ({status}); its log:\n{}", log_tail(folder)),
        }
    }

    /// Whether the pid file says that this very process accepts connections, if only to read: its first line and its
    /// eighth.
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
            Care::Lasting => &STOPS[..],
            Care::Throwaway => &STOPS[1..],
        };
        end(self.pid, stops, self.events);
    }
}

/// A command that the kernel sends `signal` to when we end without having ended it. Where `setpriv` is missing (not
/// Linux) or cannot do that (BusyBox) it is a plain command, and the next start clears up.
fn tied(account: Account, program: &Path, signal: &str) -> Command {
    let setpriv = || {
        let mut command = account.command("setpriv");
        command.args(["--pdeathsig", signal, "--"]);
        command
    };
    let mut probe = setpriv();
    probe.arg("true");
    if answer(probe).is_none() {
        return account.command(program);
    }
    let mut command = setpriv();
    command.arg(program);
    command
}

/// The settings of a cluster that only this machine's galo uses.
fn settings(care: Care) -> impl Iterator<Item = &'static str> {
    let always = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        // 64 connections for a node, twice, and a test per core with a pool of its own.
        "max_connections=500",
        // The whole working set is a few pages; the default is 128 MB.
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

/// Ends a process of ours by one signal after the other, until it has ended.
fn end(pid: Pid, stops: &[(Signal, Duration)], events: &Events) {
    if events.nothing_runs() {
        return;
    }
    for &(signal, bound) in stops {
        // It may end between the two lines.
        let _ = kill(pid, signal);
        let begun = Instant::now();
        while let Some(left) = bound.checked_sub(begun.elapsed()) {
            if let Some(Event::Ended(_)) = events.next(left) {
                return;
            }
        }
        tracing::warn!(%pid, %signal, seconds = bound.as_secs(), "the process did not end at the signal");
    }
}

fn log_tail(folder: &Folder) -> String {
    let text = fs::read(folder.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
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

    #[test]
    fn the_bound_of_a_stop_is_that_of_its_steps() {
        assert_eq!(STOPS.iter().map(|(_, bound)| *bound).sum::<Duration>(), STOP_MAX);
    }
}
