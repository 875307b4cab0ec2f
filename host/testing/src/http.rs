//! The HTTP client of tests: HTTP/1.1 on one connection, over TCP or a unix socket. It sends each request once and does
//! not connect again by itself: only its caller knows whether a request may be tried again.

use ::http::{HeaderMap, Method, Request, StatusCode};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The first value of a header, or nothing.
    ///
    /// # Panics
    /// When it is not ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("the header is ASCII"))
    }
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// The connection was closed before a byte of the request was written.
    Unsent(Box<Request<Full<Bytes>>>, hyper::Error),
    /// The request may have been carried out.
    Unknown(hyper::Error),
    /// The answer began and broke off.
    CutOff(hyper::Error),
}

impl From<Unanswered> for hyper::Error {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unsent(_, error) | Unanswered::Unknown(error) | Unanswered::CutOff(error) => error,
        }
    }
}

/// A connection that requests are sent on.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Over TCP, or a unix socket when the address is `unix:PATH`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn open(address: &str) -> Self {
        Self::try_open(address).await.expect("it takes connections")
    }

    /// The same, but returns the error.
    ///
    /// # Errors
    /// When the connection is refused.
    pub async fn try_open(address: &str) -> anyhow::Result<Self> {
        let refused = || format!("cannot connect to {address}");
        match address.strip_prefix("unix:") {
            Some(path) => Self::over(UnixStream::connect(path).await.with_context(refused)?, "localhost").await,
            None => {
                let stream = TcpStream::connect(address).await.with_context(refused)?;
                // A request is one small write; Nagle's algorithm would delay it.
                stream.set_nodelay(true)?;
                Self::over(stream, address).await
            }
        }
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, host: &str) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its error is also that of the request in flight.
        tokio::spawn(connection);
        Ok(Self { sender, host: host.to_owned() })
    }

    /// Whether the other side has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn send(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> hyper::Result<Answer> {
        self.send_with(method, path, &[], body).await
    }

    /// The same with more headers; a `host` among them replaces that of the address. Values may be bytes that are not
    /// text.
    ///
    /// # Errors
    /// When there is no complete answer.
    ///
    /// # Panics
    /// When they do not make a request.
    pub async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let request = request.body(Full::new(body.into())).expect("method, path and headers are well-formed");
        Ok(self.exchange(request).await?)
    }

    /// Sends a request that was made elsewhere; it gets a `host`, if it has none.
    ///
    /// # Errors
    /// When there is no complete answer, with how far the exchange got.
    pub async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, Unanswered> {
        if !request.headers().contains_key("host")
            && let Ok(host) = self.host.parse()
        {
            request.headers_mut().insert("host", host);
        }
        if let Err(error) = self.sender.ready().await {
            return Err(Unanswered::Unsent(Box::new(request), error));
        }
        let response = self.sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request), error.into_error()),
            None => Unanswered::Unknown(error.into_error()),
        })?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(Unanswered::CutOff)?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// One request on a connection of its own.
///
/// # Panics
/// When it is not answered.
pub async fn request(address: &str, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
    Connection::open(address).await.send(method, path, body).await.expect("it answers")
}

/// As above, with more headers and no body.
///
/// # Panics
/// When it is not answered.
pub async fn request_with(address: &str, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    Connection::open(address).await.send_with(method, path, headers, "").await.expect("it answers")
}

/// The body of a transaction of the example application.
#[must_use]
pub fn transacao(valor: i64, tipo: &str, descricao: &str) -> String {
    serde_json::json!({"valor": valor, "tipo": tipo, "descricao": descricao}).to_string()
}
