//! The private cluster of a run of tests, one per process, and a database of its own for each test.

#![expect(clippy::unwrap_used, reason = "set-up for tests: what fails here fails the test")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use galo::config::Secret;
use galo::database::{self, Batch, GrantedProcedure, Target};
use galo::develop::postgres::{Cluster, Data, SUPERUSER};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::OnceCell;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::engine::PATIENCE;
use crate::program::{self, checkout};

/// The database of this repository's manifest.
pub const DATABASE: &str = "galo";

/// The role of this repository's manifest, which its `sql/` creates.
pub const SERVICE_ROLE: &str = "galo";

/// The database every test's database is a copy of.
const TEMPLATE: &str = "galo_template";

/// What a manifest grants with this procedure and this batch form.
pub fn granted(name: &str, batch: Option<&Batch>) -> GrantedProcedure {
    GrantedProcedure { batch: batch.cloned(), ..GrantedProcedure::plain(name) }
}

/// The URL of a database of the one cluster. Its guard stops it when this process has ended, and deletes it.
async fn cluster_url(user: &str, database: &str) -> String {
    static CLUSTER: OnceCell<Mutex<Cluster>> = OnceCell::const_new();
    let started = CLUSTER.get_or_init(|| async {
        let start = || Cluster::start(program::galo(), Data::Throwaway).unwrap();
        let cluster = tokio::task::spawn_blocking(start).await.unwrap();
        let target = |database| Target::parse(&Secret::new(cluster.url(SUPERUSER, database))).unwrap();
        database::create(&target("postgres"), TEMPLATE).await.unwrap();
        database::apply(&target(TEMPLATE), &checkout().root.join("sql")).await.unwrap();
        Mutex::new(cluster)
    });
    started.await.lock().unwrap().url(user, database)
}

/// A database of one test.
pub struct TestDatabase {
    owner_url: String,
    service_url: String,
}

impl TestDatabase {
    /// A copy of the template: the schema, the procedures, the five clients.
    pub async fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let maintenance = connect(&cluster_url(SUPERUSER, "postgres").await).await;
        maintenance.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await.unwrap();
        Self { owner_url: cluster_url(SUPERUSER, &name).await, service_url: cluster_url(SERVICE_ROLE, &name).await }
    }

    /// Its URL for the service's role.
    pub fn service_url(&self) -> String {
        self.service_url.clone()
    }

    /// Its URL for the superuser.
    pub fn owner_url(&self) -> String {
        self.owner_url.clone()
    }

    /// The same as a [`Target`].
    pub fn target(&self) -> Target {
        Target::parse(&Secret::new(self.service_url())).unwrap()
    }

    /// The superuser's URL as a [`Target`].
    pub fn owner_target(&self) -> Target {
        Target::parse(&Secret::new(self.owner_url())).unwrap()
    }

    /// The same database, which the service reaches by another URL.
    pub fn by(self, service_url: String) -> Self {
        Self { service_url, ..self }
    }

    /// A connection of the superuser.
    pub async fn owner(&self) -> tokio_postgres::Client {
        connect(&self.owner_url()).await
    }

    /// A connection of the service's role.
    pub async fn service(&self) -> tokio_postgres::Client {
        connect(&self.service_url()).await
    }

    /// Runs SQL as the superuser.
    pub async fn execute(&self, sql: &str) {
        self.owner().await.batch_execute(sql).await.unwrap();
    }

    /// The server processes of the service's connections.
    pub async fn backends(&self) -> Vec<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'galo'";
        self.owner().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Ends every connection of the service, and returns how many there were.
    pub async fn kill_connections(&self) -> usize {
        let backends = self.backends().await;
        self.owner()
            .await
            .query("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", &[&backends])
            .await
            .unwrap();
        backends.len()
    }

    /// Stops the server process of the connection that carries out batches: a statement that is sent to it does not
    /// finish until the result is dropped. The connection must be idle.
    pub async fn hold_batches(&self) -> Held {
        let sql = "SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name LIKE 'galo% batches'";
        let pids = self.owner().await.query(sql, &[]).await.unwrap();
        let pids: Vec<_> = pids.iter().map(|row| Pid::from_raw(row.get(0))).collect();
        assert!(!pids.is_empty(), "no connection carries batches out");
        pids.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
        Held(pids)
    }

    /// Waits until a call on a connection of the pool waits for a row that a test has locked. A call of a lane first
    /// gives up on that row on the connection of batches.
    pub async fn until_a_call_waits_for_a_lock(&self) {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE 'galo%' AND application_name NOT LIKE '% batches'";
        let owner = self.owner().await;
        let deadline = Instant::now() + PATIENCE;
        while owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(Instant::now() < deadline, "no call waits for a lock");
        }
    }

    /// Every violation of the ledger, as `sql/check/ledger.sql` reports it.
    pub async fn violations(&self) -> Vec<String> {
        let check = std::fs::read_to_string(checkout().root.join("sql/check/ledger.sql")).unwrap();
        let messages = self.owner().await.simple_query(&check).await.unwrap();
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("null")).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        });
        rows.collect()
    }

    /// Asserts that there is no violation. Every test that moves money ends with this.
    pub async fn assert_ledger_holds(&self) {
        assert_eq!(self.violations().await, Vec::<String>::new());
    }

    /// Rows in the ledger of a client.
    pub async fn ledger_rows(&self, cliente: i32) -> i64 {
        let sql = "SELECT count(*) FROM rinha.transacoes WHERE cliente_id = $1";
        self.owner().await.query_one(sql, &[&cliente]).await.unwrap().get(0)
    }
}

/// Server processes that are stopped.
pub struct Held(Vec<Pid>);

impl Drop for Held {
    fn drop(&mut self) {
        // A process that was terminated while it was stopped ends now.
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

/// A connection to a database.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
