//! Runs files: a migration in a transaction of its own, together with its record, or outside of one where it asks for
//! that; the files of `procedures/` in one transaction.

use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use refinery_core::{AsyncMigrate, Migration};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::files::SqlFile;
use super::history;
use super::mishap::{Failed, failed};
use super::statements::statements;

/// What a statement may take, and what it may wait for a lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) lock: Duration,
    pub(super) statement: Duration,
}

/// Settings, and a role, that a file sets are not those of the next one.
const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL";

impl Timeouts {
    /// `scope` is `LOCAL` in a transaction, and `SESSION` outside of one.
    fn set(self, scope: &str) -> String {
        let (lock, statement) = (self.lock.as_millis(), self.statement.as_millis());
        format!("SET {scope} lock_timeout = {lock}; SET {scope} statement_timeout = {statement}")
    }
}

/// Runs one migration for refinery, which hands over its text and its record.
pub(super) struct One<'a> {
    pub(super) client: &'a mut Client,
    pub(super) file: &'a SqlFile,
    pub(super) timeouts: Timeouts,
}

impl AsyncTransaction for One<'_> {
    type Error = Failed;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(&mut self, queries: T) -> Result<usize, Failed> {
        let queries: Vec<_> = queries.collect();
        match queries[..] {
            [_, record] if self.file.in_transaction() => {
                let transaction = self.client.transaction().await?;
                file(transaction.client(), self.file, self.timeouts).await?;
                transaction.batch_execute(record).await?;
                let committed = transaction.commit().await;
                committed.map_err(|error| failed(&self.file.path, &self.file.sql, usize::MAX, &error))?;
            }
            [_, record] => {
                one_by_one(self.client, self.file, self.timeouts).await?;
                self.client.batch_execute(record).await?;
            }
            // The table itself.
            _ => self.client.batch_execute(&queries.join(";")).await?,
        }
        Ok(queries.len())
    }
}

impl AsyncQuery<Vec<Migration>> for One<'_> {
    async fn query(&mut self, query: &str) -> Result<Vec<Migration>, Failed> {
        history::read(self.client, query).await
    }
}

impl AsyncMigrate for One<'_> {}

/// Runs a file inside the transaction that is open, and leaves no setting of it behind.
pub(super) async fn file(client: &Client, file: &SqlFile, timeouts: Timeouts) -> Result<(), Failed> {
    client.batch_execute(&timeouts.set("LOCAL")).await?;
    let before: String = client.query_one("SELECT pg_catalog.pg_current_xact_id()::text", &[]).await?.get(0);
    run(client, &file.path, &file.sql).await?;
    let after = "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text";
    let after: Option<String> = client.query_one(after, &[]).await?.get(0);
    if after.is_none_or(|after| after != before) {
        return Err(Failed(format!(
            "{}: it contains COMMIT or ROLLBACK, so a part of it stays in the database although it is not recorded; undo \
             that part by hand, and remove the statement: a file is one transaction by itself",
            file.path.display()
        )));
    }
    Ok(client.batch_execute(RESET).await?)
}

/// Runs a text as a whole. Where it fails, the number of statements that had succeeded names the one that did not.
async fn run(client: &Client, path: &Path, sql: &str) -> Result<(), Failed> {
    let mut done = 0;
    let messages = client.simple_query_raw(sql).await.map_err(|error| failed(path, sql, done, &error))?;
    pin_mut!(messages);
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| failed(path, sql, done, &error))?;
        done += usize::from(matches!(message, SimpleQueryMessage::CommandComplete(_)));
    }
    Ok(())
}

/// Runs the statements of a file outside of a transaction.
async fn one_by_one(client: &Client, file: &SqlFile, timeouts: Timeouts) -> Result<(), Failed> {
    client.batch_execute(&timeouts.set("SESSION")).await?;
    let all = statements(&file.sql);
    let mut outcome = Ok(());
    for (done, statement) in all.iter().enumerate() {
        if let Err(error) = client.batch_execute(statement.text).await {
            let lines = "\n".repeat(statement.line - 1);
            let Failed(text) = failed(&file.path, &format!("{lines}{}", statement.text), 0, &error);
            outcome = Err(Failed(format!(
                "{text}\n  the file runs without a transaction: {done} of its {} statements have succeeded and stay, and it \
                 is not recorded as applied, so all of them run again. An index that CREATE INDEX CONCURRENTLY did not \
                 finish is left invalid: begin the file with DROP INDEX CONCURRENTLY IF EXISTS",
                all.len()
            )));
            break;
        }
    }
    // The connection may be gone, or in a transaction that failed; then the statement's own failure says more.
    let reset = client.batch_execute(RESET).await;
    outcome?;
    Ok(reset?)
}
