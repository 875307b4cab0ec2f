//! Where a ledger is read: SQL goes in, lines of text come out, the same ones either way. A database that listens on a
//! socket within its container is asked through the container's own psql.

use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A database, as somebody who may read the tables.
#[derive(Clone, Debug)]
pub enum Source {
    /// A connection string or URL.
    Url(String),
    /// The connection strings of shards, each with its part of the clientes.
    Shards(Vec<String>),
    /// psql and its arguments, `-qAtX` and `-v ON_ERROR_STOP=1` among them, or a command that ends in it.
    Psql(Vec<String>),
}

impl Source {
    /// Each database by itself.
    #[must_use]
    pub fn each(&self) -> Vec<Self> {
        match self {
            Self::Shards(urls) => urls.iter().cloned().map(Self::Url).collect(),
            one => vec![one.clone()],
        }
    }

    /// Runs the statements, and returns a line for each row: its cells with `|` between them, null as nothing.
    ///
    /// # Errors
    /// Postgres's own; psql's.
    pub async fn lines(&self, sql: &str) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Url(url) => {
                let (client, connection) =
                    tokio_postgres::connect(url, NoTls).await.context("cannot connect to the database")?;
                // Its error is also that of the query that meets it.
                tokio::spawn(connection);
                let rows = client.simple_query(sql).await?.into_iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                let line = |row: tokio_postgres::SimpleQueryRow| {
                    let cells: Vec<_> = (0..row.len()).map(|cell| row.get(cell).unwrap_or_default()).collect();
                    cells.join("|")
                };
                Ok(rows.map(line).collect())
            }
            Self::Shards(_) => bail!("several databases are not one: ask each"),
            Self::Psql(command) => {
                let (program, arguments) = command.split_first().context("no psql")?;
                let mut psql = Command::new(program)
                    .args(arguments)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()
                    .with_context(|| format!("cannot run {program}"))?;
                // psql reads everything before its answer fills a pipe: the statements are shorter than one.
                psql.stdin.take().context("psql has no stdin")?.write_all(sql.as_bytes()).await?;
                let output = psql.wait_with_output().await?;
                if !output.status.success() {
                    bail!("psql: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
                }
                Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
            }
        }
    }
}
