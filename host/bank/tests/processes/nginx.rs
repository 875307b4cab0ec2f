//! nginx with the configuration that is deployed: its paths, its nodes and where it listens are replaced, nothing else.
//! The routes are written from the manifest of the nodes, which has a handler more than the deployed one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::node::{LOOK_EVERY, PATIENCE};
use crate::postgres::checkout;

/// The program, where it is installed. Debian puts it where a plain user's PATH does not lead.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("nginx")).find(|program| program.is_file())
}

/// A running nginx.
pub struct Nginx {
    child: Child,
    /// Where clients connect.
    pub socket: PathBuf,
}

impl Nginx {
    /// Starts it in front of the nodes with these sockets and what `galo proxy nginx` wrote; it takes connections when
    /// this returns.
    pub async fn start(folder: &Path, nodes: &[PathBuf], routes: &str) -> Self {
        let socket = folder.join("front.sock");
        fs::create_dir(folder.join("upstream")).unwrap();
        fs::write(folder.join("upstream/nodes.conf"), upstream(nodes)).unwrap();
        fs::create_dir(folder.join("routes")).unwrap();
        fs::write(folder.join("routes/galo.conf"), routes).unwrap();
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, deployed(folder, &socket)).unwrap();
        let mut child = Command::new(program().unwrap())
            .args(["-g", "daemon off;", "-c"])
            .arg(&configuration)
            .arg("-e")
            .arg(folder.join("nginx.log"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while UnixStream::connect(&socket).await.is_err() {
            assert!(child.try_wait().unwrap().is_none(), "nginx has ended");
            assert!(begun.elapsed() < PATIENCE, "nginx does not start");
            sleep(LOOK_EVERY).await;
        }
        Self { child, socket }
    }

    /// How often a node did not answer it.
    pub fn errors(&self) -> usize {
        let log = fs::read_to_string(self.socket.with_file_name("nginx.log")).unwrap();
        log.lines().filter(|line| line.contains("upstream")).count()
    }

    /// Has it read its configuration anew, and waits until new workers have taken over.
    pub async fn reload(&self) {
        let master = i32::try_from(self.child.id().unwrap()).unwrap();
        let before = workers(master);
        kill(Pid::from_raw(master), Signal::SIGHUP).unwrap();
        let begun = Instant::now();
        while workers(master).iter().any(|worker| before.contains(worker)) {
            assert!(begun.elapsed() < PATIENCE, "nginx keeps its old workers");
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its workers behind.
        if let Some(pid) = self.child.id() {
            let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM);
            let begun = Instant::now();
            while self.child.try_wait().is_ok_and(|status| status.is_none()) && begun.elapsed() < PATIENCE {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}

fn workers(master: i32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
    children.split_whitespace().map(str::to_owned).collect()
}

/// The deployed configuration with what a container gives it replaced. Each replacement has to meet something.
fn deployed(folder: &Path, socket: &Path) -> String {
    let file = checkout().root.join("deploy/nginx/nginx.conf");
    let theirs = fs::read_to_string(file).unwrap();
    let folder = folder.display();
    let mut met = [false; 3];
    let lines: Vec<_> = theirs
        .lines()
        .map(|line| match line.trim_start() {
            directive if directive.starts_with("listen ") => {
                met[0] = true;
                line.replace(" 9999 ", &format!(" unix:{} ", socket.display()))
            }
            // A test wants to know every time that a node did not answer.
            directive if directive.starts_with("error_log ") => {
                met[1] = true;
                format!("error_log {folder}/nginx.log warn;")
            }
            directive if !directive.starts_with('#') && directive.contains(" /tmp/") => {
                met[2] = true;
                line.replace(" /tmp/", &format!(" {folder}/"))
            }
            _ => line.to_owned(),
        })
        .collect();
    assert_eq!(met, [true; 3], "deploy/nginx/nginx.conf has another form: replace something else here");
    let text = lines.join("\n");
    // The workers must reach the sockets of the nodes, which are ours.
    if Uid::effective().is_root() { format!("user root;\n{text}") } else { text }
}

/// The deployed lines, with the parameters they have, for these nodes.
fn upstream(nodes: &[PathBuf]) -> String {
    let file = checkout().root.join("deploy/nginx/upstream/nodes.conf");
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("server ")).collect();
    assert_eq!(lines.len(), nodes.len(), "deploy/nginx/upstream/nodes.conf has another number of nodes");
    let ours = lines.iter().zip(nodes).map(|(line, node)| {
        let parameters = line.splitn(3, [' ', ';']).nth(2).unwrap().trim_end_matches(';');
        format!("server unix:{} {parameters};\n", node.display())
    });
    ours.collect()
}
