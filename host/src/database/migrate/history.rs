//! What was applied to a database: two tables in the schema `galo_migrations`. The table of versions is refinery's,
//! which also decides what is pending and refuses what was changed; the other one has the digests of `procedures/`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{anyhow, bail};
use refinery_core::error::Kind;
use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use refinery_core::{AsyncMigrate, Migration, Runner, Target};
use tokio_postgres::Client;

use super::files::{Files, MIGRATIONS, SqlFile};
use super::mishap::Failed;
use super::refusal::{Refusal, failed, refused};

const SCHEMA: &str = "galo_migrations";
const VERSIONS: &str = "galo_migrations.versions";
const PROCEDURES: &str = "galo_migrations.procedures";

/// Creates what is missing of the two tables.
pub(super) async fn create(client: &Client) -> anyhow::Result<()> {
    let sql = format!(
        "CREATE SCHEMA IF NOT EXISTS {SCHEMA};
         CREATE TABLE IF NOT EXISTS {PROCEDURES} (
             file       text        NOT NULL PRIMARY KEY,
             checksum   text        NOT NULL,
             applied_on timestamptz NOT NULL DEFAULT pg_catalog.now(),
             -- Applied again after a migration, which may have dropped what they create.
             version    bigint      NOT NULL,
             -- And in a copy or a restored dump: neither has the privileges on the database itself.
             database   oid         NOT NULL
         )"
    );
    client.batch_execute(&sql).await.map_err(|error| {
        let Failed(told) = error.into();
        anyhow!("cannot create the history of migrations, the schema {SCHEMA}: {told}")
    })
}

/// A runner for these files, which works on the table of versions.
pub(super) fn runner(files: &Files, target: Target) -> Runner {
    runner_of(&migrations(files), target)
}

fn migrations(files: &Files) -> Vec<Migration> {
    files.migrations.iter().map(|versioned| versioned.migration.clone()).collect()
}

fn runner_of(migrations: &[Migration], target: Target) -> Runner {
    let mut runner = Runner::new(migrations).set_target(target);
    runner.set_migration_table_name(VERSIONS);
    runner
}

/// The last migration that was applied.
pub(super) async fn last(client: &mut Client) -> anyhow::Result<Option<Migration>> {
    let sql = format!("SELECT version, name, applied_on, checksum FROM {VERSIONS} ORDER BY version DESC LIMIT 1");
    Ok(read(client, &sql).await?.pop())
}

/// Reads the table of versions for refinery, which would panic at a row that it has not written.
pub(super) async fn read(client: &mut Client, query: &str) -> Result<Vec<Migration>, Failed> {
    if !exists(client, VERSIONS).await? {
        return Ok(Vec::new());
    }
    let foreign = format!(
        "SELECT version FROM {VERSIONS}
         WHERE (name IS NOT NULL AND checksum ~ '^[0-9]{{1,20}}$' AND checksum::numeric < 18446744073709551616
                AND applied_on ~ '^[0-9]{{4}}-[0-9-]+T[0-9:]+([.][0-9]+)?(Z|[+-][0-9:]+)$'
                AND applied_on::timestamptz IS NOT NULL) IS NOT TRUE LIMIT 1"
    );
    if let Some(row) = client.query_opt(&foreign, &[]).await? {
        let version: i64 = row.get(0);
        return Err(Failed(format!(
            "{VERSIONS}: the row of version {version} was not written by a migration; correct it, or delete it"
        )));
    }
    Ok(<Client as AsyncQuery<Vec<Migration>>>::query(client, query).await?)
}

/// The migrations that are pending, in order. Changes nothing.
///
/// # Errors
/// All applied files that were changed or are missing, and all new ones that are older than an applied one.
pub(super) async fn pending(client: &mut Client, files: &Files, folder: &Path) -> anyhow::Result<Vec<Migration>> {
    let (mut migrations, mut refusals) = (migrations(files), Vec::new());
    // refinery stops at the first one. It is asked again as if that one were in order, so each is reported once.
    loop {
        let report = runner_of(&migrations, Target::Latest).run_async(&mut Plan { client: &mut *client }).await;
        let error = match report {
            Ok(report) if refusals.is_empty() => return Ok(report.applied_migrations().clone()),
            Ok(_) => bail!(Refusal::list(&refusals)),
            Err(error) => error,
        };
        let Some(refusal) = Refusal::of(&error, files, folder, &refusals) else { return Err(failed(&error)) };
        refusals.push(refusal);
        if let Kind::DivergentVersion(one, _) | Kind::MissingVersion(one) = error.kind() {
            migrations.retain(|migration| migration.version() != one.version());
            migrations.extend(one.applied_on().map(|_| one.clone()));
        }
    }
}

/// Lets refinery decide what it would run, and runs nothing.
struct Plan<'a> {
    client: &'a mut Client,
}

impl AsyncTransaction for Plan<'_> {
    type Error = Failed;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(&mut self, _queries: T) -> Result<usize, Failed> {
        Ok(0)
    }
}

impl AsyncQuery<Vec<Migration>> for Plan<'_> {
    async fn query(&mut self, query: &str) -> Result<Vec<Migration>, Failed> {
        read(self.client, query).await
    }
}

impl AsyncMigrate for Plan<'_> {}

async fn exists(client: &Client, table: &str) -> Result<bool, tokio_postgres::Error> {
    let row = client.query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&table]).await?;
    Ok(row.get(0))
}

/// Whether the migrations up to a version may be recorded without running them.
///
/// # Errors
/// When the database has a history already, or there is no such version.
pub(super) async fn check_adoption(
    client: &mut Client,
    files: &Files,
    folder: &Path,
    version: i64,
) -> anyhow::Result<()> {
    if let Some(last) = last(client).await? {
        bail!("nothing to adopt: the database has a history already, up to {last}; migrate without --adopt");
    }
    if files.migrations.iter().all(|versioned| versioned.migration.version() != version) {
        bail!("--adopt {version}: there is no such version in {}", folder.join(MIGRATIONS).display());
    }
    Ok(())
}

/// Records the migrations up to a version as applied, without running them.
pub(super) async fn adopt(client: &mut Client, files: &Files, folder: &Path, version: i64) -> anyhow::Result<()> {
    let recorded = runner(files, Target::FakeVersion(version)).run_async(client).await;
    recorded.map(drop).map_err(|error| refused(&error, files, folder))
}

/// How the files of `procedures/` differ from what was applied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Procedures {
    /// The number of files.
    pub files: usize,
    /// New files, and those whose text is another one.
    pub changed: Vec<String>,
    /// Files that are gone. What they created stays.
    pub gone: Vec<String>,
    /// Whether a migration, or a copy of the database, requires all of them again.
    pub outdated: bool,
}

impl Procedures {
    /// Whether they are applied.
    pub fn are_due(&self) -> bool {
        self.outdated || !self.changed.is_empty() || !self.gone.is_empty()
    }
}

/// Compares the files with what was applied.
pub(super) async fn procedures(client: &mut Client, files: &[SqlFile]) -> anyhow::Result<Procedures> {
    let mut found = Procedures { files: files.len(), ..Procedures::default() };
    let mut applied = BTreeMap::new();
    if exists(client, PROCEDURES).await? {
        let version = version(client).await?;
        let sql = format!(
            "SELECT file, checksum, version <> $1 OR database <> (SELECT oid FROM pg_catalog.pg_database
                                                                  WHERE datname = pg_catalog.current_database())
             FROM {PROCEDURES}"
        );
        // Not refinery's `query`.
        for row in Client::query(client, &sql, &[&version]).await? {
            found.outdated |= row.get::<_, bool>(2);
            applied.insert(row.get::<_, String>(0), row.get::<_, String>(1));
        }
    }
    for file in files {
        if applied.remove(&file.name).is_none_or(|checksum| checksum != file.checksum()) {
            found.changed.push(file.name.clone());
        }
    }
    found.gone = applied.into_keys().collect();
    Ok(found)
}

/// Records the files of `procedures/`, in the transaction that applied them.
pub(super) async fn record(client: &Client, files: &[SqlFile], version: i64) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(&format!("DELETE FROM {PROCEDURES}")).await?;
    let sql = format!(
        "INSERT INTO {PROCEDURES} (file, checksum, version, database)
         SELECT $1, $2, $3, oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
    );
    for file in files {
        client.execute(&sql, &[&file.name, &file.checksum(), &version]).await?;
    }
    Ok(())
}

/// The version that a database has; -1 before the first migration.
pub(super) async fn version(client: &mut Client) -> anyhow::Result<i64> {
    Ok(last(client).await?.map_or(-1, |migration| migration.version()))
}
