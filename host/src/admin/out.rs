//! Answers of the admin address.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::wire::{self, Outgoing};

pub(super) fn json<T: Serialize>(value: &T) -> Outgoing {
    match serde_json::to_string_pretty(value) {
        Ok(json) => typed(StatusCode::OK, "application/json", json + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// The answer to OPTIONS, or to a method that is not allowed.
pub(super) fn only(method: &Method, allow: &'static str) -> Outgoing {
    if method == Method::OPTIONS {
        return wire::options(&HeaderValue::from_static(allow));
    }
    with(text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allow}\n")), ALLOW, allow)
}

pub(super) fn with(mut outgoing: Outgoing, name: HeaderName, value: &'static str) -> Outgoing {
    outgoing.headers_mut().insert(name, HeaderValue::from_static(value));
    outgoing
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Outgoing {
    typed(status, "text/plain; charset=utf-8", body)
}

pub(super) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Outgoing {
    let mut outgoing = Response::new(Full::new(body.into()));
    *outgoing.status_mut() = status;
    with(outgoing, CONTENT_TYPE, content_type)
}
