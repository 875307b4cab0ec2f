//! Whole databases of a cluster: creates one, copies one to a branch, lists and drops branches.
//!
//! A branch is a database named `DATABASE@NAME`. It is a copy of the moment when it was made, and independent from then
//! on.

use anyhow::{anyhow, bail, ensure};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::catalogue::statement::quoted;
use super::connect::target::{Target, chain};
use crate::limits;

/// The database that one connects to in order to create or drop another one.
const MAINTENANCE: &str = "postgres";

/// A branch.
#[derive(Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its name, without that of the database.
    pub name: String,
    /// Its size, as Postgres prints it.
    pub size: String,
}

/// Creates a database of this name, unless there is one. `maintenance` is another database of the same cluster.
///
/// # Errors
/// When the role is not allowed to.
pub async fn create(maintenance: &Target, name: &str) -> anyhow::Result<()> {
    let client = connect(maintenance).await?;
    if !exists(&client, name).await? {
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

/// The branch of a database: a copy of it, made now unless there is one. Waits until nothing is connected to the
/// original, because Postgres does not copy a database in use, and logs that.
///
/// # Errors
/// When the name is not one, the role may not create databases, or something stays connected.
pub async fn branch(original: &Target, name: &str) -> anyhow::Result<Target> {
    let branch = branch_name(original.name(), name)?;
    let client = connect(&original.database(MAINTENANCE)).await?;
    if !exists(&client, &branch).await? {
        copy(&client, original.name(), &branch).await?;
    }
    Ok(original.database(&branch))
}

/// The name of the database of a branch.
///
/// # Errors
/// When the name cannot be one.
pub fn branch_name(database: &str, name: &str) -> anyhow::Result<String> {
    let branch = format!("{database}@{name}");
    ensure!(
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)),
        "invalid name of a branch `{name}`: use letters, digits and - _ . /"
    );
    ensure!(
        branch.len() <= limits::DATABASE_NAME_BYTES_MAX,
        "the name of a branch is too long: `{branch}`, the name of its database, has more than {} bytes",
        limits::DATABASE_NAME_BYTES_MAX
    );
    Ok(branch)
}

async fn copy(client: &Client, original: &str, branch: &str) -> anyhow::Result<()> {
    let sql = format!("CREATE DATABASE {} TEMPLATE {}", quoted(branch), quoted(original));
    let begun = Instant::now();
    let mut logged = String::new();
    loop {
        match client.batch_execute(&sql).await {
            Ok(()) => {
                tracing::info!("copied the database {original} to {branch} in {} ms", begun.elapsed().as_millis());
                return Ok(());
            }
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {}
            Err(error) => bail!("cannot copy the database {original}: {}", chain(&error)),
        }
        let connected = connected(client, original).await?;
        if begun.elapsed() >= limits::BRANCH_TIMEOUT {
            bail!(
                "cannot copy the database {original} while it is in use; close these connections and try again: \
                 {connected}"
            );
        }
        if logged != connected {
            tracing::info!("waiting for connections to the database {original} to close: {connected}");
            logged = connected;
        }
        sleep(limits::BRANCH_POLL).await;
    }
}

/// What is connected to a database: its programs and their processes of Postgres.
async fn connected(client: &Client, database: &str) -> anyhow::Result<String> {
    let sql =
        "SELECT pg_catalog.string_agg(pg_catalog.format('%s (process %s, role %s)', application_name, pid, usename),
                                            ', ' ORDER BY pid)
               FROM pg_catalog.pg_stat_activity WHERE datname = $1";
    let found: Option<String> = client.query_one(sql, &[&database]).await?.get(0);
    Ok(found.unwrap_or_else(|| "none any more".to_owned()))
}

/// The branches of a database, by name.
///
/// # Errors
/// When the database does not answer.
pub async fn branches(original: &Target) -> anyhow::Result<Vec<Branch>> {
    let client = connect(&original.database(MAINTENANCE)).await?;
    let prefix = format!("{}@", original.name());
    let sql = "SELECT pg_catalog.substr(datname, pg_catalog.length($1) + 1),
                      pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(oid))
               FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname, $1) ORDER BY datname";
    let rows = client.query(sql, &[&prefix]).await?;
    Ok(rows.iter().map(|row| Branch { name: row.get(0), size: row.get(1) }).collect())
}

/// Drops a branch. Returns whether there was one.
///
/// # Errors
/// When something is connected to it.
pub async fn drop_branch(original: &Target, name: &str) -> anyhow::Result<bool> {
    let branch = branch_name(original.name(), name)?;
    let client = connect(&original.database(MAINTENANCE)).await?;
    if !exists(&client, &branch).await? {
        return Ok(false);
    }
    match client.batch_execute(&format!("DROP DATABASE {}", quoted(&branch))).await {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => bail!(
            "cannot drop {branch} while it is in use; close these connections and try again: {}",
            connected(&client, &branch).await?
        ),
        Err(error) => bail!("cannot drop {branch}: {}", chain(&error)),
    }
}

async fn exists(client: &Client, name: &str) -> anyhow::Result<bool> {
    Ok(client.query_opt("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", &[&name]).await?.is_some())
}

async fn connect(target: &Target) -> anyhow::Result<Client> {
    target.connect_directly().await.map_err(|error| anyhow!("cannot connect to {target}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_has_a_name_that_git_would_take() {
        for name in ["x", "feature/prices-2", "a.b_c"] {
            assert_eq!(branch_name("shop", name).unwrap(), format!("shop@{name}"));
        }
        for name in ["", "a b", "a@b", "ü", "a\"", &"x".repeat(59)] {
            assert!(branch_name("shop", name).is_err(), "{name}");
        }
    }
}
