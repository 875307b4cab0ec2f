//! Why a connection failed, and what follows from that: whether to try again, and whether existing connections are
//! affected.

use std::fmt;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::target::{Place, chain};

/// Why no connection was made: the cause for each host or address that was tried.
#[derive(Debug, Default)]
pub(in crate::database) struct Unreachable(Vec<(String, Cause)>);

/// Why a connection was not made or cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::database) enum Cause {
    /// The socket or Postgres refused the connection.
    #[error("{}", refused(.0))]
    Refused(tokio_postgres::Error),
    /// The server refused the log-in with TLS, and then also without.
    #[error("{without}; with TLS: {with}")]
    Neither { without: Box<Cause>, with: Box<Cause> },
    /// The socket failed.
    #[error("{0}")]
    Socket(std::io::Error),
    /// The URL and the server do not match: no TLS, a certificate that cannot be verified, no password.
    #[error("{0}")]
    Unsuited(String),
    /// A file that connections need cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The name of the host cannot be resolved.
    #[error("cannot look it up: {0}")]
    Unknown(std::io::Error),
    /// Nothing answered.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// Calls need a database that accepts writes.
    #[error("it does not take writes: it is a standby, or transactions are read only by default")]
    ReadOnly,
    /// The URL asks for a read-only database.
    #[error("it takes writes, and target_session_attrs is read-only")]
    TakesWrites,
    /// A private session is needed.
    #[error(
        "it goes through a pooler, where what SQL files set would reach other clients; \
         give the address of Postgres itself"
    )]
    Pooled,
}

/// The error of a server, with what to do if it comes from a pooler.
fn refused(error: &tokio_postgres::Error) -> String {
    let text = chain(error);
    if text.contains(STARTUP) {
        return format!("{text}; take it out of the URL, or name it in ignore_startup_parameters of PgBouncer");
    }
    text
}

/// Whether an error is transient: the database starts or stops, has no connection left, or a pooler cannot reach it,
/// which reports all of this as 08P01. A refused start-up parameter is not transient.
fn passing(error: &tokio_postgres::Error) -> bool {
    let class = error.code().and_then(|code| code.code().get(..2));
    matches!(class, Some("08" | "53" | "57")) && !chain(error).contains(STARTUP)
}

/// PgBouncer's error for a start-up parameter that it does not know.
const STARTUP: &str = "unsupported startup parameter";

/// PgBouncer's error when it has too many clients.
const CROWDED: &str = "no more connections allowed";

impl Unreachable {
    pub(super) fn one(place: &Place, cause: Cause) -> Self {
        Self(vec![(place.to_string(), cause)])
    }

    /// Adds the causes of other attempts.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The cause of a connection that failed after it was made, or whose files could not be read.
    pub(in crate::database) fn broken(cause: Cause) -> Self {
        Self(vec![(String::new(), cause)])
    }

    /// Whether Postgres or a pooler has no connection left, whichever limit was reached.
    pub(in crate::database) fn is_want_of_connections(&self) -> bool {
        let crowded = |error: &tokio_postgres::Error| {
            error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) || chain(error).contains(CROWDED)
        };
        self.causes().any(|cause| cause.refusal().is_some_and(crowded))
    }

    /// Whether Postgres runs and refused only this connection, so that existing connections are not affected.
    pub(in crate::database) fn is_refusal(&self) -> bool {
        self.causes().any(|cause| match cause.refusal() {
            Some(error) if error.code().is_some() => {
                !passing(error) || error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
            }
            _ => cause.is_unsuited(),
        })
    }

    /// Whether every host refused with an error that would be the same next time, unlike one of a database that starts
    /// or has no connection left.
    pub(in crate::database) fn is_final(&self) -> bool {
        let is_final = |cause: &Cause| match cause.refusal() {
            Some(error) if error.code().is_some() => !passing(error),
            _ => cause.is_unsuited(),
        };
        !self.0.is_empty() && self.causes().all(is_final)
    }

    fn causes(&self) -> impl Iterator<Item = &Cause> {
        self.0.iter().map(|(_, cause)| cause)
    }
}

impl Cause {
    /// The error of the socket or the server, if that is the cause.
    fn refusal(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Neither { without, .. } => without.refusal(),
            _ => None,
        }
    }

    fn is_unsuited(&self) -> bool {
        match self {
            Self::Unsuited(_) => true,
            Self::Neither { without, .. } => without.is_unsuited(),
            _ => false,
        }
    }
}

/// The cause; if several hosts were tried, the cause of each.
impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("it has no address"),
            [(_, cause)] => cause.fmt(f),
            several => several.iter().enumerate().try_for_each(|(index, (place, cause))| {
                write!(f, "{}{place}: {cause}", if index == 0 { "" } else { "; " })
            }),
        }
    }
}

impl std::error::Error for Unreachable {}
