//! A Postgres that one test may stop, start, copy and make a standby; and a slow network to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use galo::config::Secret;
use galo::database::{self, Target};
use galo::develop::build::Profile;
use galo::develop::postgres::{Cluster, Data, SUPERUSER};
use galo::serve;
use galo_testing::database::{DATABASE, SERVICE_ROLE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::harness::{GALO, TestDatabase, TestNode, checkout, connect, engine, handlers, scratch, settings};

/// A Postgres that one test may stop and start, always on the same path.
pub struct OwnPostgres {
    folder: TempDir,
    pub cluster: Cluster,
}

impl OwnPostgres {
    pub async fn start() -> Self {
        let own = Self::empty().await;
        database::apply(&own.target(SUPERUSER, DATABASE), &checkout().root.join("sql")).await.unwrap();
        own
    }

    /// With a database that has nothing in it.
    pub async fn empty() -> Self {
        let (folder, data) = scratch("data");
        let cluster = tokio::task::block_in_place(|| Cluster::start(Path::new(GALO), Data::Lasting(data)).unwrap());
        let own = Self { folder, cluster };
        own.link();
        database::create(&own.target(SUPERUSER, "postgres"), DATABASE).await.unwrap();
        own
    }

    fn link(&self) {
        self.lead_to(self);
    }

    /// Makes the path lead to another Postgres.
    pub fn lead_to(&self, other: &Self) {
        let socket = self.folder.path().join("socket");
        let _ = std::fs::remove_file(&socket);
        std::os::unix::fs::symlink(&other.cluster.socket, socket).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Another one with the same data. This one must be stopped.
    pub fn copy(&self) -> Self {
        let (folder, data) = scratch("data");
        std::fs::create_dir(&data).unwrap();
        let copied = Command::new("cp").arg("-a").arg(self.data().join("data")).arg(&data).status().unwrap();
        assert!(copied.success());
        let cluster = tokio::task::block_in_place(|| Cluster::start(Path::new(GALO), Data::Lasting(data)).unwrap());
        let own = Self { folder, cluster };
        own.link();
        own
    }

    /// Starts it again as a standby that waits for a primary.
    pub fn become_standby(&mut self) {
        self.stop();
        std::fs::write(self.data().join("data/standby.signal"), "").unwrap();
        self.start_again();
    }

    /// Promotes the standby to a primary.
    pub async fn promote(&self) {
        let owner = connect(&self.url(SUPERUSER, DATABASE)).await;
        assert!(owner.query_one("SELECT pg_promote()", &[]).await.unwrap().get::<_, bool>(0));
    }

    /// Its host, for a URL of several hosts.
    pub fn host(&self) -> String {
        self.folder.path().join("socket").display().to_string()
    }

    pub fn stop(&mut self) {
        tokio::task::block_in_place(|| self.cluster.stop());
    }

    pub fn start_again(&mut self) {
        let data = Data::Lasting(self.data());
        self.cluster = tokio::task::block_in_place(|| Cluster::start(Path::new(GALO), data).unwrap());
        self.link();
    }

    pub fn url(&self, user: &str, database: &str) -> String {
        format!("host={} user={user} dbname={database}", self.host())
    }

    pub fn target(&self, user: &str, database: &str) -> Target {
        Target::parse(&Secret::new(self.url(user, database))).unwrap()
    }

    pub async fn node(&self) -> TestNode {
        let settings = settings(handlers(Profile::Release));
        TestNode { running: serve::start(&settings, &self.target(SERVICE_ROLE, DATABASE), engine()).await.unwrap() }
    }

    /// Sends a signal to every process of the cluster.
    pub fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.data().join("data/postmaster.pid")).unwrap();
        let postmaster = pid.lines().next().unwrap().to_owned();
        let children = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let parent = stat.rsplit(") ").next()?.split(' ').nth(1)? == postmaster;
            parent.then(|| stat.split(' ').next().unwrap().to_owned())
        });
        // The postmaster first: a process that it starts in between would be missed.
        for pid in std::iter::once(postmaster.clone()).chain(children) {
            kill(Pid::from_raw(pid.parse().unwrap()), signal).unwrap();
        }
    }
}

/// A proxy to a Postgres that delays every byte by half of a round trip.
pub struct Far {
    pub port: u16,
    /// Accepts connections; all of them end with it.
    task: JoinHandle<()>,
}

impl Far {
    /// `socket` is the folder of its socket.
    pub async fn start(socket: &Path, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = socket.join(".s.PGSQL.5432");
        let task = tokio::spawn(async move {
            let mut ways = tokio::task::JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                near.set_nodelay(true).unwrap();
                // TCP's handshake takes a round trip that loopback does not have.
                let arrives = Instant::now() + round_trip;
                let Ok(far) = UnixStream::connect(&socket).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                ways.spawn(carry(near_in, far_out, round_trip / 2, arrives));
                ways.spawn(carry(far_in, near_out, round_trip / 2, arrives));
            }
        });
        Self { port, task }
    }

    /// Ends all connections and accepts no more.
    pub fn cut(&self) {
        self.task.abort();
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    delay: Duration,
    not_before: Instant,
) {
    let (sender, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let writer = async {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let reader = async {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            let due = (Instant::now() + delay).max(not_before);
            let _ = sender.send((due, bytes[..length].to_vec()));
        }
        drop(sender);
    };
    tokio::join!(writer, reader);
}

/// `.ci/run` runs the tests on several versions, and sets `POSTGRES_MAJOR` to the one that it expects.
#[tokio::test(flavor = "multi_thread")]
async fn the_tests_run_on_the_expected_version() {
    let owner = TestDatabase::new().await.owner().await;
    let version: String = owner.query_one("SHOW server_version", &[]).await.unwrap().get(0);
    let major = version.split('.').next().unwrap();
    match std::env::var("POSTGRES_MAJOR") {
        Ok(meant) => assert_eq!(major, meant, "on {version}"),
        Err(_) => assert!(major.parse::<u32>().unwrap() >= 14, "on {version}"),
    }
}
