//! Sends a real request to the node, on the address where it answers clients, and looks for its record.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use super::denied::Denied;
use super::status;
use crate::admin::Admin;
use crate::config::Address;
use crate::record::Blob;
use crate::{limits, wire};

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Send {
    pub(in crate::admin) method: String,
    /// With the query.
    pub(in crate::admin) path: String,
    #[serde(default)]
    pub(in crate::admin) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(in crate::admin) body: String,
}

/// What came back.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Sent {
    pub(in crate::admin) status: u16,
    pub(in crate::admin) headers: Vec<(String, String)>,
    pub(in crate::admin) body: Blob,
    /// From the connection to the end of the response.
    pub(in crate::admin) micros: u64,
    /// The `X-Request-Id` that it was sent with.
    pub(in crate::admin) id: String,
    /// Its record, if it was recorded.
    pub(in crate::admin) record: Option<Recorded>,
}

/// Where a record is.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Recorded {
    pub(in crate::admin) handler: String,
    pub(in crate::admin) number: u64,
}

/// Headers that frame the message, or that only a proxy may set.
const NOT_SENT: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "galo-try"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Sends the request, and waits for its end.
pub(in crate::admin) async fn send(admin: &Arc<Admin>, asked: Send) -> Result<Sent, Denied> {
    let starting = || Denied::new(StatusCode::SERVICE_UNAVAILABLE, "the node does not listen yet");
    let listen = admin.console.listen.get().ok_or_else(starting)?;
    let (request, id) = request(asked)?;
    let begun = Instant::now();
    let broken = |status, cause: String| Denied::new(status, format!("no response from {listen}: {cause}"));
    let exchanged = timeout(limits::ADMIN_SEND_TIMEOUT, exchange(listen, request)).await;
    let (head, body) = exchanged
        .map_err(|_| broken(StatusCode::GATEWAY_TIMEOUT, format!("{} s", limits::ADMIN_SEND_TIMEOUT.as_secs())))?
        .map_err(|error| broken(StatusCode::BAD_GATEWAY, format!("{error:#}")))?;
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), wire::text(value.as_bytes()))).collect();
    let record = match admin.gate.may_read_records() {
        true => recorded(admin, &id).await,
        false => None,
    };
    Ok(Sent { status: head.status.as_u16(), headers, body: Blob::of(body.into()), micros, id, record })
}

fn request(asked: Send) -> Result<(Request<Full<Bytes>>, String), Denied> {
    let Send { method, path, headers, body } = asked;
    let method: Method = method.parse().map_err(|_| Denied::bad(format!("`{method}` is not a method")))?;
    if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
        return Err(Denied::bad(format!("`{path}` is not a path: it begins with `/`, and a space in it is %20")));
    }
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| Denied::bad(format!("`{path}` is not a path")))?;
    let map = request.headers_mut();
    for (name, value) in headers {
        if NOT_SENT.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Err(Denied::bad(format!("the header `{name}` cannot be set here")));
        }
        let header = HeaderName::try_from(&name).map_err(|_| Denied::bad(format!("`{name}` is not a header name")))?;
        let malformed = |_| Denied::bad(format!("the value of the header `{name}` is malformed"));
        map.append(header, HeaderValue::try_from(value).map_err(malformed)?);
    }
    map.insert(CONNECTION, HeaderValue::from_static("close"));
    let id = map.entry(REQUEST_ID).or_insert_with(own_id);
    let id = wire::text(id.as_bytes());
    Ok((request, id))
}

/// An id that no other request of a page has.
fn own_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let moment = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let id = format!("page-{moment:x}-{:x}", NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("page"))
}

async fn exchange(listen: &Address, request: Request<Full<Bytes>>) -> anyhow::Result<(http::response::Parts, Bytes)> {
    match listen {
        Address::Tcp(address) => {
            // A node on 0.0.0.0 is reached on loopback.
            let mut reached = *address;
            if reached.ip().is_unspecified() {
                reached.set_ip(match reached {
                    std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                    std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            let stream: io::Result<TcpStream> = TcpStream::connect(reached).await;
            talk(stream?, &reached.to_string(), request).await
        }
        Address::Unix(path) => talk(UnixStream::connect(path).await?, "localhost", request).await,
    }
}

async fn talk<S>(
    stream: S,
    host: &str,
    mut request: Request<Full<Bytes>>,
) -> anyhow::Result<(http::response::Parts, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + std::marker::Send + 'static,
{
    request.headers_mut().insert(HOST, HeaderValue::try_from(host)?);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its error reaches the sender too; it ends with the sender.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, limits::ADMIN_SEND_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?;
    Ok((head, body.to_bytes()))
}

/// The record of a request, once it is written.
async fn recorded(admin: &Admin, id: &str) -> Option<Recorded> {
    let table = admin.node.get()?.registry.table();
    if status::recorded(admin) == 0 {
        return None;
    }
    for _ in 0..limits::ADMIN_RECORD_TRIES {
        for handler in &table.handlers {
            let kept = handler.ring.get().map(|ring| ring.last(usize::MAX, 0)).unwrap_or_default();
            if let Some(kept) = kept.iter().rev().find(|kept| *kept.id == *id) {
                return Some(Recorded { handler: handler.entry.name.clone(), number: kept.number });
            }
        }
        sleep(limits::ADMIN_RECORD_PAUSE).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str, header: (&str, &str)) -> Result<String, String> {
        let headers = vec![(header.0.to_owned(), header.1.to_owned())];
        let send = Send { method: method.to_owned(), path: path.to_owned(), headers, body: String::new() };
        request(send).map(|(_, id)| id).map_err(|denied| denied.message)
    }

    #[test]
    fn a_request_is_well_formed_and_frames_itself() {
        assert_eq!(asked("GET", "/a?b=%20", ("x-request-id", "mine")).as_deref(), Ok("mine"));
        assert!(asked("GET", "/", ("a", "b")).unwrap().starts_with("page-"));
        for (method, path, header) in [
            ("GET x", "/", ("a", "b")),
            ("GET", "http://other.example/", ("a", "b")),
            ("GET", "a", ("a", "b")),
            ("GET", "/a b", ("a", "b")),
            ("GET", "/\r\nx: y", ("a", "b")),
            ("GET", "/", ("a b", "c")),
            ("GET", "/", ("a", "b\r\nc: d")),
            ("GET", "/", ("Host", "other.example")),
            ("GET", "/", ("Transfer-Encoding", "chunked")),
            ("GET", "/", ("Galo-Try", "1-x")),
        ] {
            assert!(asked(method, path, header).is_err(), "{method} {path} {header:?}");
        }
    }
}
