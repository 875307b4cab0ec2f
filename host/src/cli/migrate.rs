//! `galo migrate`: its arguments, and what it prints.

use std::path::{Path, PathBuf};

use clap::Args;
use galo::config::Mistakes;
use galo::database::migrate::{Options, Status};
use galo::database::{self, Target};
use galo::drain::Outcome;
use galo::serve::Signals;
use galo::{limits, log};

use super::database::DatabaseArgs;
use super::project::{ProjectArgs, from_here};
use super::runtime::{Task, run_on};

#[derive(Args)]
pub(super) struct MigrateArgs {
    /// Folder with migrations/ and procedures/ [default: sql, in the project; without a project, in the current folder]
    #[arg(env = "GALO_SQL", value_name = "DIR")]
    sql: Option<PathBuf>,
    /// Print what is pending, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Seconds that a statement waits for a lock
    #[arg(long, env = "GALO_MIGRATE_LOCK_TIMEOUT", value_name = "SECONDS", default_value_t = limits::MIGRATION_LOCK_TIMEOUT.as_secs().to_string())]
    lock_timeout: String,
    /// Seconds that a statement runs
    #[arg(long, env = "GALO_MIGRATE_STATEMENT_TIMEOUT", value_name = "SECONDS", default_value_t = limits::MIGRATION_STATEMENT_TIMEOUT.as_secs().to_string())]
    statement_timeout: String,
    /// Seconds to wait for another migration of this database
    #[arg(long, env = "GALO_MIGRATE_WAIT", value_name = "SECONDS", default_value_t = limits::MIGRATION_TURN_TIMEOUT.as_secs().to_string())]
    wait: String,
    /// Record the migrations up to VERSION as applied without running them
    ///
    /// For a database that was made before it had migrations. Those after VERSION are applied as usual.
    #[arg(long, value_name = "VERSION", conflicts_with = "dry_run")]
    adopt: Option<i64>,
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl MigrateArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let most = limits::MIGRATION_SECONDS_MAX;
        let lock = mistakes.parse_seconds("--lock-timeout", &self.lock_timeout, 1, most);
        let statement = mistakes.parse_seconds("--statement-timeout", &self.statement_timeout, 1, most);
        let turn = mistakes.parse_seconds("--wait", &self.wait, 0, most);
        let target = self.database.required(mistakes);
        let sql = self.folder(mistakes);
        let (lock_timeout, statement_timeout, turn_timeout) = (lock?, statement?, turn?);
        let options = Options { lock_timeout, statement_timeout, turn_timeout, adopt: self.adopt };
        let (target, sql) = target.zip(sql)?;
        Some(Box::new(move || {
            run_on(Some(1), async { run(&target, &sql, self.dry_run, &options).await.map(|()| Outcome::Graceful) })
        }))
    }

    /// The folder that was given, or that of the project. An image of migrations has one without a project.
    fn folder(&self, mistakes: &mut Mistakes) -> Option<PathBuf> {
        if self.sql.is_some() {
            return self.sql.clone();
        }
        let here = PathBuf::from("sql");
        match self.project.find() {
            Ok(project) => Some(from_here(project.sql())),
            Err(_) if here.is_dir() && !self.project.is_named() => Some(here),
            Err(error) => {
                mistakes.note("DIR", format!("not given, and {error:#}"));
                None
            }
        }
    }
}

async fn run(target: &Target, sql: &Path, dry_run: bool, options: &Options) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let status = database::migrate::status(target, sql).await?;
    log::print(format_args!("database:   {target}"));
    log::print(format_args!("version:    {}", status.version.as_deref().unwrap_or("none")));
    if options.adopt.is_none() {
        print(&status);
    }
    if dry_run {
        log::print(format_args!("dry run: nothing was changed"));
        return Ok(());
    }
    let applied = database::migrate(target, sql, options, signals.next()).await?;
    log::print(format_args!("applied:    {applied}"));
    Ok(())
}

/// Prints what is pending.
fn print(status: &Status) {
    if status.pending.is_empty() && !status.procedures.are_due() {
        return log::print(format_args!("pending:    nothing"));
    }
    for (name, in_transaction) in &status.pending {
        let note = if *in_transaction { "" } else { ", without a transaction" };
        log::print(format_args!("pending:    {name}{note}"));
    }
    let procedures = &status.procedures;
    for (files, what) in [(&procedures.changed, "is new or has changed"), (&procedures.gone, "is gone")] {
        files.iter().for_each(|file| log::print(format_args!("procedures: {file} {what}")));
    }
    if procedures.files > 0 && (procedures.are_due() || !status.pending.is_empty()) {
        log::print(format_args!("procedures: all of them are applied again"));
    }
}
