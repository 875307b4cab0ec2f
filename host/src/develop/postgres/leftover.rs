//! The postgres that a killed guard left behind, where the kernel did not end it, and the file that would keep the next
//! one from starting. Touches no process that is not a server of that very folder. Called by `folder`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::account::answer;
use super::server::STOPS;

/// The end of a process that is not our child is no event. A shutdown takes a tenth of a second.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// Stops the postgres that a killed guard left on `data`, and the trace of it that would keep the next from starting.
pub(super) fn stop(data: &Path) -> anyhow::Result<()> {
    let file = data.join("postmaster.pid");
    let Some(pid) = fs::read_to_string(&file).ok().and_then(|text| text.lines().next()?.parse().ok()) else {
        return Ok(());
    };
    let pid = Pid::from_raw(pid);
    if kill(pid, None) == Err(Errno::ESRCH) {
        return Ok(()); // Postgres itself knows what to do with the file.
    }
    if !is_postgres_on(data, pid) {
        // The pid has gone to somebody else since, or its end has not been collected. Postgres would take either for a
        // server of its own and refuse to start.
        return fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()));
    }
    tracing::info!(%pid, data = %data.display(), "stopping the postgres of a galo that was killed");
    for (signal, bound) in STOPS {
        // It may end between the two lines.
        let _ = kill(pid, signal);
        let begun = Instant::now();
        while begun.elapsed() < bound {
            if !is_postgres_on(data, pid) {
                return Ok(());
            }
            thread::sleep(POLL_EVERY);
        }
    }
    bail!("the postgres of a galo that was killed (pid {pid}) does not end")
}

/// Whether that process is a server, still running, whose command line names `data`.
fn is_postgres_on(data: &Path, pid: Pid) -> bool {
    // Its arguments, between zeros. Empty for one that has ended and that its parent has not yet waited for.
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
    fn a_pid_that_went_to_somebody_else_is_no_leftover() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("postmaster.pid");
        fs::write(&file, format!("{}\n", std::process::id())).unwrap();
        stop(data.path()).unwrap();
        assert!(!file.exists());
    }
}
