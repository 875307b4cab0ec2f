//! Applies a changed `sql/` to a database that serves. It is tried on a scratch database first, and refused when it
//! needs tables or domains other than those of the database.
//!
//! `CREATE TABLE IF NOT EXISTS` leaves an existing table as it is, and the usual ways to create a domain do the same,
//! so a change would be ignored silently; how to migrate the data cannot be guessed. Functions are replaced; one that
//! was removed from `sql/` stays in the database until somebody drops it.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::apply;
use super::catalogue::statement::quoted;
use super::connect::target::{Target, chain};
use crate::limits;

/// Why a changed `sql/` was not applied. The database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    /// The tables or domains of `sql/` are not those of the database.
    #[error("sql/ describes other tables or domains (+) than the database has (-); start with `--fresh`, which throws \
             the data away, or change them by hand\n{}", .0.join("\n"))]
    OtherTables(Vec<String>),
    /// An error of the SQL, with file and line; or the database could not be queried.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for NotApplied {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Applies a folder to a database it was applied to before; all or nothing.
///
/// Where the role may not create databases, nothing is tried or compared, and a warning is logged.
///
/// # Errors
/// [`NotApplied`].
pub async fn reapply(owner: &Target, folder: &Path) -> Result<(), NotApplied> {
    match wanted(owner, folder).await? {
        Some(wanted) => {
            let differences = differences(&present(owner).await?, &wanted);
            if !differences.is_empty() {
                return Err(NotApplied::OtherTables(differences));
            }
        }
        None => tracing::warn!(
            database = %owner,
            "the role may not create databases: not checked whether the tables of sql/ have changed"
        ),
    }
    Ok(within("sql/ was not applied", apply::apply(owner, folder)).await?)
}

/// The tables that a folder creates in an empty database. `None` when the role may not create databases.
async fn wanted(owner: &Target, folder: &Path) -> anyhow::Result<Option<BTreeSet<String>>> {
    let (owner, folder) = (owner.clone(), folder.to_owned());
    // In a separate task, so that the scratch database is dropped even if the caller stops waiting.
    let task = tokio::spawn(async move {
        let client = connect(&owner).await?;
        let made = within("no scratch database was made", create_scratch(&client)).await?;
        let Some(name) = made else { return Ok(None) };
        let tried = within("sql/ was not tried", try_on(&owner.database(&name), &folder)).await;
        // FORCE: a statement that was given up may still be running there.
        let drop = format!("DROP DATABASE {} WITH (FORCE)", quoted(&name));
        let dropped = within("it was not dropped", async { Ok(client.batch_execute(&drop).await?) }).await;
        let wanted = tried?;
        dropped.with_context(|| format!("the scratch database {name} is still there"))?;
        Ok(Some(wanted))
    });
    task.await.context("the trial of sql/ ended early")?
}

/// Creates an empty database and returns its name. `None` when the role may not create databases.
async fn create_scratch(client: &Client) -> anyhow::Result<Option<String>> {
    let unique = client.query_one("SELECT pg_catalog.gen_random_uuid()::text", &[]).await?;
    let name = format!("galo_scratch_{}", unique.get::<_, &str>(0));
    match client.batch_execute(&format!("CREATE DATABASE {}", quoted(&name))).await {
        Ok(()) => Ok(Some(name)),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(None),
        Err(error) => Err(anyhow!("cannot create a scratch database: {}", chain(&error))),
    }
}

/// The tables that a folder creates. The transaction is never committed: roles belong to the whole cluster, and what
/// `sql/` does to them must not outlast a refusal.
async fn try_on(scratch: &Target, folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut client = connect(scratch).await?;
    let transaction = client.transaction().await?;
    apply::run(&transaction, folder).await?;
    // Check the deferred constraints, as a commit would.
    transaction.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await?;
    tables(transaction.client()).await
}

async fn present(owner: &Target) -> anyhow::Result<BTreeSet<String>> {
    within("the tables were not read", async { tables(&connect(owner).await?).await }).await
}

async fn connect(target: &Target) -> anyhow::Result<Client> {
    target.connect_directly().await.map_err(|error| anyhow!("cannot connect to {target}: {error}"))
}

async fn within<T>(otherwise: &str, task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let seconds = limits::REAPPLY_TIMEOUT.as_secs();
    timeout(limits::REAPPLY_TIMEOUT, task).await.with_context(|| format!("{otherwise} within {seconds} s"))?
}

/// Every table, column, constraint, index and domain as one line of text: a line that differs is reported as it is. The
/// order of columns is left out; nothing in `sql/` may rely on it.
const TABLES: &str = "
    WITH tables AS (
        SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, c.relkind, c.relpersistence,
               c.reloptions
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          -- The tables of an extension are the extension's.
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                            AND d.deptype = 'e')
    ),
    domains AS (
        SELECT t.oid, pg_catalog.format('%I.%I', n.nspname, t.typname) AS name, t.typbasetype, t.typtypmod,
               t.typcollation, t.typnotnull, t.typdefault
        FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
        WHERE t.typtype = 'd' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                          WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
                            AND d.deptype = 'e')
    )
    SELECT pg_catalog.concat_ws(' ', name,
               CASE relpersistence WHEN 'u' THEN 'unlogged table' WHEN 't' THEN 'temporary table' ELSE 'table' END,
               CASE relkind WHEN 'p' THEN 'partitioned by ' || pg_catalog.pg_get_partkeydef(oid) END,
               'with (' || pg_catalog.array_to_string(
                   ARRAY(SELECT option FROM pg_catalog.unnest(reloptions) AS option ORDER BY option), ', ') || ')')
    FROM tables
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', t.name, 'column', pg_catalog.quote_ident(a.attname),
               pg_catalog.format_type(a.atttypid, a.atttypmod),
               (SELECT 'collate ' || l.collname FROM pg_catalog.pg_collation AS l
                WHERE l.oid = a.attcollation AND l.collname <> 'default'),
               CASE WHEN a.attnotnull THEN 'not null' END,
               CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity by default' END,
               CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated' END
                   || ' ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid))
    FROM tables AS t
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', t.name, 'constraint', pg_catalog.quote_ident(c.conname),
               pg_catalog.pg_get_constraintdef(c.oid))
    FROM tables AS t JOIN pg_catalog.pg_constraint AS c ON c.conrelid = t.oid
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', t.name, 'index', pg_catalog.pg_get_indexdef(i.indexrelid))
    FROM tables AS t JOIN pg_catalog.pg_index AS i ON i.indrelid = t.oid
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', d.name, 'domain', pg_catalog.format_type(d.typbasetype, d.typtypmod),
               (SELECT 'collate ' || l.collname FROM pg_catalog.pg_collation AS l
                WHERE l.oid = d.typcollation AND l.collname <> 'default'),
               CASE WHEN d.typnotnull THEN 'not null' END,
               'default ' || d.typdefault)
    FROM domains AS d
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', d.name, 'domain constraint', pg_catalog.quote_ident(c.conname),
               pg_catalog.pg_get_constraintdef(c.oid))
    FROM domains AS d JOIN pg_catalog.pg_constraint AS c ON c.contypid = d.oid";

async fn tables(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    // With an empty search path Postgres writes every name in full, whatever the files or the role set.
    client.batch_execute("SET search_path = ''").await?;
    let rows = client.query(TABLES, &[]).await.map_err(|error| anyhow!("cannot read the tables: {}", chain(&error)))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The lines that are in only one of the two, sorted so that lines of one table are together.
fn differences(present: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Vec<String> {
    let gone = present.difference(wanted).map(|line| (line, '-'));
    let mut lines: Vec<_> = gone.chain(wanted.difference(present).map(|line| (line, '+'))).collect();
    lines.sort();
    lines.into_iter().map(|(line, sign)| format!("  {sign} {line}")).collect()
}
