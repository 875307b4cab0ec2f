//! A primary with a streaming standby, of which the primary can be killed and the standby promoted.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use galo::develop::postgres::{Cluster, Data, SUPERUSER};
use galo_testing::database::connect;
use galo_testing::program;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::node::{PATIENCE, POLL_EVERY};
use crate::postgres::{Database, Durable};

/// What the standby calls itself, and the primary waits for.
const NAME: &str = "standby";

/// Both of them, and the database that nodes use, on the primary.
pub struct Pair {
    primary: Durable,
    standby: Cluster,
    _data: TempDir,
}

impl Pair {
    /// With `synchronous_standby_names` of the primary: [`Pair::synchronous`], or nothing.
    pub async fn start(synchronous: &str) -> (Self, Database) {
        let (mut primary, mut database) = Durable::start().await;
        primary.stop();
        let data = tempfile::tempdir().unwrap();
        copy(&primary.data(), data.path());
        primary.restart(&mut database).await;
        let standby = follow(data.path(), &database.folder()).await;
        let pair = Self { primary, standby, _data: data };
        database.execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{synchronous}'")).await;
        database.execute("SELECT pg_reload_conf()").await;
        until(&database.owner_url(), &format!("state = 'streaming' AND sync_state = '{}'", state(synchronous))).await;
        (pair, database)
    }

    /// What makes the primary wait for the standby.
    pub fn synchronous() -> &'static str {
        NAME
    }

    /// The standby hears no more of the primary.
    pub async fn cut_off(&self) {
        let standby = connect(&self.standby.url(SUPERUSER, "postgres")).await;
        standby.batch_execute("ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'").await.unwrap();
        standby.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let begun = Instant::now();
        let receiving = "SELECT count(*) FROM pg_stat_wal_receiver";
        while standby.query_one(receiving, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(begun.elapsed() < PATIENCE, "the standby still follows");
            sleep(POLL_EVERY).await;
        }
    }

    /// The primary dies, and the standby takes its place: nothing leads there yet.
    pub async fn promote(&mut self) {
        self.primary.kill();
        let standby = connect(&self.standby.url(SUPERUSER, "postgres")).await;
        assert!(standby.query_one("SELECT pg_promote()", &[]).await.unwrap().get::<_, bool>(0));
    }

    /// Where the database is after that.
    pub fn lead(&self, database: &mut Database) {
        database.lead_to(&self.standby.socket);
    }
}

fn state(synchronous: &str) -> &'static str {
    if synchronous.is_empty() { "async" } else { "sync" }
}

/// A base backup of a cluster that is stopped is a copy of it.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to.join("data")).status().unwrap();
    assert!(copied.success());
    fs::write(to.join("data/standby.signal"), "").unwrap();
}

/// Not on the command line, where nothing could change it.
async fn follow(data: &Path, primary: &Path) -> Cluster {
    let conninfo = format!("primary_conninfo = 'host={} user={SUPERUSER} application_name={NAME}'", primary.display());
    let mut settings = File::options().append(true).open(data.join("data/postgresql.auto.conf")).unwrap();
    writeln!(settings, "{conninfo}").unwrap();
    let data = Data::Lasting(data.to_owned());
    tokio::task::spawn_blocking(|| Cluster::start(program::galo(), data).unwrap()).await.unwrap()
}

async fn until(url: &str, holds: &str) {
    let client = connect(url).await;
    let sql = format!("SELECT count(*) FROM pg_stat_replication WHERE {holds}");
    let begun = Instant::now();
    while client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(begun.elapsed() < PATIENCE, "no standby follows");
        sleep(POLL_EVERY).await;
    }
}
