//! One request to the collector: a batch, encoded, over a connection that is kept. Used by `exporter`, which decides
//! what happens when it fails.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::uri::Scheme;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::otlp::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use super::tls;
use crate::config::{Compression, Traces};
use crate::limits;

/// The way to the collector.
pub(super) struct Post {
    settings: Arc<Traces>,
    tls: Option<TlsConnector>,
    /// The connection of the last request, while it lasts.
    kept: Option<SendRequest<Full<Bytes>>>,
}

/// What the collector answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// It has them, except for so many, with its reason.
    Taken { rejected: u64, why: String },
    /// It may take them later, perhaps not before a while.
    Later(StatusCode, Option<Duration>),
    /// It does not take them.
    Refused(StatusCode),
}

impl Post {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with a file for TLS.
    pub(super) fn new(settings: Arc<Traces>) -> anyhow::Result<Self> {
        let is_https = settings.endpoint.scheme() == Some(&Scheme::HTTPS);
        let tls = if is_https { Some(TlsConnector::from(tls::configure(&settings.tls)?)) } else { None };
        Ok(Self { settings, tls, kept: None })
    }

    /// The body of a request.
    pub(super) fn encode(&self, request: &ExportTraceServiceRequest) -> std::io::Result<Bytes> {
        let bytes = request.encode_to_vec();
        match self.settings.compression {
            Compression::None => Ok(bytes.into()),
            Compression::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
                gzip.write_all(&bytes)?;
                Ok(gzip.finish()?.into())
            }
        }
    }

    /// Sends a body once.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn send(&mut self, body: Bytes) -> anyhow::Result<Answer> {
        let mut connection = match self.kept.take().filter(|kept| !kept.is_closed()) {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        connection.ready().await.context("the connection is closed")?;
        let response = connection.send_request(self.request(body)?).await.context("no answer")?;
        let (status, again) = (response.status(), retry_after(&response));
        let body = Limited::new(response.into_body(), limits::TRACES_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("its answer cannot be read: {error}"))?.to_bytes();
        self.kept = Some(connection);
        Ok(match status.as_u16() {
            // What cannot be parsed came with a status that says that all is well.
            200..300 => {
                let partly = ExportTraceServiceResponse::decode(body).unwrap_or_default().partial_success;
                let partly = partly.unwrap_or_default();
                let rejected = u64::try_from(partly.rejected_spans).unwrap_or_default();
                Answer::Taken { rejected, why: partly.error_message }
            }
            429 | 502..=504 => Answer::Later(status, again),
            _ => Answer::Refused(status),
        })
    }

    fn request(&self, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let endpoint = &self.settings.endpoint;
        let authority = endpoint.authority().context("a URL without a host")?;
        let path = endpoint.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(HOST, authority.as_str())
            .header(USER_AGENT, concat!("galo/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/x-protobuf");
        if self.settings.compression == Compression::Gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let endpoint = &self.settings.endpoint;
        let host = endpoint.host().context("a URL without a host")?.trim_matches(['[', ']']);
        let port = endpoint.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.context("cannot connect")?;
        match &self.tls {
            None => greet(stream).await,
            Some(connector) => {
                let name = ServerName::try_from(host.to_owned())?;
                greet(connector.connect(name, stream).await.context("TLS")?).await
            }
        }
    }
}

async fn greet<S>(stream: S) -> anyhow::Result<SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its error reaches the sender too; it ends with the sender.
    tokio::spawn(connection);
    Ok(sender)
}

/// Only seconds: a date would have to agree with the clock of this machine.
fn retry_after<B>(response: &http::Response<B>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
