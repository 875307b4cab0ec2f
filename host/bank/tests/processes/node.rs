//! A node as a process of its own, on unix sockets in a folder.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use galo::report::{HandlerReport, NodeReport};
use galo_testing::http::{Answer, Connection};
use galo_testing::program;
use hyper::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// How long a test waits for something to happen before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two checks of something that gives no event.
pub const POLL_EVERY: Duration = Duration::from_millis(10);

/// A node, and how to start it again.
pub struct Node {
    name: String,
    folder: PathBuf,
    handlers: PathBuf,
    database_url: String,
    options: &'static [&'static str],
    child: Child,
}

impl Node {
    /// Starts it with these options besides those that every node has; it is ready when this returns.
    pub async fn start(
        name: &str,
        folder: &Path,
        handlers: &Path,
        database_url: &str,
        options: &'static [&'static str],
    ) -> Self {
        let child = spawn(name, folder, handlers, database_url, options);
        let node = Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            handlers: handlers.to_owned(),
            database_url: database_url.to_owned(),
            options,
            child,
        };
        node.until_ready().await;
        node
    }

    /// Where it answers.
    pub fn socket(&self) -> PathBuf {
        socket(&self.folder, &self.name)
    }

    /// Kills it, so that it has no time for anything.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.child.wait().await.unwrap().signal(), Some(9), "{} was to be killed", self.name);
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "the drain of {} was not graceful: {status}", self.name);
    }

    /// Starts it again after its end; it is ready when this returns.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.name, &self.folder, &self.handlers, &self.database_url, self.options);
        self.until_ready().await;
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// What its admin address reports of its handlers.
    pub async fn report(&self) -> NodeReport {
        serde_json::from_slice(&self.admin("/handlers").await.unwrap().body).unwrap()
    }

    /// A handler in that report.
    pub async fn handler(&self, name: &str) -> HandlerReport {
        self.report().await.handlers.into_iter().find(|handler| handler.name == name).unwrap()
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let body = self.admin("/metrics").await.unwrap().body;
        let text = String::from_utf8(body.to_vec()).unwrap();
        let values: Vec<f64> = text.lines().filter_map(|line| value(line, name)).collect();
        assert!(!values.is_empty(), "there is no metric {name}");
        values.iter().sum()
    }

    /// Bytes of it in the memory of the machine.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Bytes of the files that it has mapped: compiled components, in the cache or in memory, and images of guests.
    pub fn mapped(&self) -> u64 {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id().unwrap())).unwrap();
        let cache = self.folder.join("cache");
        let is_its = |path: &str| path.starts_with("/memfd:") || Path::new(path).starts_with(&cache);
        let size = |line: &str| {
            // `start-end mode offset device inode path`
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            let path = line.splitn(6, ' ').nth(5).map(str::trim).filter(|path| is_its(path));
            let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
            path.map(|_| end - start)
        };
        maps.lines().filter_map(size).sum()
    }

    /// Its admin address.
    pub fn admin_address(&self) -> String {
        format!("unix:{}", admin(&self.folder, &self.name).display())
    }

    async fn until_ready(&self) {
        let begun = Instant::now();
        while self.admin("/ready").await.is_none_or(|answer| answer.status != 200) {
            assert!(begun.elapsed() < PATIENCE, "{} is not ready", self.name);
            sleep(POLL_EVERY).await;
        }
    }

    async fn admin(&self, path: &str) -> Option<Answer> {
        Connection::try_open(&self.admin_address()).await.ok()?.send(Method::GET, path, "").await.ok()
    }
}

fn socket(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sock"))
}

fn admin(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.admin"))
}

/// The value of a line of `/metrics`, if it is of this metric.
fn value(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let is_its = rest.starts_with(' ') || rest.starts_with('{');
    rest.rsplit(' ').next().filter(|_| is_its)?.parse().ok()
}

fn spawn(name: &str, folder: &Path, handlers: &Path, database_url: &str, options: &[&str]) -> Child {
    let mut command = Command::from(program::command());
    let log = File::options().append(true).create(true).open(folder.join(format!("{name}.log"))).unwrap();
    let cache = folder.join("cache");
    fs::create_dir_all(&cache).unwrap();
    command
        .arg("serve")
        .arg("--handlers")
        .arg(handlers)
        .arg("--listen")
        .arg(format!("unix:{}", socket(folder, name).display()))
        .arg("--admin")
        .arg(format!("unix:{}", admin(folder, name).display()))
        .arg("--cache")
        .arg(cache)
        .args(options)
        .env("DATABASE_URL", database_url)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
