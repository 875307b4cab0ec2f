//! Why a statement returned no rows, and what becomes of it: an error that the procedure raised, which its handler may
//! answer, or a failure.

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::catalogue::complete;
use super::connect::target::chain;
use super::pairing::Unpaired;
use super::pool::{Client, Database};
use super::procedure::Procedure;
use super::stubs;
use crate::contract::DatabaseError;
use crate::failure::{Failure, Raised};
use crate::limits;
use crate::metrics::NO_SQLSTATE;

/// What Postgres reports when it has no connection left. PL/Proxy passes on no SQLSTATE of a connection.
const FULL: [&str; 3] = ["too many clients", "too many connections", "remaining connection slots"];

/// What PL/Proxy puts before the message of a shard.
const REMOTE: &str = "] REMOTE ";

/// Why a statement returned no rows.
pub(super) enum Error {
    Postgres(tokio_postgres::Error),
    /// The procedure has changed since it was looked up. The call did not run.
    Changed,
    /// It returned more bytes than a call may return.
    TooManyRows,
    /// The rows of a batch form do not match its calls. What it recorded stays recorded.
    Unpaired(Unpaired),
    NoAnswer,
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl Error {
    /// Returns the connection if it is still usable, and discards it otherwise.
    pub(super) fn spare(&self, connection: Client) -> Option<Client> {
        // What still arrives on it belongs to this call; or it is about to close; or it now leads to a standby.
        if matches!(self, Self::TooManyRows | Self::NoAnswer) || self.is_fatal() || self.is_read_only() {
            connection.discard();
            return None;
        }
        Some(connection)
    }

    /// Whether the statement was made for a function that has changed, and failed before that function ran.
    pub(super) fn is_outdated(&self) -> bool {
        match self {
            Self::Changed => true,
            Self::Postgres(error) => complete::is_outdated(error),
            _ => false,
        }
    }

    /// Why the shard of the call is unavailable, if that is why it failed: PL/Proxy could not connect or lost the
    /// connection, or the shard is stopping, or a standby. A shard that has no connection left serves those it has.
    pub(super) fn of_shard(&self) -> Option<String> {
        let Self::Postgres(error) = self else { return None };
        let reported = error.as_db_error()?;
        let (code, message) = (reported.code().code(), reported.message());
        let is_remote = message.contains(REMOTE);
        let lost = code == "XX000" && message.starts_with("PL/Proxy function ") && message.contains("): [");
        let leaves = is_remote && matches!(code, "57P01" | "57P02" | "57P03" | "25006");
        let is_full = FULL.iter().any(|text| message.contains(text));
        ((lost && !is_remote || leaves) && !is_full).then(|| stubs::cause(message))
    }

    /// Whether Postgres closes the connection after this error.
    fn is_fatal(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let severity = error.as_db_error().and_then(DbError::parsed_severity);
        matches!(severity, Some(Severity::Fatal | Severity::Panic))
    }

    /// Whether the connection leads to a standby. One to a router whose shard is a standby is of use to other shards.
    fn is_read_only(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let is_remote = || error.as_db_error().is_some_and(|reported| reported.message().contains(REMOTE));
        error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) && !is_remote()
    }

    /// The class of its SQLSTATE, for the metrics.
    pub(super) fn class(&self) -> &str {
        let Self::Postgres(error) = self else { return NO_SQLSTATE };
        error.code().and_then(|code| code.code().get(..2)).unwrap_or(NO_SQLSTATE)
    }

    /// Whether Postgres ended the statement because it waited for a lock or ran longer than its timeouts allow, or
    /// because of a deadlock or a serialization failure. A statement of a local procedure was rolled back.
    pub(super) fn is_of_one_row(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code().is_some_and(of_one_row))
    }

    /// Whether a single call of a batch may have caused this, and nothing of the batch is recorded anywhere. An
    /// unavailable database does not point to a single call.
    ///
    /// A batch of a procedure that is not local works in one other database, and what that one raises was rolled back
    /// there. It is not known where a timeout ended it: here the statement was given up, and may go on there.
    pub(super) fn is_of_one_call(&self, procedure: &Procedure) -> bool {
        match self {
            Self::Postgres(error) => error.code().is_some_and(|code| {
                let gave_up = *code == SqlState::QUERY_CANCELED;
                is_outcome(error, code, procedure) || of_one_row(code) && (procedure.is_local() || !gave_up)
            }),
            Self::Changed => true,
            Self::TooManyRows | Self::Unpaired(_) | Self::NoAnswer => false,
        }
    }
}

impl Database {
    /// The failure of a call whose statement ended with this error.
    pub(super) fn failure(&self, error: Error, procedure: &Procedure) -> Failure {
        let failed = |cause: String| Failure::Procedure { procedure: procedure.name.clone(), cause };
        match error {
            Error::TooManyRows => {
                failed(format!("it returned more than {} bytes; return fewer rows at once", limits::ROWS_BYTES_MAX))
            }
            Error::Unpaired(unpaired) => {
                failed(format!("its batch form returned {unpaired}, so that no row was used; what it recorded remains"))
            }
            Error::Changed => {
                self.health().note_changed();
                failed("its parameters or columns are not those it had when it was looked up".to_owned())
            }
            Error::NoAnswer => {
                let (name, seconds) = (&procedure.name, limits::CALL_TIMEOUT.as_secs());
                self.unavailable(format!("no answer to `{name}` within {seconds} s"))
            }
            Error::Postgres(error) => match error.as_db_error() {
                // Without an error of the server, the connection broke or the response could not be read.
                None if error.is_closed() || broken(&error) => self.unavailable(chain(&error)),
                None => failed(chain(&error)),
                Some(reported) if is_outcome(&error, reported.code(), procedure) => raised(procedure, reported),
                Some(reported) => self.unavailable(format!("{}: {}", reported.code().code(), chain(&error))),
            },
        }
    }
}

fn raised(procedure: &Procedure, reported: &DbError) -> Failure {
    // A procedure may raise any text, and it goes into a guest's memory.
    let cut = |text: &str| text[..text.floor_char_boundary(limits::ERROR_TEXT_BYTES_MAX)].to_owned();
    let error = DatabaseError {
        sqlstate: reported.code().code().to_owned(),
        message: cut(reported.message()),
        detail: reported.detail().map(cut),
        constraint: reported.constraint().map(cut),
    };
    Failure::Raised(Box::new(Raised { procedure: procedure.name.clone(), error }))
}

/// Whether an SQLSTATE proves that the procedure was rolled back and that another attempt would fail in the same way. A
/// function that works elsewhere, such as one of PL/Proxy, may fail here after it was recorded there: of its errors
/// only those that it raised itself, or that its data or a constraint caused, prove anything. The error of a statement
/// that was made for another function is not one of them, though its SQLSTATE says so.
fn is_outcome(error: &tokio_postgres::Error, code: &SqlState, procedure: &Procedure) -> bool {
    let raised_there = || {
        let class = code.code().get(..2);
        matches!(class, Some("22" | "23" | "P0" | "PT")) && !complete::is_of_another_function(error)
    };
    !passing(code) && (procedure.is_local() || raised_there() || *code == SqlState::INSUFFICIENT_PRIVILEGE)
}

fn of_one_row(code: &SqlState) -> bool {
    let codes = [
        &SqlState::LOCK_NOT_AVAILABLE,
        &SqlState::QUERY_CANCELED,
        &SqlState::T_R_DEADLOCK_DETECTED,
        &SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    codes.contains(&code)
}

fn broken(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// Whether an SQLSTATE is transient. By class: connection, rollback (serialization, deadlock), resources, operator
/// intervention (`statement_timeout`, shutdown), system error. By code: a lock that is not available, and a standby
/// that does not accept writes yet.
fn passing(code: &SqlState) -> bool {
    matches!(code.code().get(..2), Some("08" | "40" | "53" | "57" | "58"))
        || [&SqlState::LOCK_NOT_AVAILABLE, &SqlState::READ_ONLY_SQL_TRANSACTION].contains(&code)
}
