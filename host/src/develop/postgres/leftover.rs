//! Stops the Postgres that a killed guard left running, where the kernel did not end it, and removes the pid file that
//! would keep the next one from starting. It signals only a server whose command line names this very folder.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::account::answer;
use super::stop;
use crate::limits;

/// Stops the Postgres of `data` that has no guard, and removes the pid file of one that has ended.
pub(super) fn clear(data: &Path) -> anyhow::Result<()> {
    let file = data.join("postmaster.pid");
    let Some(pid) = fs::read_to_string(&file).ok().and_then(|text| text.lines().next()?.parse().ok()) else {
        return Ok(());
    };
    let pid = Pid::from_raw(pid);
    if kill(pid, None) == Err(Errno::ESRCH) {
        return Ok(()); // Postgres itself knows what to do with the file.
    }
    if !is_postgres_on(data, pid) {
        // The pid belongs to another process by now, or to a zombie. Postgres would take either for a server of its own
        // and refuse to start.
        return fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()));
    }
    tracing::info!(%pid, data = %data.display(), "stopping the Postgres of a galo that was killed");
    let ended = stop::stop(pid, &stop::LASTING, |left| {
        thread::sleep(left.min(limits::POSTGRES_POLL_EVERY));
        !is_postgres_on(data, pid)
    });
    ensure!(ended, "the Postgres of a galo that was killed (pid {pid}) does not end; end it, then try again");
    Ok(())
}

/// Whether that process is a server, still running, whose command line names `data`.
fn is_postgres_on(data: &Path, pid: Pid) -> bool {
    // Its arguments, separated by zeros. Empty for a zombie.
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).or_else(|_| {
        let mut ps = Command::new("ps"); // Not Linux.
        ps.args(["-o", "command=", "-p", &pid.to_string()]);
        answer(ps).map(String::into_bytes).ok_or(())
    });
    command_line.is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&*data.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_belongs_to_another_process_is_not_a_leftover() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("postmaster.pid");
        fs::write(&file, format!("{}\n", std::process::id())).unwrap();
        clear(data.path()).unwrap();
        assert!(!file.exists());
    }
}
