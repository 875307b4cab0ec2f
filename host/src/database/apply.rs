//! Creates a database and applies the numbered files of `sql/`, in order, in one transaction. A node that serves never
//! changes its database.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use tokio_postgres::Transaction;
use tokio_postgres::error::ErrorPosition;

use super::catalogue::statement::quoted;
use super::connect::target::{Target, chain};

/// Runs every `*.sql` file of a folder (not of its subfolders) in the order of their names; all or nothing.
///
/// # Errors
/// The file and, if Postgres reports it, the line.
pub async fn apply(target: &Target, folder: &Path) -> anyhow::Result<()> {
    let mut client = target.connect_directly().await.map_err(|e| anyhow!("cannot connect to {target}: {e}"))?;
    let transaction = client.transaction().await?;
    run(&transaction, folder).await?;
    transaction.commit().await?;
    Ok(())
}

/// Runs the files of a folder inside a transaction, which cannot be used after an error.
///
/// # Errors
/// As [`apply`].
pub(super) async fn run(transaction: &Transaction<'_>, folder: &Path) -> anyhow::Result<()> {
    for file in files(folder)? {
        let sql = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        transaction.batch_execute(&sql).await.map_err(|error| {
            let line = error.as_db_error().and_then(|e| e.position()).map(|position| match position {
                ErrorPosition::Original(at) | ErrorPosition::Internal { position: at, .. } => line_of(&sql, *at),
            });
            let line = line.map(|line| format!("{line}:")).unwrap_or_default();
            anyhow!("{}:{line} {}", file.display(), chain(&error))
        })?;
    }
    Ok(())
}

/// Creates a database of this name, unless there is one. `maintenance` is another database of the same cluster.
///
/// # Errors
/// When the role is not allowed to.
pub async fn create(maintenance: &Target, name: &str) -> anyhow::Result<()> {
    let client = maintenance.connect_directly().await.map_err(|e| anyhow!("cannot connect to {maintenance}: {e}"))?;
    if client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await?.is_none() {
        client.batch_execute(&format!("CREATE DATABASE {}", quoted(name))).await?;
    }
    Ok(())
}

/// Whether the role of this target may connect.
///
/// # Errors
/// When the database refuses the connection or does not answer.
pub async fn enter(target: &Target) -> anyhow::Result<()> {
    target.connect().await.map(drop).map_err(|e| anyhow!("cannot connect to {target}: {e}"))
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let mut files: Vec<_> = paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "sql")).collect();
    ensure!(!files.is_empty(), "{} holds no .sql file", folder.display());
    files.sort();
    Ok(files)
}

/// Postgres counts characters from 1.
pub(super) fn line_of(sql: &str, position: u32) -> usize {
    1 + sql.chars().take(position.saturating_sub(1) as usize).filter(|c| *c == '\n').count()
}
