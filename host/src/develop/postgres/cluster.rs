//! A running private cluster, seen from the process that uses it: starts a guard, waits until it is ready, and holds
//! the pipe that keeps it running. Makes connection strings; never connects itself.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;

use super::folder::THROWAWAY_PREFIX;
use crate::limits;

/// Where the data of a cluster is, and how long it lasts.
#[derive(Clone, Debug)]
pub enum Data {
    /// This folder, with the data of earlier runs; made if it does not exist.
    Lasting(PathBuf),
    /// This folder, emptied first.
    Fresh(PathBuf),
    /// A folder of its own, deleted when the cluster ends; faster, because nothing is flushed to disk.
    Throwaway,
    /// The same, inside this folder, which chooses the disk.
    ThrowawayIn(PathBuf),
}

/// A private cluster that is ready. Stopped when dropped, and when this process ends in whatever way.
#[derive(Debug)]
pub struct Cluster {
    /// The folder of the unix socket.
    pub socket: PathBuf,
    /// The port that is part of the socket's name.
    pub port: u16,
    guard: Guard,
}

impl Cluster {
    /// Starts a cluster. `galo` is the path of this program, which runs the guard. Blocks until the cluster is ready: a
    /// tenth of a second, a second when it is new, minutes when the binaries must be downloaded, which is logged.
    ///
    /// # Errors
    /// When another galo uses the folder, there are no binaries, or Postgres fails; then with the end of its log.
    pub fn start(galo: &Path, data: Data) -> anyhow::Result<Self> {
        Self::start_with(galo, data, &[])
    }

    /// As [`Cluster::start`], with Postgres settings (`name=value`) that override those of a private cluster.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(galo: &Path, data: Data, settings: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(galo);
        command.arg("postgres");
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        command.arg("--data");
        let temporary = match data {
            Data::Lasting(folder) => {
                command.arg(folder);
                None
            }
            Data::Fresh(folder) => {
                command.arg(folder).arg("--fresh");
                None
            }
            Data::Throwaway => Some(throwaway(&mut command, &std::env::temp_dir())?),
            Data::ThrowawayIn(parent) => Some(throwaway(&mut command, &parent)?),
        };
        let mut guard = Guard::spawn(command, temporary)
            .with_context(|| format!("cannot run {}, which guards the private Postgres", galo.display()))?;
        let (socket, port) = guard.wait_ready().context("the private Postgres did not start")?;
        Ok(Self { socket, port, guard })
    }

    /// The connection string for a user and a database of this cluster, in the form that `tokio_postgres::Config` and
    /// libpq read: `postgresql://postgres@%2Ftmp%2Fgalo%2Dx1:5432/postgres`.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        url(&self.socket, self.port, user, database)
    }

    /// Stops the cluster and waits until it has ended. A second call does nothing.
    pub fn stop(&mut self) {
        self.guard.stop();
    }
}

/// Makes the folder of a throwaway cluster, which its guard deletes.
fn throwaway(command: &mut Command, parent: &Path) -> anyhow::Result<TempDir> {
    let private = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix(THROWAWAY_PREFIX).permissions(private).tempdir_in(parent)?;
    command.arg(folder.path()).arg("--throwaway");
    Ok(folder)
}

/// The guard's process.
#[derive(Debug)]
struct Guard {
    child: Child,
    /// Held open while we want the cluster.
    pipe: Option<ChildStdin>,
    /// The lines it prints; closed when it ends.
    lines: Receiver<String>,
    /// Deleted by the guard, and by us when it could not.
    _temporary: Option<TempDir>,
}

impl Guard {
    fn spawn(mut command: Command, temporary: Option<TempDir>) -> anyhow::Result<Self> {
        // A group of its own: Ctrl-C in a terminal goes to our group, and we still need the database to drain.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn()?;
        let pipe = child.stdin.take();
        let stdout = child.stdout.take().context("no pipe")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, pipe, lines, _temporary: temporary })
    }

    fn wait_ready(&mut self) -> anyhow::Result<(PathBuf, u16)> {
        match self.lines.recv_timeout(limits::POSTGRES_READY_MAX) {
            Ok(line) => parse_line(&line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("it was not ready after {} s", limits::POSTGRES_READY_MAX.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("its guard ended without a message ({})", self.child.wait().context("cannot wait for it")?)
            }
        }
    }

    fn stop(&mut self) {
        if self.pipe.take().is_none() {
            return;
        }
        let begun = Instant::now();
        while let Some(left) = limits::POSTGRES_GUARD_STOP_MAX.checked_sub(begun.elapsed()) {
            match self.lines.recv_timeout(left) {
                Ok(line) => tracing::warn!(%line, "the private Postgres failed"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = limits::POSTGRES_GUARD_STOP_MAX.as_secs();
                    tracing::warn!(seconds, "the guard of the private Postgres does not end; killing it");
                    // It may end between the two lines.
                    let _ = self.child.kill();
                    break;
                }
            }
        }
        // Its stdout is closed or it was killed: this does not wait.
        let _ = self.child.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Parses the line that a guard prints.
fn parse_line(line: &str) -> anyhow::Result<(PathBuf, u16)> {
    if let Some(why) = line.strip_prefix("failed ") {
        bail!(serde_json::from_str::<String>(why).unwrap_or_else(|_| why.to_owned()));
    }
    line.strip_prefix("ready ")
        .and_then(|facts| facts.rsplit_once(' '))
        .and_then(|(socket, port)| Some((PathBuf::from(socket), port.parse().ok()?)))
        .with_context(|| format!("unexpected line of its guard: {line:?}"))
}

/// The connection string for a user and a database of a cluster whose socket is in this folder.
#[must_use]
pub fn url(socket: &Path, port: u16, user: &str, database: &str) -> String {
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let host = socket.to_string_lossy();
    format!("postgresql://{}@{}:{port}/{}", encode(user), encode(&host), encode(database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_guard_is_read() {
        let ready = parse_line("ready /tmp/with space/x 5432").unwrap();
        assert_eq!(ready, (PathBuf::from("/tmp/with space/x"), 5432));
        assert_eq!(parse_line(r#"failed "two\nlines""#).unwrap_err().to_string(), "two\nlines");
        assert!(parse_line("ready").is_err());
        assert!(parse_line("").is_err());
    }

    #[test]
    fn tokio_postgres_reads_the_url() {
        let socket = Path::new("/tmp/odd %?/@:name");
        let url = url(socket, 5433, "us/er", "data?base");
        let config: tokio_postgres::Config = url.parse().unwrap();
        assert_eq!(config.get_hosts(), [tokio_postgres::config::Host::Unix(socket.to_path_buf())]);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_user(), Some("us/er"));
        assert_eq!(config.get_dbname(), Some("data?base"));
    }
}
