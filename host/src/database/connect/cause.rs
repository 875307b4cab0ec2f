//! Why there is no connection, and what follows from it: whether to try again, and whether it says anything of the
//! connections that there are. Made by `open` and `handshake`.

use std::fmt;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::target::{Place, chain};

/// Why no connection was made: for each host or address that was tried, its cause.
#[derive(Debug, Default)]
pub(in crate::database) struct Unreachable(Vec<(String, Cause)>);

/// Why one was not made, or is of no use.
#[derive(Debug, thiserror::Error)]
pub(in crate::database) enum Cause {
    /// The socket, or Postgres, refused it.
    #[error("{}", refused(.0))]
    Refused(tokio_postgres::Error),
    /// A server that lets nobody in with TLS, and then not without either.
    #[error("{without}; with TLS: {with}")]
    Neither { without: Box<Cause>, with: Box<Cause> },
    /// The socket.
    #[error("{0}")]
    Socket(std::io::Error),
    /// The URL and the server do not suit each other: no TLS, a certificate that proves nothing, no password.
    #[error("{0}")]
    Unsuited(String),
    /// A file that connections are made with.
    #[error("{0}")]
    Unusable(String),
    /// The name was not found.
    #[error("cannot look it up: {0}")]
    Unknown(std::io::Error),
    /// Nothing answered.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// What is called writes.
    #[error("it does not take writes: it is a standby, or transactions are read only by default")]
    ReadOnly,
    /// The URL wants one that does not.
    #[error("it takes writes, and target_session_attrs is read-only")]
    TakesWrites,
    /// It needs a session of its own.
    #[error(
        "it goes through a pooler, where what SQL files set would reach other clients; \
         give the address of Postgres itself"
    )]
    Pooled,
}

/// What a server says, and what to do when it is a pooler that says it.
fn refused(error: &tokio_postgres::Error) -> String {
    let text = chain(error);
    if text.contains(STARTUP) {
        return format!("{text}; take it out of the URL, or name it in ignore_startup_parameters of PgBouncer");
    }
    text
}

/// Whether a code is of what passes by itself: the database starts or stops, has no connection left, or a pooler, which
/// says all of this as 08P01, does not reach it. What is wrong with how a connection is begun stays.
fn passing(error: &tokio_postgres::Error) -> bool {
    let class = error.code().and_then(|code| code.code().get(..2));
    matches!(class, Some("08" | "53" | "57")) && !chain(error).contains(STARTUP)
}

/// What PgBouncer says of a start-up parameter that it does not know.
const STARTUP: &str = "unsupported startup parameter";

/// What PgBouncer says when its own clients are too many.
const CROWDED: &str = "no more connections allowed";

impl Unreachable {
    pub(super) fn one(place: &Place, cause: Cause) -> Self {
        Self(vec![(place.to_string(), cause)])
    }

    /// Adds why others failed.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// A connection that was made and then failed, or whose files could not be read.
    pub(in crate::database) fn broken(cause: Cause) -> Self {
        Self(vec![(String::new(), cause)])
    }

    /// Whether Postgres, or a pooler, has no connection left for us, by whichever of its bounds.
    pub(in crate::database) fn is_want_of_connections(&self) -> bool {
        let crowded = |error: &tokio_postgres::Error| {
            error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) || chain(error).contains(CROWDED)
        };
        self.causes().any(|cause| cause.refusal().is_some_and(crowded))
    }

    /// Whether Postgres lives and refuses just us, so that it says nothing of connections that were made before.
    pub(in crate::database) fn is_refusal(&self) -> bool {
        self.causes().any(|cause| match cause.refusal() {
            Some(error) if error.code().is_some() => {
                !passing(error) || error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
            }
            _ => cause.is_unsuited(),
        })
    }

    /// Whether every host refused it with what will be the same next time: not while it starts, or has no connection
    /// left.
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
    /// What the socket or the server said, if that is the cause.
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

/// The cause, or the cause of each host.
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
