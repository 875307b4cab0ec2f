//! nginx with the configuration that is deployed: its paths, its nodes, its workers and where it listens are replaced,
//! nothing else.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// How long it may take to start, or to replace its workers.
const START_MAX: Duration = Duration::from_secs(30);

/// How long it may take to end before it is no longer waited for.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Between two checks of something that gives no event.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// The settings that nginx is started with.
pub struct Front<'a> {
    /// The program.
    pub program: &'a Path,
    /// The folder of the deployed configuration: `nginx.conf` is in it.
    pub deployed: &'a Path,
    /// The deployed list of nodes, of which the addresses are replaced.
    pub nodes: &'a Path,
    /// The sockets of the nodes, as many as are deployed.
    pub sockets: &'a [PathBuf],
    /// What `galo proxy nginx` writes.
    pub routes: &'a str,
    /// Its workers, or as many as are deployed.
    pub workers: Option<usize>,
    /// Where it listens.
    pub listen: Listen,
    /// The folder for its configuration, its log and its sockets.
    pub folder: &'a Path,
}

/// Where it listens.
#[derive(Clone, Debug)]
pub enum Listen {
    /// A port of loopback.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "127.0.0.1:{port}"),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listen {
    async fn answers(&self) -> bool {
        match self {
            Self::Port(port) => TcpStream::connect(("127.0.0.1", *port)).await.is_ok(),
            Self::Socket(path) => UnixStream::connect(path).await.is_ok(),
        }
    }
}

/// A running nginx; stopped when dropped.
pub struct Nginx {
    child: Child,
    /// Where clients connect.
    pub listen: Listen,
    /// Its master.
    pub pid: i32,
    log: PathBuf,
}

impl Nginx {
    /// Starts it; it takes connections when this returns.
    ///
    /// # Errors
    /// When the deployed files have another form, or nginx does not start.
    pub async fn start(front: Front<'_>) -> anyhow::Result<Self> {
        let Front { program, deployed, nodes, sockets, routes, workers, listen, folder } = front;
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        fs::create_dir_all(folder.join("upstream"))?;
        fs::write(folder.join("upstream/nodes.conf"), upstream(&read(nodes)?, sockets)?)?;
        fs::create_dir_all(folder.join("routes"))?;
        fs::write(folder.join("routes/galo.conf"), routes)?;
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, replaced(&read(&deployed.join("nginx.conf"))?, folder, &listen, workers)?)?;
        let log = folder.join("nginx.log");
        let mut child = Command::new(program)
            .args(["-g", "daemon off;", "-c"])
            .arg(&configuration)
            .arg("-e")
            .arg(&log)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run nginx")?;
        let pid = i32::try_from(child.id().context("nginx has ended")?)?;
        let begun = Instant::now();
        while !listen.answers().await {
            if let Some(status) = child.try_wait()? {
                bail!("nginx has ended ({status}): {}", fs::read_to_string(&log).unwrap_or_default());
            }
            ensure!(begun.elapsed() < START_MAX, "nginx does not start");
            sleep(POLL_EVERY).await;
        }
        Ok(Self { child, listen, pid, log })
    }

    /// Its log, from warnings on.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How many times a node did not answer.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.log().lines().filter(|line| line.contains("upstream")).count()
    }

    /// Makes it read its configuration again, and waits until new workers have taken over.
    ///
    /// # Errors
    /// When the old workers do not end.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let before = workers(self.pid)?;
        kill(Pid::from_raw(self.pid), Signal::SIGHUP)?;
        let begun = Instant::now();
        while workers(self.pid)?.iter().any(|worker| before.contains(worker)) {
            ensure!(begun.elapsed() < START_MAX, "nginx keeps its old workers");
            sleep(POLL_EVERY).await;
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its workers behind.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && begun.elapsed() < STOP_MAX {
            std::thread::sleep(POLL_EVERY);
        }
    }
}

fn workers(master: i32) -> std::io::Result<Vec<String>> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
    Ok(children.split_whitespace().map(str::to_owned).collect())
}

/// Replaces paths and addresses; each replacement must match a line.
fn replaced(theirs: &str, folder: &Path, listen: &Listen, workers: Option<usize>) -> anyhow::Result<String> {
    let folder = folder.display();
    let mut met = [false; 4];
    let mut lines = Vec::new();
    for line in theirs.lines() {
        let directive = line.trim_start();
        let mut meets = |place: usize| met[place] = true;
        lines.push(if directive.starts_with("listen ") {
            meets(0);
            line.replace(" 9999 ", &format!(" {listen} "))
        } else if directive.starts_with("error_log ") {
            // The tests count the requests that a node did not answer.
            meets(1);
            format!("error_log {folder}/nginx.log warn;")
        } else if directive.starts_with("worker_processes ") {
            meets(2);
            workers.map_or_else(|| line.to_owned(), |workers| format!("worker_processes {workers};"))
        } else if !directive.starts_with('#') && directive.contains(" /tmp/") {
            meets(3);
            line.replace(" /tmp/", &format!(" {folder}/"))
        } else {
            line.to_owned()
        });
    }
    ensure!(
        met == [true; 4],
        "deploy/nginx/nginx.conf has another form: replace something else in host/testing/src/nginx.rs"
    );
    // The workers must reach the sockets of the nodes, which are ours.
    let user = if Uid::effective().is_root() { "user root;\n" } else { "" };
    Ok(format!("{user}{}\n", lines.join("\n")))
}

/// The deployed lines, with the parameters they have, for these sockets.
fn upstream(theirs: &str, sockets: &[PathBuf]) -> anyhow::Result<String> {
    let lines: Vec<_> = theirs.lines().filter(|line| line.starts_with("server ")).collect();
    ensure!(lines.len() == sockets.len(), "the deployed nodes.conf has another number of nodes");
    let ours = lines.iter().zip(sockets).map(|(line, socket)| {
        let parameters = line.splitn(3, [' ', ';']).nth(2).unwrap_or_default().trim_end_matches(';');
        format!("server unix:{} {parameters};\n", socket.display())
    });
    Ok(ours.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_and_addresses_of_the_deployed_configuration_are_replaced() {
        let deployed = crate::program::checkout().root.join("deploy/nginx");
        let theirs = fs::read_to_string(deployed.join("nginx.conf")).unwrap();
        let text = replaced(&theirs, Path::new("/x/y"), &Listen::Port(1234), Some(2)).unwrap();
        for line in ["worker_processes 2;", "listen 127.0.0.1:1234 backlog", "pid /x/y/nginx.pid;", "keepalive 256;"] {
            assert!(text.contains(line), "{line}");
        }
        let text = replaced(&theirs, Path::new("/x/y"), &Listen::Socket("/z".into()), None).unwrap();
        assert!(text.contains("listen unix:/z backlog") && !text.contains("worker_processes 2;"), "{text}");
        assert!(replaced("listen 9999 backlog=1;", Path::new("/x"), &Listen::Port(1), None).is_err());
        let ours = |folder: &str| {
            let nodes = fs::read_to_string(deployed.join(folder).join("nodes.conf")).unwrap();
            upstream(&nodes, &["/a.sock".into(), "/b.sock".into()]).unwrap()
        };
        let free = "server unix:/a.sock max_fails=0;\nserver unix:/b.sock max_fails=0;\n";
        assert_eq!(ours("upstream"), free);
        assert_eq!(ours("upstream.placed"), free.replacen(';', " weight=2;", 1));
        assert!(upstream(free, &["/a.sock".into()]).is_err());
    }
}
