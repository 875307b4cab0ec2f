//! Migrations: the versioned files of `sql/migrations/`, each applied once and in order, then those of
//! `sql/procedures/`, all of them whenever one has changed. A node that serves never changes its database.
//!
//! Nothing is guessed: a file that was changed after it was applied is refused, and so is one that is missing. One
//! migration at a time runs on a database (`turn`), and each is one transaction together with its record.

mod files;
mod history;
mod mishap;
mod refusal;
mod run;
mod statements;
mod turn;

use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use refinery_core::Target as Goal;
use tokio_postgres::Client;

use self::files::Files;
pub use self::history::Procedures;
use self::mishap::Failed;
use self::run::{One, Timeouts};
pub(super) use self::statements::line_of;
use super::connect::target::Target;
use crate::limits;

/// How migrations are applied.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a statement waits for a lock; behind it, everything else that wants the table waits too.
    pub lock_timeout: Duration,
    /// How long a statement runs.
    pub statement_timeout: Duration,
    /// How long another migration of the database is waited for.
    pub turn_timeout: Duration,
    /// Records the migrations up to this version as applied, without running them, before the others are applied.
    pub adopt: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lock_timeout: limits::MIGRATION_LOCK_TIMEOUT,
            statement_timeout: limits::MIGRATION_STATEMENT_TIMEOUT,
            turn_timeout: limits::MIGRATION_TURN_TIMEOUT,
            adopt: None,
        }
    }
}

/// What a database has, and what is pending.
#[derive(Debug)]
pub struct Status {
    /// The last migration that was applied, and when: `V3__prices on 2026-03-01 12:00:00 UTC`.
    pub version: Option<String>,
    /// The migrations that are pending, in order, and whether each is one transaction.
    pub pending: Vec<(String, bool)>,
    /// What is pending of `procedures/`.
    pub procedures: Procedures,
}

/// What was applied.
#[derive(Debug, Default)]
pub struct Applied {
    /// The migrations, in order.
    pub migrations: Vec<String>,
    /// The number of files of `procedures/`, if they were applied.
    pub procedures: Option<usize>,
}

impl Applied {
    /// Whether the database was up to date.
    pub fn is_nothing(&self) -> bool {
        self.migrations.is_empty() && self.procedures.is_none()
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let procedures = self.procedures.map(|files| match files {
            1 => "the file of procedures/".to_owned(),
            files => format!("the {files} files of procedures/"),
        });
        let parts: Vec<_> = self.migrations.iter().cloned().chain(procedures).collect();
        f.write_str(if parts.is_empty() { "nothing" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Compares a folder with a database, and changes nothing.
///
/// # Errors
/// When a file is refused, or the database does not answer.
pub async fn status(target: &Target, folder: &Path) -> anyhow::Result<Status> {
    let files = Files::read(folder)?;
    let mut client = connect(target).await?;
    compare(&mut client, &files, folder).await
}

async fn compare(client: &mut Client, files: &Files, folder: &Path) -> anyhow::Result<Status> {
    let pending = history::pending(client, files, folder).await?;
    let is_pending = |version| pending.iter().any(|migration| migration.version() == version);
    let pending = files.migrations.iter().filter(|versioned| is_pending(versioned.migration.version()));
    Ok(Status {
        pending: pending.map(|one| (one.migration.to_string(), one.file.in_transaction())).collect(),
        version: history::last(client).await?.map(|last| format!("{last}{}", refusal::moment(&last))),
        procedures: history::procedures(client, &files.procedures).await?,
    })
}

/// Applies a folder with the usual timeouts.
///
/// # Errors
/// As [`migrate`].
pub async fn apply(target: &Target, folder: &Path) -> anyhow::Result<()> {
    migrate(target, folder, &Options::default(), std::future::pending()).await.map(drop)
}

/// Applies what is pending of a folder. `stop` ends it early: the statement under way is cancelled, and its migration
/// is rolled back.
///
/// # Errors
/// The file, the line and Postgres's text; what was applied before stays.
pub async fn migrate(
    target: &Target,
    folder: &Path,
    options: &Options,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<Applied> {
    let files = Files::read(folder)?;
    let mut client = connect(target).await?;
    let process: i32 = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.get(0);
    let mut stop = pin!(stop);
    tokio::select! {
        taken = turn::take(&client, options.turn_timeout) => taken?,
        signal = &mut stop => bail!("stopped by {signal}; nothing was changed"),
    }
    let stopped = AtomicBool::new(false);
    let mut work = pin!(work(&mut client, &files, folder, options, &stopped));
    let signal = tokio::select! {
        done = &mut work => return done,
        signal = stop => signal,
    };
    stopped.store(true, Ordering::Relaxed);
    let cancelled = cancel(target, process).await;
    let ended = tokio::time::timeout(limits::MIGRATION_STOP_TIMEOUT, work).await;
    cancelled
        .and(ended.unwrap_or_else(|_| bail!("Postgres did not cancel the statement")))
        .with_context(|| format!("stopped by {signal}; the migrations that were applied before stay"))
}

async fn work(
    client: &mut Client,
    files: &Files,
    folder: &Path,
    options: &Options,
    stopped: &AtomicBool,
) -> anyhow::Result<Applied> {
    let timeouts = Timeouts { lock: options.lock_timeout, statement: options.statement_timeout };
    // Before anything is created: a folder that is refused changes nothing.
    history::pending(client, files, folder).await?;
    if let Some(version) = options.adopt {
        history::check_adoption(client, files, folder, version).await?;
    }
    history::create(client).await?;
    if let Some(version) = options.adopt {
        history::adopt(client, files, folder, version).await?;
        tracing::info!("recorded the migrations up to {version} as applied, without running them");
    }
    let mut applied = Applied::default();
    for migration in history::pending(client, files, folder).await? {
        ensure!(!stopped.load(Ordering::Relaxed), "{migration} was not begun");
        let one = files.migrations.iter().find(|versioned| versioned.migration.version() == migration.version());
        let file = &one.context("a pending migration has a file")?.file;
        let begun = Instant::now();
        let mut one = One { client: &mut *client, file, timeouts };
        let ran = history::runner(files, Goal::Version(migration.version())).run_async(&mut one).await;
        ran.map_err(|error| refusal::refused(&error, files, folder))?;
        tracing::info!("applied {migration} in {} ms", begun.elapsed().as_millis());
        applied.migrations.push(migration.to_string());
    }
    let due = history::procedures(client, &files.procedures).await?;
    for gone in &due.gone {
        tracing::warn!("{gone} is no longer in procedures/; what it created stays until a migration drops it");
    }
    if due.are_due() {
        ensure!(!stopped.load(Ordering::Relaxed), "procedures/ was not begun");
        procedures(client, files, timeouts).await.map_err(|error| anyhow!("{error}"))?;
        applied.procedures = Some(files.procedures.len());
    }
    Ok(applied)
}

/// Applies the files of `procedures/`, all or none.
async fn procedures(client: &mut Client, files: &Files, timeouts: Timeouts) -> Result<(), Failed> {
    let version = history::version(client).await.map_err(|error| Failed(error.to_string()))?;
    let transaction = client.transaction().await?;
    for file in &files.procedures {
        run::file(transaction.client(), file, timeouts).await?;
    }
    history::record(transaction.client(), &files.procedures, version).await?;
    Ok(transaction.commit().await?)
}

async fn connect(target: &Target) -> anyhow::Result<Client> {
    target.connect_directly().await.map_err(|error| anyhow!("cannot connect to {target}: {error}"))
}

/// Cancels what a process of Postgres is doing.
async fn cancel(target: &Target, process: i32) -> anyhow::Result<()> {
    let client = connect(target).await?;
    client.execute("SELECT pg_catalog.pg_cancel_backend($1)", &[&process]).await?;
    Ok(())
}
