//! Whether a connection leads to Postgres itself or through a pooler, and how calls are sent on it.
//!
//! A pooler may give each transaction of a connection another server process. A prepared statement is then missing
//! there, or is another client's of the same name, and what is set for a session is set for whoever comes next. A
//! connection does not show whether its pooler does this, so a pooler is never trusted to keep a session. What is
//! proved is the opposite: the process that answers has the process id that was handed out when the connection was made
//! (`BackendKeyData`). A pooler hands out numbers of its own, by which it finds what a cancel request is for.
//!
//! Used by `open`; `exchange` sends as it says.

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
    /// To a server process of its own: statements are prepared once, timeouts are set for the session.
    Direct,
    /// Through a pooler: every statement is complete, none has a name, and nothing is set beyond its transaction.
    Pooled {
        /// What begins a transaction with timeouts of its own; `None` where those of the role are enough.
        begin: Option<String>,
    },
}

/// What a new connection says about itself.
pub(in crate::database) struct Survey {
    /// Whether it leads to a server process of its own.
    pub(in crate::database) direct: bool,
    pub(super) read_only: bool,
    /// The statements that give its role the timeouts that it lacks; empty when it lacks none.
    pub(in crate::database) missing: String,
}

/// The timeouts that a role has to have for its calls to go as they are, each with the most it may be. Those of
/// `idle_in_transaction_session_timeout` count because a call that brings its own timeouts is a transaction.
const TIMEOUTS: [(&str, Duration); 3] = [
    ("statement_timeout", limits::STATEMENT_TIMEOUT),
    ("lock_timeout", limits::LOCK_TIMEOUT),
    ("idle_in_transaction_session_timeout", limits::IDLE_IN_TRANSACTION_TIMEOUT),
];

/// Asks a new connection, in one round trip.
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
        // 0 means no timeout; a setting of another client's session is not the role's.
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

/// What was found about poolers since the start: the log has each finding once.
#[derive(Default)]
pub(in crate::database) struct Notice(Mutex<Option<String>>);

impl Notice {
    /// Takes in what a new connection said.
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

/// The process id that was handed out when the connection was made. tokio-postgres keeps it for cancel requests, so one
/// is written, but into memory.
async fn handed_out(client: &Client) -> Option<i32> {
    /// `Int32(80877102)`, behind the length of the message.
    const CANCEL_REQUEST: [u8; 4] = 80_877_102_i32.to_be_bytes();
    let paper = Paper::default();
    client.cancel_token().cancel_query_raw(paper.clone(), ToPaper).await.ok()?;
    let written = paper.0.lock().unwrap_or_else(PoisonError::into_inner);
    // Before it there may be a request for TLS.
    let request = written.last_chunk::<16>()?;
    let process_id = request[8..12].try_into().ok()?;
    (request[4..8] == CANCEL_REQUEST).then_some(i32::from_be_bytes(process_id))
}

/// What a cancel request is written on. Asked for TLS it agrees, and goes on as before.
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
