//! Postgres with the deployed settings, and databases with the project's schema.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use galo::config::Secret;
use galo::database::{self, Target};
use galo::develop::build::Project;
use galo::develop::postgres::{self, Data, SUPERUSER};
use galo_testing::database::SERVICE_ROLE;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tokio_postgres::{Client, NoTls};

use crate::contender::Contender;
use crate::peer;
use crate::process::parent;
use crate::programs::{self, Programs};
use crate::schedule;

/// Deployed settings that are places: a private cluster has its own.
const PLACES: [&str; 5] =
    ["listen_addresses", "unix_socket_directories", "unix_socket_permissions", "hba_file", "include"];

/// How the cluster treats what was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `deploy/postgres/postgres.conf`
    On,
    /// `deploy/postgres/postgres.rinha.conf`, which comes on top of it.
    Off,
}

/// A running cluster; stopped and deleted when dropped.
pub struct Cluster {
    inner: postgres::Cluster,
    sql: PathBuf,
    /// The process that all others of it descend from.
    pub postmaster: i32,
    /// What Postgres calls its version.
    pub version: String,
    databases: usize,
}

/// A database with the project's schema.
pub struct Database {
    socket: PathBuf,
    name: String,
}

impl Cluster {
    /// Starts a new one in a folder on a disk, its guard run by this program.
    ///
    /// # Errors
    /// That it does not start, or that the folder is in memory.
    pub async fn start(
        programs: &Programs,
        checkout: &Project,
        disk: &Path,
        durability: Durability,
    ) -> anyhow::Result<Self> {
        let settings = deployed(checkout, durability)?;
        let (guard, data) = (programs.own.clone(), Data::ThrowawayIn(disk.to_owned()));
        let start = move || postgres::Cluster::start_with(&guard, data, &settings);
        let inner = tokio::task::spawn_blocking(start).await??;
        let database = Database { socket: inner.socket.clone(), name: "postgres".to_owned() };
        let client = database.owner().await?;
        let row = client
            .query_one(
                "SELECT pg_backend_pid(), current_setting('data_directory'), current_setting('server_version'), \
                        current_setting('synchronous_commit')",
                &[],
            )
            .await?;
        let data: String = row.get(1);
        let kind = statfs(data.as_str()).with_context(|| format!("cannot look at {data}"))?.filesystem_type();
        ensure!(kind != TMPFS_MAGIC, "{} is in memory: name a folder on a disk with --disk", disk.display());
        let wanted = if durability == Durability::On { "on" } else { "off" };
        let found: String = row.get(3);
        ensure!(found == wanted, "Postgres did not take the deployed settings: synchronous_commit is {found}");
        let postmaster = parent(row.get(0)).context("a backend has a parent")?;
        schedule::batch(&programs.chrt, postmaster)?;
        Ok(Self { inner, sql: checkout.sql(), postmaster, version: row.get(2), databases: 0 })
    }

    /// Makes a database, empty but for the five clients.
    pub async fn database(&mut self) -> anyhow::Result<Database> {
        self.databases += 1;
        let name = format!("bench_{}", self.databases);
        let database = Database { socket: self.inner.socket.clone(), name };
        database::create(&target(&database.url(SUPERUSER, "postgres"))?, &database.name).await?;
        database::apply(&target(&database.owner_url())?, &self.sql).await?;
        Ok(database)
    }

    /// Makes a database for a contender, with what it needs beside the project's schema.
    pub async fn database_for(&mut self, contender: Contender) -> anyhow::Result<Database> {
        let database = self.database().await?;
        if contender == Contender::Peer {
            database.owner().await?.batch_execute(peer::SCHEMA).await.context("cannot apply peer.sql")?;
        }
        Ok(database)
    }

    /// The project's own proof of a ledger: a query that finds nothing when it holds.
    pub fn proof(&self) -> anyhow::Result<String> {
        let file = self.sql.join("check/ledger.sql");
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Drops a database that is no longer needed.
    pub async fn drop(&self, database: Database) -> anyhow::Result<()> {
        let client = connect(&database.url(SUPERUSER, "postgres")).await?;
        Ok(client.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", database.name)).await?)
    }
}

impl Database {
    fn url(&self, user: &str, database: &str) -> String {
        format!("host={} port=5432 user={user} dbname={database}", self.socket.display())
    }

    /// As the superuser sees it.
    pub fn owner_url(&self) -> String {
        self.url(SUPERUSER, &self.name)
    }

    /// As a node sees it.
    pub fn service_url(&self) -> String {
        self.url(SERVICE_ROLE, &self.name)
    }

    /// A connection as the superuser.
    pub async fn owner(&self) -> anyhow::Result<Client> {
        connect(&self.owner_url()).await
    }
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("cannot connect to Postgres")?;
    // Its error is also that of the query in flight.
    tokio::spawn(connection);
    Ok(client)
}

fn target(url: &str) -> anyhow::Result<Target> {
    Target::parse(&Secret::new(url)).map_err(|error| anyhow!(error))
}

fn deployed(checkout: &Project, durability: Durability) -> anyhow::Result<Vec<String>> {
    let files = match durability {
        Durability::On => &["postgres.conf"][..],
        Durability::Off => &["postgres.conf", "postgres.rinha.conf"],
    };
    let mut all = Vec::new();
    for file in files {
        let path = programs::deployed(checkout, "postgres").join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        all.extend(settings(&text));
    }
    Ok(all)
}

/// The settings of a file, as a command line takes them. A `#` inside of quotes does not occur.
fn settings(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    let pairs = lines.filter_map(|line| line.split_once('=').map(|(name, value)| (name.trim(), value.trim())));
    let ours = pairs.filter(|(name, _)| !PLACES.contains(name));
    ours.map(|(name, value)| format!("{name}={}", value.trim_matches('\''))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_without_places_and_comments() {
        let text = "# a = b\nlisten_addresses = ''\ninclude '/etc/x.conf'\nfsync = off # why\n\ntimezone = 'UTC'\n";
        assert_eq!(settings(text), ["fsync=off", "timezone=UTC"]);
    }

    #[test]
    fn the_deployed_files_say_what_durability_is() {
        let checkout = Project::find(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let last = |durability, name: &str| {
            let all = deployed(&checkout, durability).unwrap();
            all.iter().rev().find_map(|setting| Some(setting.strip_prefix(name)?.to_owned())).unwrap()
        };
        for name in ["fsync=", "synchronous_commit=", "full_page_writes="] {
            assert_eq!((last(Durability::On, name), last(Durability::Off, name)), ("on".to_owned(), "off".to_owned()));
        }
        assert_eq!(last(Durability::Off, "shared_buffers="), "128MB");
    }
}
