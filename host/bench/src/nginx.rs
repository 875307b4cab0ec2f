//! nginx with the configuration that is deployed: its paths, its nodes, its workers and where it listens are replaced,
//! nothing else. `host/bank/tests/processes/nginx.rs` does the same for tests, which may panic. Called by `measure`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::schedule::Placement;
use crate::server::{LOOK_EVERY, START_MAX};

/// How long it may take to end before it is left alone.
const STOP_MAX: Duration = Duration::from_secs(5);

/// A running nginx; stopped when dropped.
pub struct Nginx {
    child: Child,
    /// Its port on loopback: wrk speaks TCP only.
    pub port: u16,
    /// Its master.
    pub pid: i32,
    log: PathBuf,
}

impl Nginx {
    /// Starts it in front of these sockets; it takes connections when this returns.
    ///
    /// # Errors
    /// That the deployed files have another form, or that it does not start.
    pub async fn start(
        program: &Path,
        deployed: &Path,
        placement: Placement,
        folder: &Path,
        workers: usize,
        sockets: &[PathBuf],
    ) -> anyhow::Result<Self> {
        // Free a moment ago; nothing but us looks for ports of this machine in the moment between.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let read = |name: &str| {
            let path = deployed.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        fs::create_dir(folder.join("upstream"))?;
        let nodes = read(&format!("{}/nodes.conf", placement.upstream()))?;
        fs::write(folder.join("upstream/nodes.conf"), upstream(&nodes, sockets)?)?;
        let theirs = read("nginx.conf")?;
        fs::create_dir(folder.join("routes"))?;
        // An older checkout, which is compared with this one, has none.
        if theirs.contains("routes/galo.conf") {
            fs::write(folder.join("routes/galo.conf"), read("routes/galo.conf")?)?;
        }
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, replaced(&theirs, folder, port, workers)?)?;
        let log = folder.join("nginx.log");
        let mut child = Command::new(program)
            .args(["-g", "daemon off;", "-c"])
            .arg(&configuration)
            .arg("-e")
            .arg(&log)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run nginx")?;
        let pid = i32::try_from(child.id().context("nginx has ended")?)?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("nginx has ended ({status}): {}", fs::read_to_string(&log).unwrap_or_default());
            }
            ensure!(begun.elapsed() < START_MAX, "nginx does not start");
            sleep(LOOK_EVERY).await;
        }
        Ok(Self { child, port, pid, log })
    }

    /// What it complained of.
    pub fn complaints(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().take(5).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its workers behind.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && begun.elapsed() < STOP_MAX {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Each replacement has to meet something.
fn replaced(theirs: &str, folder: &Path, port: u16, workers: usize) -> anyhow::Result<String> {
    let folder = folder.display();
    let mut met = [false; 4];
    let mut lines = Vec::new();
    for line in theirs.lines() {
        let directive = line.trim_start();
        let mut meets = |place: usize| met[place] = true;
        lines.push(if directive.starts_with("listen ") {
            meets(0);
            line.replace(" 9999 ", &format!(" 127.0.0.1:{port} "))
        } else if directive.starts_with("error_log ") {
            // A run wants to know every time that a node did not answer.
            meets(1);
            format!("error_log {folder}/nginx.log warn;")
        } else if directive.starts_with("worker_processes ") {
            meets(2);
            format!("worker_processes {workers};")
        } else if !directive.starts_with('#') && directive.contains(" /tmp/") {
            meets(3);
            line.replace(" /tmp/", &format!(" {folder}/"))
        } else {
            line.to_owned()
        });
    }
    ensure!(
        met == [true; 4],
        "deploy/nginx/nginx.conf has another form: galo-bench has to replace something else in it"
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
    fn the_deployed_configuration_is_replaced_where_it_says_places() {
        let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx");
        let theirs = fs::read_to_string(deployed.join("nginx.conf")).unwrap();
        let text = replaced(&theirs, Path::new("/x/y"), 1234, 2).unwrap();
        for line in ["worker_processes 2;", "listen 127.0.0.1:1234 backlog", "pid /x/y/nginx.pid;", "keepalive 256;"] {
            assert!(text.contains(line), "{line}");
        }
        assert!(replaced("listen 9999 backlog=1;", Path::new("/x"), 1, 1).is_err());
        let ours = |placement: Placement| {
            let nodes = fs::read_to_string(deployed.join(placement.upstream()).join("nodes.conf")).unwrap();
            upstream(&nodes, &["/a.sock".into(), "/b.sock".into()]).unwrap()
        };
        let free = "server unix:/a.sock max_fails=0;\nserver unix:/b.sock max_fails=0;\n";
        assert_eq!(ours(Placement::Free), free);
        assert_eq!(ours(Placement::Placed), free.replacen(';', " weight=2;", 1));
    }
}
