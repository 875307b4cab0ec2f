//! Detects whether a connection leads to Postgres itself or through a pooler, and so how calls are sent on it.
//!
//! A pooler may run each transaction of a connection on another server process. A prepared statement is then missing
//! there, or is another client's of the same name, and session settings affect the client that uses the process next. A
//! connection does not show whether its pooler does this, so a pooler is never trusted to keep a session. What can be
//! proved is that there is no pooler: the process that answers has the process id that was sent when the connection was
//! made (`BackendKeyData`). A pooler sends numbers of its own, with which it assigns cancel requests.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::limits;

/// How calls are sent on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) enum Way {
    /// To a dedicated server process: statements are prepared once, timeouts are set for the session.
    Direct,
    /// Through a pooler: no statement is named or depends on earlier ones, and settings last for one transaction.
    Pooled {
        /// SQL that begins a transaction and sets its timeouts; `None` where those of the role are enough.
        begin: Option<String>,
    },
}

/// What was found out about a new connection.
pub(in crate::database) struct Survey {
    /// Whether it leads to a dedicated server process.
    pub(in crate::database) direct: bool,
    pub(super) read_only: bool,
    /// The statements that give its role the timeouts that it lacks; empty when it lacks none.
    pub(in crate::database) missing: String,
}

/// The timeouts that a role must have so that its calls need no transaction, each with its maximum.
/// `idle_in_transaction_session_timeout` is one of them because a call that sets its own timeouts is a transaction.
const TIMEOUTS: [(&str, Duration); 3] = [
    ("statement_timeout", limits::STATEMENT_TIMEOUT),
    ("lock_timeout", limits::LOCK_TIMEOUT),
    ("idle_in_transaction_session_timeout", limits::IDLE_IN_TRANSACTION_TIMEOUT),
];

/// Queries a new connection, in one round trip.
///
/// # Errors
/// When it does not answer.
pub(super) async fn survey(client: &Client) -> Result<Survey, tokio_postgres::Error> {
    let mut sql = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('transaction_read_only'), \
                   pg_catalog.quote_ident(session_user)"
        .to_owned();
    for (name, _) in TIMEOUTS {
        sql += &format!(
            ", (SELECT (1000 * pg_catalog.date_part('epoch', pg_catalog.current_setting('{name}')::pg_catalog.interval))::int8 \
             FROM pg_catalog.pg_settings WHERE name = '{name}' AND source <> 'session')"
        );
    }
    let answer = client.simple_query(&sql).await?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let field = |index| row.and_then(|row| row.get(index)).unwrap_or_default();
    let answers = field(0).parse::<i32>().ok();
    let mut missing = Vec::new();
    for (index, (name, most)) in TIMEOUTS.into_iter().enumerate() {
        // 0 means no timeout. A setting of another client's session is not the role's, so the query leaves it out.
        if !field(3 + index).parse().is_ok_and(|ms: u128| (1..=most.as_millis()).contains(&ms)) {
            missing.push(format!("ALTER ROLE {} SET {name} = '{}ms';", field(2), most.as_millis()));
        }
    }
    Ok(Survey {
        direct: answers.is_some() && handed_out(client).await == answers,
        read_only: field(1) == "on",
        missing: missing.join(" "),
    })
}

/// What was last found about poolers; only changes are logged.
#[derive(Default)]
pub(in crate::database) struct Notice(Mutex<Option<String>>);

impl Notice {
    /// Records the survey of a new connection, and logs what is new.
    pub(in crate::database) fn note(&self, survey: &Survey) {
        if survey.direct {
            return;
        }
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(survey.missing.clone());
        if before.as_ref() == Some(&survey.missing) {
            return;
        }
        if survey.missing.is_empty() {
            tracing::info!("database connections go through a pooler: statements are sent without preparing them");
        } else {
            tracing::warn!(
                missing = survey.missing,
                "database connections go through a pooler, and the role lacks timeouts: each call sets them for its \
                 transaction, at a cost; run these statements, then have the pooler reconnect"
            );
        }
    }

    /// The statements that give the role the timeouts that it lacks, when a pooler is there and it lacks any.
    pub(in crate::database) fn missing(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|missing| !missing.is_empty())
    }
}

/// The process id that the server sent when the connection was made. tokio-postgres exposes it only in cancel requests,
/// so one is written to memory and read from there.
async fn handed_out(client: &Client) -> Option<i32> {
    /// `Int32(80877102)`, after the length of the message.
    const CANCEL_REQUEST: [u8; 4] = 80_877_102_i32.to_be_bytes();
    let paper = Paper::default();
    client.cancel_token().cancel_query_raw(paper.clone(), ToPaper).await.ok()?;
    let written = paper.0.lock().unwrap_or_else(PoisonError::into_inner);
    // A request for TLS may precede it.
    let request = written.last_chunk::<16>()?;
    let process_id = request[8..12].try_into().ok()?;
    (request[4..8] == CANCEL_REQUEST).then_some(i32::from_be_bytes(process_id))
}

/// A stream that a cancel request is written to. It accepts a request for TLS, and then does not encrypt.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

struct ToPaper;

impl TlsConnect<Paper> for ToPaper {
    type Stream = Paper;
    type Error = Infallible;
    type Future = Ready<Result<Paper, Infallible>>;

    fn connect(self, paper: Paper) -> Self::Future {
        ready(Ok(paper))
    }
}

impl TlsStream for Paper {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Paper {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0 {
            buffer.put_slice(b"S");
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paper {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
