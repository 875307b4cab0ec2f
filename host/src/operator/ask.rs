//! One request to an admin address, over TCP or a unix socket, bounded in time and size. Every error names the remedy.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::{Address, Token};
use crate::limits;
use crate::log::escaped;

/// How to reach a node.
#[derive(Debug, Clone)]
pub struct Access {
    /// Its admin address.
    pub admin: Address,
    /// The token to send, if any.
    pub token: Option<Token>,
}

impl Access {
    /// A command that asks this node, to be copied.
    pub(super) fn command(&self, command: &str) -> String {
        format!("`galo {command} --admin {}`", self.admin)
    }
}

/// Why a node does not do something, where it says so in JSON.
#[derive(Deserialize)]
struct Denied {
    error: String,
}

/// What a node answered.
pub(super) struct Answer {
    admin: Address,
    /// Never 401 or 403: these are errors of [`ask`].
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Its body, parsed.
    ///
    /// # Errors
    /// When the status is another one, or the body cannot be parsed.
    pub(super) fn json<T: DeserializeOwned>(&self, status: StatusCode) -> anyhow::Result<T> {
        let Self { admin, status: got, .. } = self;
        if *got != status {
            bail!("{admin} answered {got}: {}; is it the admin address of a node?", self.message());
        }
        serde_json::from_slice(&self.body).with_context(|| {
            format!("the answer of {admin} is not a node's report; do node and `galo` have the same version?")
        })
    }

    /// Its body, parsed line by line.
    ///
    /// # Errors
    /// As [`Self::lines`]; also when a line cannot be parsed.
    pub(super) fn json_lines<T: DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        let parsed = self.lines()?.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>();
        parsed.with_context(|| {
            format!("the answer of {} is not a node's; do node and `galo` have the same version?", self.admin)
        })
    }

    /// Its body as a text.
    ///
    /// # Errors
    /// When the status is not 200, or the body is not a text.
    pub(super) fn lines(&self) -> anyhow::Result<&str> {
        let Self { admin, status, body, .. } = self;
        if *status != StatusCode::OK {
            bail!("{admin} answered {status}: {}", self.message());
        }
        std::str::from_utf8(body).with_context(|| format!("the answer of {admin} is not a text"))
    }

    /// The value of a header; empty if there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The first line of its text, or what its JSON says is wrong, fit for a terminal.
    pub(super) fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        if let Ok(Denied { error }) = serde_json::from_str(&text) {
            return escaped(error.lines().next().unwrap_or_default());
        }
        escaped(text.lines().next().unwrap_or_default())
    }
}

/// Sends a request to a node.
///
/// # Errors
/// When nobody listens there, no answer comes in time, or the node refuses the request.
pub(super) async fn ask(access: &Access, method: Method, path: &str) -> anyhow::Result<Answer> {
    send(access, method, path, ("", Bytes::new()), limits::OPERATOR_TIMEOUT).await
}

/// Sends an order to a node, which may take `wait` to carry it out.
///
/// # Errors
/// As [`ask`].
pub(super) async fn order(
    access: &Access,
    path: &str,
    order: &impl Serialize,
    wait: Duration,
) -> anyhow::Result<Answer> {
    send(access, Method::POST, path, ("application/json", serde_json::to_vec(order)?.into()), wait).await
}

/// Sends a request with a body, and the type of that, to a node.
///
/// # Errors
/// As [`ask`].
pub(super) async fn send(
    access: &Access,
    method: Method,
    path: &str,
    body: (&'static str, Bytes),
    within: Duration,
) -> anyhow::Result<Answer> {
    let Access { admin, token } = access;
    let (status, headers, body) = timeout(within, exchange(access, method, path, body)).await.map_err(|_| {
        let late = format!("{admin} did not answer within {} s", within.as_secs());
        anyhow::Error::from(io::Error::from(io::ErrorKind::TimedOut)).context(late)
    })??;
    let answer = Answer { admin: admin.clone(), status, headers, body };
    match (status, token) {
        (StatusCode::UNAUTHORIZED, None) => {
            bail!("{admin} requires a token: use --admin-token-file FILE, or set GALO_ADMIN_TOKEN")
        }
        (StatusCode::UNAUTHORIZED, Some(_)) => {
            bail!("{admin} did not accept the token; use the token that the node was started with")
        }
        (StatusCode::FORBIDDEN, _) => bail!("{admin} refused the request: {}", answer.message()),
        _ => Ok(answer),
    }
}

async fn exchange(
    access: &Access,
    method: Method,
    path: &str,
    body: (&'static str, Bytes),
) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
    let unreachable = |error: io::Error| {
        let admin = &access.admin;
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                format!("nothing listens on {admin}; start a node there, or use the admin address of one")
            }
            _ => format!("cannot connect to {admin}"),
        };
        anyhow::Error::from(error).context(advice)
    };
    match &access.admin {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            talk(stream, access, &address.to_string(), (method, path, body)).await
        }
        Address::Unix(path_of_socket) => {
            let stream = UnixStream::connect(path_of_socket).await.map_err(unreachable)?;
            talk(stream, access, "localhost", (method, path, body)).await
        }
    }
}

async fn talk<S>(
    stream: S,
    access: &Access,
    host: &str,
    (method, path, (content_type, body)): (Method, &str, (&'static str, Bytes)),
) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = || format!("{} did not answer as a node; is it the admin address of one?", access.admin);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(broken)?;
    // Its error reaches the sender too; it ends with the sender.
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, host);
    if let Some(token) = &access.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, content_type);
    }
    let response = sender.send_request(request.body(Full::new(body))?).await.with_context(broken)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, limits::OPERATOR_ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed).with_context(broken)?;
    Ok((head.status, head.headers, body.to_bytes()))
}
