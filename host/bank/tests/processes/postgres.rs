//! The databases: of a cluster that all tests share, or of a durable one that a test may kill. A node reaches either
//! through a door, a folder of its own whose socket leads to where Postgres is at the moment; a test has another one.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use galo::config::Secret;
use galo::database::{self, Target};
use galo::develop::postgres::{Cluster, Data, SUPERUSER};
use galo_testing::database::{DATABASE, SERVICE_ROLE, connect};
use galo_testing::program::{self, checkout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

/// What Postgres calls its socket.
pub const SOCKET: &str = ".s.PGSQL.5432";

/// What is read on a standby is not cancelled when its replay was paused for over 30 s, which a busy machine makes of a
/// pause; and a standby whose connection is mended follows at once, and not 5 s later.
const OF_A_STANDBY: &str = "max_standby_streaming_delay = -1\nwal_retrieve_retry_interval = '100ms'\n";

async fn start(data: Data) -> Cluster {
    tokio::task::spawn_blocking(|| Cluster::start(program::galo(), data).unwrap()).await.unwrap()
}

/// A database with the project's schema.
pub struct Database {
    name: String,
    /// The socket of its cluster, now.
    socket: PathBuf,
    /// Where nodes look for it.
    door: TempDir,
    /// Where tests look for it, whatever stands in the nodes' door.
    back_door: TempDir,
}

impl Database {
    /// One of the shared cluster, which is not durable. The guard of the cluster deletes it when this process ends.
    pub async fn shared() -> Self {
        static CLUSTER: OnceCell<Mutex<Cluster>> = OnceCell::const_new();
        let cluster = CLUSTER.get_or_init(|| async { Mutex::new(start(Data::Throwaway).await) }).await;
        let socket = cluster.lock().unwrap().socket.clone();
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        Self::create(socket, format!("bank_{}", NUMBER.fetch_add(1, Ordering::Relaxed))).await
    }

    async fn create(socket: PathBuf, name: String) -> Self {
        let database = Self::empty(socket, name).await;
        database::apply(&target(&database.owner_url()), &checkout().sql()).await.unwrap();
        database
    }

    /// With nothing in it.
    async fn empty(socket: PathBuf, name: String) -> Self {
        let database = Self::at(socket, name);
        database::create(&target(&database.url(&database.socket, SUPERUSER, "postgres")), &database.name)
            .await
            .unwrap();
        database
    }

    /// One that is there.
    fn at(socket: PathBuf, name: String) -> Self {
        let (door, back_door) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let database = Self { name, socket, door, back_door };
        database.lead();
        database
    }

    /// How a router connects to it.
    pub fn place(&self) -> String {
        format!("host={} dbname={}", self.door.path().display(), self.name)
    }

    fn url(&self, folder: &Path, user: &str, database: &str) -> String {
        format!("host={} user={user} dbname={database}", folder.display())
    }

    /// As the superuser sees it, before and after a restart.
    pub fn owner_url(&self) -> String {
        self.url(self.back_door.path(), SUPERUSER, &self.name)
    }

    /// As a node sees it.
    pub fn service_url(&self) -> String {
        self.url(self.door.path(), SERVICE_ROLE, &self.name)
    }

    /// The socket of Postgres itself.
    pub fn socket(&self) -> PathBuf {
        self.socket.join(SOCKET)
    }

    /// The socket that nodes connect to.
    pub fn door(&self) -> PathBuf {
        self.door.path().join(SOCKET)
    }

    /// The folder of that socket.
    pub fn folder(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Has both doors lead to another Postgres.
    pub fn lead_to(&mut self, socket: &Path) {
        self.socket = socket.to_owned();
        self.lead();
    }

    /// Has both doors lead to Postgres, where it is now.
    fn lead(&self) {
        for door in [&self.door, &self.back_door] {
            let link = door.path().join("next");
            symlink(self.socket(), &link).unwrap();
            fs::rename(link, door.path().join(SOCKET)).unwrap();
        }
    }

    /// Runs SQL as the superuser.
    pub async fn execute(&self, sql: &str) {
        self.owner().await.batch_execute(sql).await.unwrap();
    }

    /// Statements of nodes that Postgres is at.
    pub async fn calls_under_way(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND usename = 'galo' AND state <> 'idle'";
        self.owner().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// A session of the superuser.
    pub async fn owner(&self) -> Client {
        connect(&self.owner_url()).await
    }
}

fn target(url: &str) -> Target {
    Target::parse(&Secret::new(url)).unwrap()
}

/// A durable cluster that can be killed.
pub struct Durable {
    /// None while it is dead.
    cluster: Option<Cluster>,
    data: TempDir,
}

impl Durable {
    /// A new one, with a database in it.
    pub async fn start() -> (Self, Database) {
        let data = tempfile::tempdir().unwrap();
        let cluster = start(Data::Lasting(data.path().to_owned())).await;
        let database = Database::create(cluster.socket.clone(), DATABASE.to_owned()).await;
        (Self { cluster: Some(cluster), data }, database)
    }

    /// The same with nothing in the database.
    pub async fn empty() -> (Self, Database) {
        let data = tempfile::tempdir().unwrap();
        let cluster = start(Data::Lasting(data.path().to_owned())).await;
        let database = Database::empty(cluster.socket.clone(), DATABASE.to_owned()).await;
        (Self { cluster: Some(cluster), data }, database)
    }

    /// A streaming standby of it, as `deploy/shards/standby` makes it for this new shard, and its database.
    pub async fn standby(&self, database: &Database, shard: usize) -> (Self, Database) {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("data");
        let mut script = tokio::process::Command::new(checkout().root.join("deploy/shards/standby"));
        script.arg(database.owner_url()).arg(&folder).arg(shard.to_string());
        let output = script.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut settings = File::options().append(true).open(folder.join("postgresql.auto.conf")).unwrap();
        settings.write_all(OF_A_STANDBY.as_bytes()).unwrap();
        // Root makes the copy; the account that runs Postgres owns it.
        let mut chown = std::process::Command::new("chown");
        chown.arg("-R").arg("--reference").arg(self.data()).arg(&folder);
        assert!(chown.status().unwrap().success());
        let cluster = start(Data::Lasting(data.path().to_owned())).await;
        let database = Database::at(cluster.socket.clone(), database.name.clone());
        (Self { cluster: Some(cluster), data }, database)
    }

    /// SIGKILL to every process of it, as when its container or its machine fails. The postmaster first, so that it
    /// starts no new ones.
    pub fn kill(&mut self) {
        let postmaster = self.postmaster();
        let backends = children(postmaster);
        for pid in [postmaster].into_iter().chain(backends) {
            // A backend may have ended by itself when the postmaster was gone.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.cluster.take().unwrap().stop();
    }

    /// Sends a signal to every process of it.
    pub fn signal_all(&self, signal: Signal) {
        let postmaster = self.postmaster();
        // The postmaster first: a process that it starts in between would be missed.
        for pid in [postmaster].into_iter().chain(children(postmaster)) {
            // A backend may have ended by itself.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Sends a signal to the process that accepts connections.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.postmaster()), signal).unwrap();
    }

    fn postmaster(&self) -> i32 {
        let file = self.data().join("postmaster.pid");
        fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap()
    }

    /// Stops it in good order.
    pub fn stop(&mut self) {
        self.cluster.take().unwrap().stop();
    }

    /// What it has on the disk.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// Starts it again on what is on the disk; it takes connections when this returns.
    pub async fn restart(&mut self, database: &mut Database) {
        let cluster = start(Data::Lasting(self.data.path().to_owned())).await;
        database.lead_to(&cluster.socket);
        self.cluster = Some(cluster);
    }
}

fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        // `pid (name) state parent ...`; the name may hold anything.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().nth(1));
        after_name.flatten().is_some_and(|found| found == parent.to_string())
    };
    pids.filter(is_child).collect()
}
