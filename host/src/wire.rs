//! Between HTTP and the contract: a request read to its end within its bounds, a guest's response checked and framed,
//! a failure as its code. Called by `request`; it decides nothing.

mod body;
mod content;
mod messages;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper::ext::ReasonPhrase;
use tokio::time::timeout;

pub use self::body::Body;
use self::body::Gone;
pub use self::content::{MediaType, check as check_content};
pub use self::messages::Messages;
use crate::contract::{Field, Request, Response};
use crate::failure::{Failure, Fault, FaultKind, Phase, shown};
use crate::limits;

/// A request whose head was read.
pub type Incoming = http::Request<Body>;
/// A response, whole: head and body leave in one write.
pub type Outgoing = http::Response<Full<Bytes>>;

/// Headers that are the host's: they say how the message is framed or belong to one connection (RFC 9110, 7.6.1), and a
/// guest knows neither.
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

/// Headers that have a proxy send something else than this response, a file or another address, or change how it
/// sends it: nginx, Apache and lighttpd, LiteSpeed, Perlbal. `surrogate-control` is none of them: like `cache-control`
/// it says how long a response is good, which is the handler's to know.
const PROXY_HEADERS: [&str; 5] = ["x-accel-", "x-sendfile", "x-lighttpd-", "x-litespeed-", "x-reproxy-"];

/// What a handler takes of a request.
pub struct Taken<'a> {
    /// The method of its route: a HEAD is answered as a GET is.
    pub method: &'a Method,
    /// The headers it may see.
    pub headers: &'a [HeaderName],
    /// Bytes of a body.
    pub body_bytes_max: usize,
}

/// Reads a request to its end.
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
    })
}

/// Reads the body of a request that nobody wants, within bounds. Returns whether it came to its end: then the
/// connection can be used again, and the client, which has sent all it had, reads the answer.
pub async fn discard(head: &Parts, mut body: Body) -> bool {
    // Asking for the body would have hyper say `100 Continue`, and the client send what is refused.
    !is_held_back(&head.headers) && drain(&mut body).await
}

/// Whether the client sends the body only when it is asked to.
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
    // A length that is announced is refused before a byte of it is kept, or asked for.
    if body.size_hint().lower() > bytes_max as u64 {
        if !is_held_back(headers) {
            drain(&mut body).await;
        }
        return Err(Failure::BodyTooLarge { bytes_max });
    }
    match timeout(body.timeout(), Limited::new(&mut body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            // Closing on a client that still sends would cost it the answer: what it sends is read first.
            drain(&mut body).await;
            Err(Failure::BodyTooLarge { bytes_max })
        }
        Ok(Err(error)) if matches!(error.downcast_ref(), Some(Gone::Overdue)) => Err(Failure::BodyTimeout),
        Ok(Err(error)) => Err(Failure::BodyBroken { cause: error.to_string() }),
        Err(_) => Err(Failure::BodyTimeout),
    }
}

/// The headers a handler may see, in the order of its manifest. A value that is no UTF-8 has `?` for each byte beyond
/// ASCII: a replacement of three bytes would let a client treble what the guest must hold.
fn chosen(headers: &HeaderMap, names: &[HeaderName]) -> Vec<Field> {
    let fields = names.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
    fields.map(|(name, value)| Field { name: name.as_str().to_owned(), value: text(value.as_bytes()) }).collect()
}

/// A header's value as text.
pub fn text(value: &[u8]) -> String {
    let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
    std::str::from_utf8(value).map_or_else(|_| value.iter().map(ascii).collect(), str::to_owned)
}

/// Turns what a guest handed back into a response.
///
/// # Errors
/// A [`Fault`] when the guest lied: a status out of range, a header that is none or not its own, too many of them.
pub fn respond(response: Response, phase: Phase) -> Result<Outgoing, Fault> {
    let status = match StatusCode::from_u16(response.status) {
        Ok(status) if (200..=599).contains(&response.status) => status,
        _ => return Err(Fault::malformed(phase, format!("status {} is not in 200..=599", response.status))),
    };
    check_size(&response.headers, phase)?;
    // These have no content; hyper sees to it for 204 and 304 only.
    let body = if status == StatusCode::RESET_CONTENT { Bytes::new() } else { Bytes::from(response.body) };
    let mut outgoing = http::Response::new(Full::new(body));
    *outgoing.status_mut() = status;
    if status.canonical_reason().is_none() {
        // A reason may be empty; hyper would write `<none>`.
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
    Ok(outgoing)
}

/// Whether the next hop takes so much of headers.
fn check_size(headers: &[Field], phase: Phase) -> Result<(), Fault> {
    let (count, count_max) = (headers.len(), limits::RESPONSE_HEADERS_MAX);
    // A colon, a space and the end of the line.
    let bytes: usize = headers.iter().map(|Field { name, value }| name.len() + value.len() + 4).sum();
    let bytes_max = limits::RESPONSE_HEADERS_BYTES_MAX;
    if count <= count_max && bytes <= bytes_max {
        return Ok(());
    }
    let detail = format!("{count} headers of {bytes} bytes are over the limits of {count_max} and {bytes_max}");
    Err(Fault::new(phase, FaultKind::Oversized, &detail))
}

/// Whether a guest may set this header.
fn check_owner(name: &str, phase: Phase) -> Result<(), Fault> {
    if HOST_HEADERS.contains(&name) {
        return Err(Fault::malformed(phase, format!("the header `{name}` is the host's")));
    }
    if PROXY_HEADERS.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Fault::malformed(phase, format!("the header `{}` steers the proxy", shown(name))));
    }
    Ok(())
}

/// Turns a failure into what a client may know of it.
pub fn failed(failure: &Failure, messages: &Messages) -> Outgoing {
    let code = failure.code();
    let mut outgoing = http::Response::new(Full::new(messages.body(code).clone()));
    *outgoing.status_mut() = code.status();
    let headers = outgoing.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match failure {
        Failure::MethodNotAllowed { allow } => {
            // The methods of a manifest are tokens, which every header value may hold.
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(ALLOW, allow);
            }
        }
        Failure::EncodingUnsupported => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Failure::TypeUnsupported { expected } => {
            // A media type of the manifest is of tokens too.
            if let Ok(expected) = HeaderValue::from_str(expected) {
                headers.insert(ACCEPT, expected);
            }
        }
        Failure::Shed | Failure::Unavailable { .. } | Failure::Repeatable { .. } => {
            headers.insert(RETRY_AFTER, HeaderValue::from(limits::RETRY_AFTER_SECONDS));
        }
        // Of the body something may be left: the connection cannot be used again.
        Failure::BodyTooLarge { .. }
        | Failure::BodyTimeout
        | Failure::BodyBroken { .. }
        | Failure::HeadMalformed { .. }
        | Failure::CodingUnknown => close(&mut outgoing),
        _ => {}
    }
    outgoing
}

/// What OPTIONS is answered where no handler does: the methods there are.
pub fn options(allow: &HeaderValue) -> Outgoing {
    let mut outgoing = http::Response::new(Full::default());
    *outgoing.status_mut() = StatusCode::NO_CONTENT;
    outgoing.headers_mut().insert(ALLOW, allow.clone());
    outgoing
}

/// Makes of the answer to a GET that to a HEAD: the same head, with the length of the body, and no body.
pub fn headed(outgoing: &mut Outgoing) {
    let (status, length) = (outgoing.status(), bytes(outgoing));
    *outgoing.body_mut() = Full::default();
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        outgoing.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Bytes of a response's body.
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
