//! Converts between HTTP and the contract: reads requests within their limits, checks and frames the responses of
//! guests, and turns failures into responses. `request` uses it and makes the decisions.

mod body;
mod content;
mod lines;
mod messages;
mod sent;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper::ext::ReasonPhrase;
use tokio::time::timeout;

pub use self::body::Body;
use self::body::Gone;
pub use self::content::{MediaType, check as check_content};
pub use self::lines::Lines;
pub use self::messages::Messages;
pub use self::sent::{sent, status_only};
use crate::contract::{Field, Request, Response};
use crate::failure::{Failure, Fault, FaultKind, Phase, shown};
use crate::limits;

/// A request whose head was read.
pub type Incoming = http::Request<Body>;
/// A complete response. Head and body are sent in one write.
pub type Outgoing = http::Response<Full<Bytes>>;

/// Headers that only the host sets. They describe the framing of the message or belong to one connection (RFC 9110,
/// 7.6.1), and a guest knows neither.
const HOST_HEADERS: [&str; 9] = [
    "content-length",
    "connection",
    "transfer-encoding",
    "trailer",
    "upgrade",
    "te",
    "keep-alive",
    "proxy-connection",
    "date",
];

/// Headers that make a proxy (nginx, Apache, lighttpd, LiteSpeed, Perlbal) replace the response by a file or by the
/// answer of another address, or change how it sends the response. `surrogate-control` does not belong here: like
/// `cache-control` it limits how long a response is valid, which the handler decides.
const PROXY_HEADERS: [&str; 5] = ["x-accel-", "x-sendfile", "x-lighttpd-", "x-litespeed-", "x-reproxy-"];

/// The parts of a request that a handler accepts.
pub struct Taken<'a> {
    /// The method of its route. A HEAD request is answered like a GET.
    pub method: &'a Method,
    /// Its route, as the manifest writes it.
    pub route: &'a Arc<str>,
    /// The headers it may see.
    pub headers: &'a [HeaderName],
    /// The maximum size of a body, in bytes.
    pub body_bytes_max: usize,
    /// The values of its `config`.
    pub config: &'a Arc<[Field]>,
    /// The name of the request.
    pub id: String,
    /// The claims of its token.
    pub claims: Option<String>,
}

/// Reads a request to its end. Its moment is set when it is admitted.
///
/// # Errors
/// [`Failure::BodyTooLarge`], [`Failure::BodyTimeout`] or [`Failure::BodyBroken`].
pub async fn read(head: &Parts, body: Body, parameters: Vec<Field>, taken: Taken<'_>) -> Result<Request, Failure> {
    let body = read_body(&head.headers, body, taken.body_bytes_max).await?;
    Ok(Request {
        method: taken.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        parameters,
        query: head.uri.query().map(str::to_owned),
        headers: chosen(&head.headers, taken.headers),
        body,
        route: Arc::clone(taken.route),
        id: taken.id,
        now: 0,
        config: Arc::clone(taken.config),
        claims: taken.claims,
    })
}

/// Reads and discards the body of a refused request, within bounds. Returns whether its end was reached. If so, the
/// connection can be used again, and the client, which has sent everything, reads the answer.
pub async fn discard(head: &Parts, mut body: Body) -> bool {
    // Polling the body would make hyper send `100 Continue`, and the client would send a body that is refused.
    !is_held_back(&head.headers) && drain(&mut body).await
}

/// Whether the client waits for `100 Continue` before it sends the body.
fn is_held_back(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

async fn drain(body: &mut Body) -> bool {
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > limits::DISCARD_BYTES_MAX {
                return false;
            }
        }
        body.is_end_stream()
    };
    timeout(limits::DISCARD_TIMEOUT, read).await.unwrap_or(false)
}

async fn read_body(headers: &HeaderMap, mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    if body.is_end_stream() {
        return Ok(Vec::new());
    }
    // A declared length over the limit is refused before any of the body is read.
    if body.size_hint().lower() > bytes_max as u64 {
        if !is_held_back(headers) {
            drain(&mut body).await;
        }
        return Err(Failure::BodyTooLarge { bytes_max });
    }
    match timeout(body.timeout(), Limited::new(&mut body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            // If the connection closed while the client still sends, the client would lose the answer.
            // The rest of the body is therefore read first.
            drain(&mut body).await;
            Err(Failure::BodyTooLarge { bytes_max })
        }
        Ok(Err(error)) if matches!(error.downcast_ref(), Some(Gone::Overdue)) => Err(Failure::BodyTimeout),
        Ok(Err(error)) => Err(Failure::BodyBroken { cause: error.to_string() }),
        Err(_) => Err(Failure::BodyTimeout),
    }
}

/// The headers a handler may see, in the order of its manifest. In a value that is not UTF-8, each byte beyond ASCII is
/// replaced by `?`. A replacement of three bytes would let a client triple the memory the guest needs.
fn chosen(headers: &HeaderMap, names: &[HeaderName]) -> Vec<Field> {
    let fields = names.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
    fields.map(|(name, value)| Field { name: name.as_str().to_owned(), value: text(value.as_bytes()) }).collect()
}

/// A header's value as text.
pub fn text(value: &[u8]) -> String {
    let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
    std::str::from_utf8(value).map_or_else(|_| value.iter().map(ascii).collect(), str::to_owned)
}

/// Turns the response of a guest into an HTTP response.
///
/// # Errors
/// A [`Fault`] when the guest violated the contract: a status out of range, too many headers, or a header that is
/// malformed or that handlers may not set.
pub fn respond(response: Response, phase: Phase) -> Result<Outgoing, Fault> {
    let status = match StatusCode::from_u16(response.status) {
        Ok(status) if (200..=599).contains(&response.status) => status,
        _ => return Err(Fault::malformed(phase, format!("status {} is not in 200..=599", response.status))),
    };
    check_size(&response.headers, phase)?;
    // A 205 has no content. hyper removes the body of 204 and 304 only.
    let body = if status == StatusCode::RESET_CONTENT { Bytes::new() } else { Bytes::from(response.body) };
    let mut outgoing = http::Response::new(Full::new(body));
    *outgoing.status_mut() = status;
    if status.canonical_reason().is_none() {
        // A reason may be empty. Without this, hyper writes `<none>`.
        outgoing.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
    for Field { name, value } in response.headers {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Fault::malformed(phase, format!("`{}` is not a header name", shown(&name))))?;
        check_owner(header.as_str(), phase)?;
        let value = HeaderValue::try_from(value)
            .map_err(|_| Fault::malformed(phase, format!("the value of the header `{}` is malformed", shown(&name))))?;
        outgoing.headers_mut().append(header, value);
    }
    Lines::attach(response.log, &mut outgoing);
    Ok(outgoing)
}

/// Checks that the headers are within the limits of the next hop.
fn check_size(headers: &[Field], phase: Phase) -> Result<(), Fault> {
    let (count, count_max) = (headers.len(), limits::RESPONSE_HEADERS_MAX);
    // The four bytes are a colon, a space and the end of the line.
    let bytes: usize = headers.iter().map(|Field { name, value }| name.len() + value.len() + 4).sum();
    let bytes_max = limits::RESPONSE_HEADERS_BYTES_MAX;
    if count <= count_max && bytes <= bytes_max {
        return Ok(());
    }
    let detail = format!("{count} headers of {bytes} bytes are over the limits of {count_max} and {bytes_max}");
    Err(Fault::new(phase, FaultKind::Oversized, &detail))
}

/// Checks that a guest may set this header.
fn check_owner(name: &str, phase: Phase) -> Result<(), Fault> {
    if HOST_HEADERS.contains(&name) {
        return Err(Fault::malformed(phase, format!("the header `{name}` is the host's")));
    }
    if PROXY_HEADERS.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Fault::malformed(phase, format!("the header `{}` steers the proxy", shown(name))));
    }
    Ok(())
}

/// The JSON that a client reads when a request failed.
pub fn failure_body(failure: &Failure, messages: &Messages) -> Bytes {
    match failure {
        Failure::Raised(raised) if raised.chosen().is_some() => messages::raised(&raised.error.message),
        _ => messages.body(failure.code()).clone(),
    }
}

/// Turns a failure into the response that a client may see.
pub fn failed(failure: &Failure, messages: &Messages) -> Outgoing {
    let mut outgoing = http::Response::new(Full::new(failure_body(failure, messages)));
    *outgoing.status_mut() = failure.status();
    let headers = outgoing.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match failure {
        Failure::MethodNotAllowed { allow } => {
            // The methods of a manifest are tokens, so they are valid in a header value.
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(ALLOW, allow);
            }
        }
        Failure::EncodingUnsupported => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Failure::Unauthorized { challenge, .. } => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Failure::TypeUnsupported { expected } => {
            // A media type of the manifest consists of tokens too.
            if let Ok(expected) = HeaderValue::from_str(expected) {
                headers.insert(ACCEPT, expected);
            }
        }
        _ if failure.status() == StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from(limits::RETRY_AFTER_SECONDS));
        }
        // Part of the body may be unread, so the connection cannot be used again.
        Failure::BodyTooLarge { .. }
        | Failure::BodyTimeout
        | Failure::BodyBroken { .. }
        | Failure::HeadMalformed { .. }
        | Failure::CodingUnknown => close(&mut outgoing),
        _ => {}
    }
    outgoing
}

/// The answer to OPTIONS where no handler answers it: the methods of the path.
pub fn options(allow: &HeaderValue) -> Outgoing {
    let mut outgoing = http::Response::new(Full::default());
    *outgoing.status_mut() = StatusCode::NO_CONTENT;
    outgoing.headers_mut().insert(ALLOW, allow.clone());
    outgoing
}

/// Turns the answer to a GET into the answer to a HEAD: the same head, with the length of the body, but no body.
pub fn headed(outgoing: &mut Outgoing) {
    let (status, length) = (outgoing.status(), bytes(outgoing));
    *outgoing.body_mut() = Full::default();
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        outgoing.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// The size of a response's body, in bytes.
pub fn bytes(outgoing: &Outgoing) -> u64 {
    outgoing.size_hint().lower()
}

/// Makes a response the last one of its connection.
pub fn close(outgoing: &mut Outgoing) {
    outgoing.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_no_longer_for_the_guest_than_it_was_for_the_client() {
        assert_eq!(text("für".as_bytes()), "für");
        assert_eq!(text(b"a\xff\xfeb"), "a??b");
        assert_eq!(text(&[0xff; 1000]).len(), 1000);
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_header_holds_the_guest_gets_as_many_bytes(value: Vec<u8>) {
            proptest::prop_assert_eq!(text(&value).len(), value.len());
        }
    }
}
