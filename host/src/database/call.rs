//! One call: one statement, one awaited round trip, by itself or in a `batch`. Once it is sent its outcome is awaited,
//! even if the client has gone: it runs in a task of its own. Dropping the future of a query does not cancel the query,
//! so pretending would lose track of money.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::TryStreamExt as _;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::pool::{Client, Database};
use super::procedure::{Procedure, Signature};
use super::target::chain;
use super::value::{Argument, Returned};
use crate::contract::{Rows, Value};
use crate::failure::Failure;
use crate::limits;

impl Database {
    /// Calls a procedure with arguments that fit it ([`Procedure::check`]): by itself, or with others when its batch
    /// form was granted.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when the database could not be asked or did not answer in time: the call is then
    /// recorded wholly or not at all. [`Failure::Procedure`] when the procedure raised an exception or has changed:
    /// nothing is recorded; or when it returned what the contract cannot carry: then it is. [`Failure::Shed`] when too
    /// many wait for its batch form.
    pub async fn call(self: &Arc<Self>, procedure: &Arc<Procedure>, arguments: Vec<Value>) -> Result<Rows, Failure> {
        let outcome = match &procedure.batch {
            Some(form) => self.call_on_lane(procedure, &form.lane, arguments).await,
            None => self.detached(procedure, arguments).await,
        };
        self.tell(&outcome);
        outcome
    }

    async fn detached(&self, procedure: &Arc<Procedure>, arguments: Vec<Value>) -> Result<Rows, Failure> {
        let connection = self.acquire().await?;
        let called = Arc::clone(procedure);
        let task = self.calls.spawn(async move { run(connection, &called, &arguments).await });
        match task.await {
            Ok(outcome) => outcome.map_err(|error| error.failure(self, procedure)),
            Err(panic) => Err(Failure::Panic { message: panic.to_string() }),
        }
    }

    /// The log tells the first call that got no answer, and the recovery: not every one of an outage.
    fn tell(&self, outcome: &Result<Rows, Failure>) {
        match outcome {
            Err(failure @ Failure::Unavailable { .. }) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(cause = %failure, "calls get no answer");
            }
            Ok(_) if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(database = %self.opener.target, "calls are answered again");
            }
            _ => {}
        }
    }
}

async fn run(connection: Client, procedure: &Procedure, arguments: &[Value]) -> Result<Rows, Error> {
    let arguments: Vec<_> = arguments.iter().map(Argument).collect();
    let sent = timeout(limits::CALL_TIMEOUT, exchange(&connection, &procedure.signature, &arguments)).await;
    let outcome = sent.unwrap_or(Err(Error::NoAnswer));
    outcome.inspect_err(|error| drop(error.spare(connection)))
}

/// One statement. What DDL or a pooler between made useless fails before it ran; prepared anew it is tried once more.
pub(super) async fn exchange<P: ToSql + Sync>(
    connection: &Client,
    signature: &Signature,
    arguments: &[P],
) -> Result<Rows, Error> {
    match once(connection, signature, arguments).await {
        // The statement may be what is old, prepared for the procedure as it was; nothing was sent with it.
        Err(Error::Changed) => {}
        Err(Error::Postgres(error)) if stale(&error) => {}
        outcome => return outcome,
    }
    connection.statement_cache.clear();
    once(connection, signature, arguments).await
}

async fn once<P: ToSql + Sync>(connection: &Client, signature: &Signature, arguments: &[P]) -> Result<Rows, Error> {
    let statement = connection.prepare_cached(&signature.sql).await?;
    // The arguments were checked against the procedure as it was; sent to another they would mean something else.
    if !signature.matches(&statement) {
        return Err(Error::Changed);
    }
    let stream = connection.query_raw(&statement, arguments.iter()).await?;
    tokio::pin!(stream);
    let columns: Vec<_> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let mut values = Vec::with_capacity(columns.len());
    let mut bytes = 0;
    while let Some(row) = stream.try_next().await? {
        bytes += row.raw_size_bytes();
        if bytes > limits::ROWS_BYTES_MAX {
            return Err(Error::TooManyRows);
        }
        for index in 0..columns.len() {
            values.push(row.try_get::<_, Returned>(index)?.0);
        }
    }
    Ok(Rows { columns, values })
}

/// 0A000 «cached plan must not change result type», 26000 «prepared statement does not exist». A procedure that
/// raises one of them itself is merely called twice: the first was rolled back.
fn stale(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED | &SqlState::INVALID_SQL_STATEMENT_NAME))
}

/// Why a statement gave no rows.
pub(super) enum Error {
    Postgres(tokio_postgres::Error),
    /// The procedure is no longer what was looked up. Nothing was sent.
    Changed,
    /// More bytes than a call may return.
    TooManyRows,
    /// A batch form returned another number of rows than it got calls.
    OtherRows {
        calls: usize,
    },
    NoAnswer,
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl Error {
    /// The connection, if it is of use still.
    pub(super) fn spare(&self, connection: Client) -> Option<Client> {
        // Whatever still comes back on it would be the answer to this call; or what it leads to is a standby by now.
        if matches!(self, Self::TooManyRows | Self::NoAnswer) || self.is_read_only() {
            connection.discard();
            return None;
        }
        Some(connection)
    }

    fn is_read_only(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION))
    }

    /// Whether, in a batch, one call may be what is wrong, and nothing is recorded. A database that is away or has no
    /// time for any of them says nothing of one.
    pub(super) fn is_of_one_call(&self) -> bool {
        match self {
            Self::Postgres(error) => error.code().is_some_and(|code| !passing(code)),
            Self::Changed => true,
            Self::TooManyRows | Self::OtherRows { .. } | Self::NoAnswer => false,
        }
    }

    pub(super) fn failure(self, database: &Database, procedure: &Procedure) -> Failure {
        let failed = |cause: String| Failure::Procedure { procedure: procedure.name.clone(), cause, sqlstate: None };
        match self {
            Self::TooManyRows => failed(format!("it returned more than {} bytes", limits::ROWS_BYTES_MAX)),
            Self::OtherRows { calls } => {
                failed(format!("its batch form did not return one row for each of {calls} calls"))
            }
            Self::Changed => {
                database.changed.store(true, Ordering::Relaxed);
                failed("its parameters or columns are not those it had when it was looked up".to_owned())
            }
            Self::NoAnswer => {
                let (name, seconds) = (&procedure.name, limits::CALL_TIMEOUT.as_secs());
                database.unavailable(format!("no answer to `{name}` within {seconds} s"))
            }
            Self::Postgres(error) => match error.code() {
                // No SQLSTATE: the connection broke, or the answer could not be read.
                None if error.is_closed() || broken(&error) => database.unavailable(chain(&error)),
                Some(code) if passing(code) => database.unavailable(format!("{}: {}", code.code(), chain(&error))),
                Some(code) => Failure::Procedure {
                    procedure: procedure.name.clone(),
                    cause: format!("{}: {}", code.code(), chain(&error)),
                    sqlstate: Some(code.code().to_owned()),
                },
                None => failed(chain(&error)),
            },
        }
    }
}

fn broken(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// Classes of SQLSTATE that pass by themselves: connection, rollback (serialization, deadlock), resources, operator
/// intervention (`statement_timeout`, shutdown), system error; and a lock not to be had, and a standby that does not
/// take writes yet.
fn passing(code: &SqlState) -> bool {
    matches!(code.code().get(..2), Some("08" | "40" | "53" | "57" | "58"))
        || [&SqlState::LOCK_NOT_AVAILABLE, &SqlState::READ_ONLY_SQL_TRANSACTION].contains(&code)
}
