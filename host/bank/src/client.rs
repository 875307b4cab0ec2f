//! One client of the stack, on a connection of its own. It sends each request exactly once: `load`, which records every
//! try, decides whether to try again.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use galo_testing::http::{Connection, Unanswered};
use http_body_util::Full;
use hyper::{Method, Request};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::extrato::Extrato;
use crate::history::Answer;
use crate::plan::Transacao;

/// Longer than any ladder of timeouts in front of it: a client of the test gives up last, so that what it does not know
/// was decided by the stack.
pub const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Why a request failed that was on its way while a connection that had served others before was closed. Whoever keeps
/// connections has to expect it (RFC 9112, 9.3.1), so it is not held against the stack.
pub const KEPT_CONNECTION_CLOSED: &str = "a kept connection was closed";

/// Where the stack is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// `http://host:port`
    Tcp(String),
    /// `unix:PATH`
    Unix(PathBuf),
}

impl FromStr for Base {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let Some(authority) = text.strip_prefix("http://") else { bail!("`{text}` is neither http:// nor unix:") };
        let authority = authority.trim_end_matches('/');
        Ok(Self::Tcp(if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") }))
    }
}

/// The body of a 200 to a transaction.
#[derive(Deserialize)]
struct Balance {
    limite: i64,
    saldo: i64,
}

/// How a client treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// One for each request, as the contest's load does.
    Never,
    /// One for as long as it lasts.
    Always,
}

/// A client.
pub struct Client {
    base: Base,
    reuse: Reuse,
    idle: Option<Connection>,
}

impl Client {
    /// A client that is not connected yet.
    #[must_use]
    pub fn new(base: Base, reuse: Reuse) -> Self {
        Self { base, reuse, idle: None }
    }

    /// Sends a transaction and waits for its answer.
    pub async fn transacao(&mut self, transacao: &Transacao) -> Answer {
        match self.exchange(request(transacao)).await {
            Ok((200, body)) => match serde_json::from_slice::<Balance>(&body) {
                Ok(Balance { limite, saldo }) => Answer::Ok { limite, saldo },
                Err(error) => Answer::Unexpected(format!("200 with {error}: {}", String::from_utf8_lossy(&body))),
            },
            Ok((422, _)) => Answer::Refused,
            Ok((status @ 500.., body)) => Answer::Failed(format!("{status} {}", String::from_utf8_lossy(&body))),
            Ok((status, body)) => Answer::Unexpected(format!("{status} {}", String::from_utf8_lossy(&body))),
            Err(error) => Answer::Failed(format!("{error:#}")),
        }
    }

    /// Asks for an extrato.
    ///
    /// # Errors
    /// Whatever was not a 200 with an extrato in it.
    pub async fn extrato(&mut self, cliente: i32) -> anyhow::Result<Extrato> {
        let (status, body) =
            self.exchange(build(Method::GET, &format!("/clientes/{cliente}/extrato"), &[], "")).await?;
        if status != 200 {
            bail!("{status} {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice(&body).with_context(|| format!("not an extrato: {}", String::from_utf8_lossy(&body)))
    }

    /// Sends a body to the transactions of a cliente under these headers beside the usual ones, and returns status and
    /// body of what is answered.
    ///
    /// # Errors
    /// No answer.
    pub async fn post(&mut self, cliente: i32, headers: &[(&str, &str)], body: &str) -> anyhow::Result<(u16, Bytes)> {
        self.exchange(build(Method::POST, &transacoes(cliente), headers, body.to_owned())).await
    }

    /// Sends a body to this path, and returns status and body of what is answered.
    ///
    /// # Errors
    /// No answer.
    pub async fn send_to(&mut self, path: &str, body: &str) -> anyhow::Result<(u16, Bytes)> {
        self.exchange(build(Method::POST, path, &[], body.to_owned())).await
    }

    /// Sends a transaction on a connection of its own and closes it at once.
    ///
    /// # Errors
    /// When it could not even be sent whole; part of it may have been.
    pub async fn leave(&self, transacao: &Transacao) -> anyhow::Result<()> {
        let body = body(transacao);
        let key = transacao.key.as_ref().map(|key| format!("Idempotency-Key: {}\r\n", key.header()));
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{body}",
            transacoes(transacao.cliente),
            self.host(),
            body.len(),
            key.unwrap_or_default(),
        );
        timeout(ANSWER_MAX, async {
            match &self.base {
                Base::Tcp(address) => TcpStream::connect(address).await?.write_all(request.as_bytes()).await,
                Base::Unix(path) => UnixStream::connect(path).await?.write_all(request.as_bytes()).await,
            }
        })
        .await??;
        Ok(())
    }

    fn host(&self) -> &str {
        match &self.base {
            Base::Tcp(address) => address,
            Base::Unix(_) => "localhost",
        }
    }

    async fn exchange(&mut self, request: anyhow::Result<Request<Full<Bytes>>>) -> anyhow::Result<(u16, Bytes)> {
        let mut request = request?;
        if self.reuse == Reuse::Never {
            request.headers_mut().insert(hyper::header::CONNECTION, "close".parse()?);
        }
        timeout(ANSWER_MAX, self.send(request)).await.with_context(|| format!("no answer in {ANSWER_MAX:?}"))?
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(u16, Bytes)> {
        let idle = self.idle.take().filter(|connection| !connection.is_closed());
        let mut kept = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut answered = connection.exchange(request).await;
        // It was closed while it was idle, and not a byte of this was written: this is not a second try.
        if kept && let Err(Unanswered::Unsent(request, _)) = answered {
            kept = false;
            connection = self.connect().await?;
            answered = connection.exchange(*request).await;
        }
        let answer = answered.map_err(|unanswered| {
            let why = match &unanswered {
                Unanswered::CutOff(_) => "the answer was cut off",
                _ if kept => KEPT_CONNECTION_CLOSED,
                _ => "no answer",
            };
            anyhow::Error::new(hyper::Error::from(unanswered)).context(why)
        })?;
        let closes = answer.headers.get(hyper::header::CONNECTION).is_some_and(|value| value == "close");
        if self.reuse == Reuse::Always && !closes {
            self.idle = Some(connection);
        }
        Ok((answer.status.as_u16(), answer.body))
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        match &self.base {
            Base::Tcp(address) => Connection::try_open(address).await,
            Base::Unix(path) => Connection::try_open(&format!("unix:{}", path.display())).await,
        }
    }
}

fn transacoes(cliente: i32) -> String {
    format!("/clientes/{cliente}/transacoes")
}

fn body(transacao: &Transacao) -> String {
    let Transacao { valor, tipo, descricao, .. } = transacao;
    serde_json::json!({"valor": valor, "tipo": tipo, "descricao": descricao}).to_string()
}

fn request(transacao: &Transacao) -> anyhow::Result<Request<Full<Bytes>>> {
    let key = transacao.key.as_ref().map(|key| key.header());
    let headers: Vec<_> = key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    build(Method::POST, &transacoes(transacao.cliente), &headers, body(transacao))
}

fn build(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        // As bytes: a test may send a value that is not text.
        request = request.header(*name, value.as_bytes());
    }
    Ok(request.header("content-type", "application/json").body(Full::new(body.into()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_base_are_read() {
        assert_eq!("http://localhost:9999/".parse::<Base>().unwrap(), Base::Tcp("localhost:9999".to_owned()));
        assert_eq!("http://nginx".parse::<Base>().unwrap(), Base::Tcp("nginx:80".to_owned()));
        assert_eq!("unix:/tmp/x".parse::<Base>().unwrap(), Base::Unix("/tmp/x".into()));
        assert!("https://localhost".parse::<Base>().is_err());
    }
}
