//! One statement on a connection: sends a procedure or its batch form with arguments, and reads the rows or the error.
//! It is sent a second time only when the first was rolled back because what was prepared is out of date.

use futures_util::TryStreamExt as _;
use futures_util::future::join3;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Column, RowStream, Statement};

use super::catalogue;
use super::catalogue::unusable::Unusable;
use super::connect::pooler::Way;
use super::error::Error;
use super::form::BatchForm;
use super::pairing::pair;
use super::pool::Client;
use super::procedure::Procedure;
use super::signature::Signature;
use super::value::{Argument, Arguments, Returned, kind};
use super::waiter::Waiter;
use crate::contract::{Rows, Value};
use crate::limits;

/// One call through the procedure itself. Its outcome is awaited until the deadline.
pub(super) async fn alone(
    connection: &Client,
    procedure: &Procedure,
    arguments: &[Value],
    deadline: Instant,
) -> Result<Rows, Error> {
    // The arguments were checked, so their number is one that the procedure takes.
    let signature = procedure.signature_of(arguments.len()).ok_or(Error::Changed)?;
    let arguments: Vec<_> = arguments.iter().map(Argument).collect();
    exchange(connection, signature, &arguments, deadline).await
}

/// All calls in one statement. Returns the row of each, in the order of the calls.
pub(super) async fn together(
    connection: &Client,
    form: &BatchForm,
    batch: &[Waiter],
    deadline: Instant,
) -> Result<Vec<Rows>, Error> {
    let parameters = batch[0].arguments().len();
    let given =
        |index: usize| Arguments::Given(batch.iter().map(|waiter| Argument(&waiter.arguments()[index])).collect());
    let arguments: Vec<_> =
        std::iter::once(Arguments::Ordinals(batch.len())).chain((0..parameters).map(given)).collect();
    let rows = exchange(connection, &form.signature, &arguments, deadline).await?;
    pair(rows, batch.len()).map_err(Error::Unpaired)
}

/// Executes one statement. If DDL made it obsolete, it fails before it runs; it is then prepared or looked up again and
/// retried once. A function that works elsewhere may have passed on such an error of another server after it ran: it is
/// looked up again, but sent again only if it was not sent at all.
async fn exchange<P: ToSql + Sync>(
    connection: &Client,
    signature: &Signature,
    arguments: &[P],
    deadline: Instant,
) -> Result<Rows, Error> {
    let sent = timeout_at(deadline, fresh(connection, signature, arguments)).await;
    sent.unwrap_or(Err(Error::NoAnswer))
}

async fn fresh<P: ToSql + Sync>(connection: &Client, signature: &Signature, arguments: &[P]) -> Result<Rows, Error> {
    let error = match send(connection, signature, arguments).await {
        Err(error) if error.is_outdated() => error,
        outcome => return outcome,
    };
    connection.note_outdated();
    if !signature.local && !matches!(error, Error::Changed) {
        return Err(error);
    }
    match catalogue::look_up_again(connection, signature).await {
        Ok(Some(now)) => send(connection, &now, arguments).await,
        Err(Unusable::Missing(..)) => Err(error),
        Ok(None) | Err(_) => Err(Error::Changed),
    }
}

async fn send<P: ToSql + Sync>(connection: &Client, signature: &Signature, arguments: &[P]) -> Result<Rows, Error> {
    match connection.way() {
        Way::Direct => prepared(connection, signature, arguments).await,
        Way::Pooled { begin } => complete(connection, begin.as_deref(), signature, arguments).await,
    }
}

async fn prepared<P: ToSql + Sync>(connection: &Client, signature: &Signature, arguments: &[P]) -> Result<Rows, Error> {
    match once(connection, signature, arguments).await {
        // The prepared statement may be from before the procedure changed. The call did not run, or was rolled back.
        Err(Error::Changed) => connection.statement_cache.clear(),
        Err(Error::Postgres(error)) if stale(&error) => {
            connection.statement_cache.clear();
            if !signature.local {
                return Err(Error::Postgres(error));
            }
        }
        outcome => return outcome,
    }
    once(connection, signature, arguments).await
}

async fn once<P: ToSql + Sync>(connection: &Client, signature: &Signature, arguments: &[P]) -> Result<Rows, Error> {
    let statement = connection.prepare_cached(&signature.sql).await?;
    // The arguments were checked against the procedure as it was looked up; a changed one may read them differently.
    if !matches(signature, &statement) {
        return Err(Error::Changed);
    }
    let stream = connection.query_raw(&statement, arguments.iter()).await?;
    let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    rows(stream, columns).await
}

/// Whether a statement that was prepared later still has the shape that was checked at the start. Types with the same
/// oid are the same: an enum may have got another label.
fn matches(signature: &Signature, statement: &Statement) -> bool {
    let same = |(ty, looked_up): (&Type, &Type)| ty == looked_up || ty.oid() == looked_up.oid();
    let readable = |column: &Column| kind::readable(column.type_());
    statement.params().len() == signature.parameters.len()
        && statement.params().iter().zip(&signature.parameters).all(same)
        && statement.columns().iter().all(readable)
}

/// Sends a statement that does not depend on earlier ones. If the call sets its timeouts, it is a transaction of three
/// messages, which are sent together: still one round trip.
async fn complete<P: ToSql + Sync>(
    connection: &Client,
    begin: Option<&str>,
    signature: &Signature,
    arguments: &[P],
) -> Result<Rows, Error> {
    let call = async {
        let typed = arguments.iter().zip(signature.parameters.iter().cloned());
        let stream = connection.query_typed_raw(&signature.complete, typed).await?;
        rows(stream, signature.columns.iter().map(|(name, _)| name.clone()).collect()).await
    };
    let Some(begin) = begin else { return call.await };
    // `join3` polls in order, so the messages are sent in this order.
    let (begun, rows, committed) =
        join3(connection.batch_execute(begin), call, connection.batch_execute("COMMIT")).await;
    // When `begin` fails, the others fail because of it, so its error is the one to return.
    begun?;
    let rows = rows?;
    committed?;
    Ok(rows)
}

pub(super) async fn rows(stream: RowStream, columns: Vec<String>) -> Result<Rows, Error> {
    tokio::pin!(stream);
    let mut values = Vec::with_capacity(columns.len());
    let mut bytes = 0;
    // As the guest receives them. A NULL of four bytes takes 16 there, a numeric of a few bytes may have 131,072
    // digits.
    let mut lifted: usize = columns.iter().map(|name| limits::TEXT_BYTES + name.len()).sum();
    while let Some(row) = stream.try_next().await? {
        bytes += row.raw_size_bytes();
        if bytes > limits::ROWS_BYTES_MAX {
            return Err(Error::TooManyRows);
        }
        for index in 0..columns.len() {
            let Returned(value) = row.try_get(index)?;
            lifted += limits::VALUE_BYTES
                + match &value {
                    Value::Text(text) | Value::Json(text) => text.len(),
                    Value::Bytes(bytes) => bytes.len(),
                    _ => 0,
                };
            values.push(value);
        }
        if lifted > limits::ROWS_BYTES_MAX {
            return Err(Error::TooManyRows);
        }
    }
    Ok(Rows { columns, values })
}

/// 0A000 «cached plan must not change result type», 26000 «prepared statement does not exist». A local function that
/// raises one of them itself is merely called twice: the first was rolled back. One that works elsewhere may have
/// passed on another server's error.
fn stale(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED | &SqlState::INVALID_SQL_STATEMENT_NAME))
}
