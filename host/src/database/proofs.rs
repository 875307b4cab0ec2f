//! Runs an application's proofs: SQL files that return a row for each violation, and files that return a row for each
//! key, by which shards are compared with one another. Each runs in a transaction that only reads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use futures_util::TryStreamExt as _;
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use super::connect::target::Target;
use super::hash::KeyHash;
use super::value::Returned;
use super::value::kind;
use crate::contract::Value;
use crate::{file, limits};

/// The folder, in that of the proofs, of files that return keys.
const ACROSS: &str = "across";

/// The proofs of a folder.
pub struct Proofs {
    /// Return a row for each violation on one database.
    alone: Vec<(String, String)>,
    /// Return a row for each key.
    across: Vec<(String, String)>,
}

/// What a proof found.
pub struct Proved {
    /// The file, and the shard if there are several.
    pub what: String,
    /// The first violations.
    pub violations: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// What else it reports: sums.
    pub sums: Vec<String>,
}

/// The keys of all shards.
#[derive(Default)]
struct Keys {
    /// Where each key was found first.
    shards: HashMap<String, usize>,
    violations: Vec<String>,
    count: usize,
    /// By column: the sum on each shard.
    sums: Vec<(String, Vec<i128>)>,
}

impl Proofs {
    /// Reads the SQL files of a folder.
    ///
    /// # Errors
    /// When the folder cannot be read, or has none.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let across = folder.join(ACROSS);
        let across = if across.is_dir() { files(&across)? } else { Vec::new() };
        let proofs = Self { alone: files(folder)?, across };
        ensure!(
            !proofs.alone.is_empty() || !proofs.across.is_empty(),
            "{} has no SQL files; each returns a row for each violation",
            folder.display()
        );
        Ok(proofs)
    }

    /// Runs them on these shards, or on one database. `done` is called after each.
    ///
    /// # Errors
    /// When a database is unavailable, or a file is not one statement that returns what it must.
    pub async fn run(&self, shards: &[Target], mut done: impl FnMut(&Proved)) -> anyhow::Result<()> {
        let mut clients = Vec::new();
        for shard in shards {
            let client = shard.connect_directly().await.with_context(|| format!("cannot connect to {shard}"))?;
            client.batch_execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            clients.push(client);
        }
        for (name, sql) in &self.alone {
            for (number, client) in clients.iter().enumerate() {
                let what = if clients.len() > 1 { format!("{name} on shard {number}") } else { name.clone() };
                done(&alone(client, what, sql).await?);
            }
        }
        if clients.len() < 2 {
            return Ok(());
        }
        for (name, sql) in &self.across {
            let mut keys = Keys::default();
            for (number, client) in clients.iter().enumerate() {
                let compared = keys.add(client, (number, clients.len()), sql).await;
                compared.with_context(|| format!("{ACROSS}/{name} on shard {number}"))?;
            }
            done(&keys.proved(format!("{ACROSS}/{name}")));
        }
        Ok(())
    }
}

/// The SQL files of a folder, by their names.
fn files(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut found = Vec::new();
    for path in paths?.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "sql")) {
        let text = file::read(&path, limits::MIGRATION_BYTES_MAX).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.push((name, String::from_utf8(text).with_context(|| path.display().to_string())?));
    }
    found.sort();
    Ok(found)
}

async fn alone(client: &Client, what: String, sql: &str) -> anyhow::Result<Proved> {
    let messages = client.simple_query(sql).await.with_context(|| what.clone())?;
    let (mut violations, mut count) = (Vec::new(), 0);
    for message in messages {
        let SimpleQueryMessage::Row(row) = message else { continue };
        count += 1;
        if violations.len() < limits::VIOLATIONS_SHOWN_MAX {
            let values: Vec<_> = (0..row.len()).map(|index| row.get(index).unwrap_or("null")).collect();
            violations.push(values.join(" "));
        }
    }
    Ok(Proved { what, violations, count, sums: Vec::new() })
}

impl Keys {
    /// Adds those of a shard.
    async fn add(&mut self, client: &Client, (number, of): (usize, usize), sql: &str) -> anyhow::Result<()> {
        let statement = client.prepare(sql.trim_end().trim_end_matches(';')).await?;
        let hash = self.begin(&statement, of)?;
        let none: [&str; 0] = [];
        let rows = client.query_raw(&statement, none).await?;
        tokio::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            let Returned(key) = row.try_get(0)?;
            let Some(hashed) = hash.of(&key) else { bail!("the key {key:?} has no hash") };
            let (key, right) = (shown(&key), hashed as usize & (of - 1));
            if right != number {
                self.note(format!("key {key} is on shard {number}, and its hash decides shard {right}"));
            }
            for (index, (_, sums)) in self.sums.iter_mut().enumerate() {
                let Returned(value) = row.try_get(index + 1)?;
                if let (Value::Integer(value), Some(sum)) = (value, sums.get_mut(number)) {
                    *sum += i128::from(value);
                }
            }
            if let Some(other) = self.shards.insert(key.clone(), number) {
                self.note(format!("key {key} is on shard {other} and on shard {number}"));
            }
        }
        Ok(())
    }

    /// How the keys are hashed. Prepares the sums at the first shard.
    fn begin(&mut self, statement: &Statement, of: usize) -> anyhow::Result<KeyHash> {
        let columns = statement.columns();
        let first = columns.first().context("it returns no column; the first one is the key")?;
        if self.sums.is_empty() {
            self.sums = columns.iter().skip(1).map(|column| (column.name().to_owned(), vec![0; of])).collect();
        }
        ensure!(columns.iter().all(|column| kind::readable(column.type_())), "cast its columns to bigint or text");
        let ty = kind::named(first.type_());
        KeyHash::of_type(kind::base(first.type_()))
            .with_context(|| format!("its first column is of type {ty}; the key is an integer, bigint, text or uuid"))
    }

    fn note(&mut self, violation: String) {
        self.count += 1;
        if self.violations.len() < limits::VIOLATIONS_SHOWN_MAX {
            self.violations.push(violation);
        }
    }

    fn proved(self, what: String) -> Proved {
        let mut sums = vec![format!("{} keys", self.shards.len())];
        for (column, of) in &self.sums {
            let each: Vec<_> = of.iter().map(i128::to_string).collect();
            sums.push(format!("{column}: {} = {}", each.join(" + "), of.iter().sum::<i128>()));
        }
        Proved { what, violations: self.violations, count: self.count, sums }
    }
}

fn shown(key: &Value) -> String {
    match key {
        Value::Integer(key) => key.to_string(),
        Value::Text(key) => key.clone(),
        other => format!("{other:?}"),
    }
}
