//! Databases that live for a moment, for the end-to-end examples of `galo test`: made beside a database whose role may
//! create some, copied for each example, and dropped at the end.
//!
//! Their names begin with the run's mark. The run holds a lock for as long as it lives, so that a later one finds and
//! drops what a killed one left, and nothing of a run that is under way.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, anyhow};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::{ErrorPosition, SqlState};
use tokio_util::task::TaskTracker;

use super::catalogue::statement::quoted;
use super::connect::target::{Target, chain};
use super::migrate::line_of;
use crate::limits;

/// The scratch databases of one run.
pub struct Scratch {
    /// The database beside which they are made.
    owner: Target,
    /// What their names begin with.
    mark: String,
    number: AtomicUsize,
    /// What makes and drops them. It goes on when the caller stops waiting, and [`Scratch::end`] waits for it.
    tasks: TaskTracker,
    /// Holds the lock of the run.
    _lock: Client,
}

/// An error of SQL that a person wrote.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct SqlError {
    /// The line of the SQL, from 1, if Postgres reports a place.
    pub line: Option<usize>,
    /// What Postgres reports.
    pub text: String,
}

/// The runs that left databases beside this one: the mark of each, and a name.
const LEFT: &str = "SELECT pg_catalog.regexp_replace(datname, '_[0-9]+$', ''), datname FROM pg_catalog.pg_database
                    WHERE datname ~ ('^galo_test_' || $1 || '_[0-9a-f]+_[0-9]+$')";

impl Scratch {
    /// Begins a run beside this database, and drops what earlier runs left.
    ///
    /// # Errors
    /// When the database cannot be reached, or only through a pooler.
    pub async fn open(owner: &Target) -> anyhow::Result<Self> {
        within("the server was not reached", async {
            let client = connect(owner).await?;
            // A lock belongs to one database: the mark names that of the lock, so that only its runs are looked at.
            let sql = "SELECT oid::text, pg_catalog.substr(pg_catalog.md5(pg_catalog.gen_random_uuid()::text), 1, 12)
                       FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
            let row = client.query_one(sql, &[]).await?;
            let (beside, run) = (row.get::<_, String>(0), row.get::<_, String>(1));
            let mark = format!("galo_test_{beside}_{run}");
            client.query_one("SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtext($1))", &[&mark]).await?;
            sweep(&client, &beside).await?;
            let (number, tasks) = (AtomicUsize::new(0), TaskTracker::new());
            Ok(Self { owner: owner.clone(), mark, number, tasks, _lock: client })
        })
        .await
    }

    /// Creates an empty database, or a copy of another one of this run, to which nobody is connected.
    ///
    /// # Errors
    /// When the role may not, or Postgres does not answer in time.
    pub async fn create(&self, template: Option<&Target>) -> anyhow::Result<Target> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let target = self.owner.database(&format!("{}_{number}", self.mark));
        let template = template.map(|target| format!(" TEMPLATE {}", quoted(target.name()))).unwrap_or_default();
        let sql = format!("CREATE DATABASE {}{template}", quoted(target.name()));
        let owner = self.owner.clone();
        let created = self.tasks.spawn(within("no scratch database was made", async move {
            let client = connect(&owner).await?;
            client.batch_execute(&sql).await.map_err(|error| match error.code() {
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => anyhow!(
                    "the role may not create databases: run `ALTER ROLE ... CREATEDB` as an administrator, or leave \
                     `--database` out to use a private Postgres"
                ),
                _ => anyhow!("cannot create a scratch database: {}", chain(&error)),
            })
        }));
        created.await.context("the creation of a scratch database ended early")??;
        Ok(target)
    }

    /// Drops one of them, without waiting for it.
    pub fn remove(&self, target: &Target) {
        let (owner, name) = (self.owner.clone(), target.name().to_owned());
        self.tasks.spawn(async move {
            // What fails here is dropped at the end, or by a later run.
            let _ = within("it was not dropped", async { drop_database(&connect(&owner).await?, &name).await }).await;
        });
    }

    /// Drops all of them.
    ///
    /// # Errors
    /// When one is still there.
    pub async fn end(&self) -> anyhow::Result<()> {
        self.tasks.close();
        within("the scratch databases were not dropped", async {
            self.tasks.wait().await;
            let client = connect(&self.owner).await?;
            let sql = "SELECT datname FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname, $1 || '_')";
            for row in client.query(sql, &[&self.mark]).await? {
                drop_database(&client, row.get(0)).await?;
            }
            Ok(())
        })
        .await
    }
}

/// Drops the databases of runs that have ended.
async fn sweep(client: &Client, beside: &str) -> anyhow::Result<()> {
    for row in client.query(LEFT, &[&beside]).await? {
        let (mark, name) = (row.get::<_, String>(0), row.get::<_, String>(1));
        let free = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext($1))";
        if client.query_one(free, &[&mark]).await?.get(0) {
            // Another run may drop it at the same moment.
            if let Err(error) = drop_database(client, &name).await {
                tracing::warn!("cannot drop the database {name} of an earlier run: {error:#}");
            }
            let unlock = "SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtext($1))";
            client.query_one(unlock, &[&mark]).await?;
        }
    }
    Ok(())
}

/// Runs SQL that a person wrote, as the owner of a database.
///
/// # Errors
/// What Postgres reports, with the line.
pub async fn run_sql(target: &Target, sql: &str) -> Result<(), SqlError> {
    let other = |error: anyhow::Error| SqlError { line: None, text: format!("{error:#}") };
    let run = within("it did not end", async { Ok(connect(target).await?.batch_execute(sql).await) });
    run.await.map_err(other)?.map_err(|error| {
        let line = match error.as_db_error().and_then(|error| error.position()) {
            Some(ErrorPosition::Original(at)) => Some(line_of(sql, *at)),
            // In the body of a function.
            Some(ErrorPosition::Internal { .. }) | None => None,
        };
        let text = error.as_db_error().map_or_else(|| chain(&error), ToString::to_string);
        SqlError { line, text }
    })
}

async fn drop_database(client: &Client, name: &str) -> anyhow::Result<()> {
    // FORCE: a statement that was given up may still be running there.
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
    client.batch_execute(&sql).await.map_err(|error| anyhow!("{}", chain(&error)))
}

async fn connect(target: &Target) -> anyhow::Result<Client> {
    target.connect_directly().await.map_err(|error| anyhow!("cannot connect to {target}: {error}"))
}

async fn within<T>(otherwise: &str, task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let seconds = limits::SCRATCH_TIMEOUT.as_secs();
    timeout(limits::SCRATCH_TIMEOUT, task).await.with_context(|| format!("{otherwise} within {seconds} s"))?
}
