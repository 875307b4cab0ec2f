//! One call of a procedure that only reads, for a person who asks what became of a request: in a READ ONLY transaction,
//! which is rolled back, on a connection of its own. No call of a request waits for it.

use tokio::time::timeout;
use tokio_postgres::Client;

use super::catalogue::{complete, describe};
use super::connect::target::chain;
use super::error::Error;
use super::exchange::rows;
use super::grant::GrantedProcedure;
use super::pool::Database;
use super::procedure::Procedure;
use super::value::Argument;
use crate::contract::{Rows, Value};
use crate::limits;

impl Database {
    /// Calls a procedure in a READ ONLY transaction. `arguments` makes them once its parameters are known.
    ///
    /// # Errors
    /// Why it could not be called, or the error that it raised, for a person.
    pub async fn read_only(
        &self,
        name: &str,
        arguments: impl FnOnce(&Procedure) -> Result<Vec<Value>, String>,
    ) -> Result<Rows, String> {
        let read = async {
            let client = self.target().connect().await.map_err(|error| error.to_string())?;
            let ms = limits::EXPLAIN_TIMEOUT.as_millis();
            // Postgres ends it, too, should this task end first.
            let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {ms}");
            client.batch_execute(&begin).await.map_err(|error| chain(&error))?;
            let outcome = call(&client, name, arguments).await;
            // Behind a pooler the connection to Postgres goes on.
            let _ = client.batch_execute("ROLLBACK").await;
            outcome
        };
        let late = || format!("no answer within {} s", limits::EXPLAIN_TIMEOUT.as_secs());
        timeout(limits::EXPLAIN_TIMEOUT, read).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn call(
    client: &Client,
    name: &str,
    arguments: impl FnOnce(&Procedure) -> Result<Vec<Value>, String>,
) -> Result<Rows, String> {
    let procedure = describe(client, &GrantedProcedure::plain(name)).await.map_err(|unusable| unusable.to_string())?;
    let arguments = arguments(&procedure)?;
    procedure.check(&arguments)?;
    let signature = &procedure.signature;
    let typed: Vec<_> = arguments.iter().map(Argument).zip(signature.parameters.iter().cloned()).collect();
    let columns = signature.columns.iter().map(|(name, _)| name.clone()).collect();
    let stream = client.query_typed_raw(&signature.complete, typed).await.map_err(|error| chain(&error))?;
    rows(stream, columns).await.map_err(|error| match error {
        Error::Postgres(error) if complete::is_outdated(&error) => format!("`{name}` was replaced just now; ask again"),
        Error::Postgres(error) => chain(&error),
        Error::TooManyRows => format!("`{name}` returns more than {} bytes", limits::ROWS_BYTES_MAX),
        Error::Changed | Error::Unpaired(_) | Error::NoAnswer => format!("`{name}` did not answer"),
    })
}
