//! Answers of the admin address.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::api::denied::Denied;
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

/// The answer of the API to what is not done.
pub(super) fn denied(why: &Denied) -> Outgoing {
    let mut outgoing = json(&serde_json::json!({ "error": why.message }));
    *outgoing.status_mut() = why.status;
    outgoing
}

/// An answer of the API: what is refused as text, by whoever refuses it, is `{"error": "..."}` there.
pub(super) fn as_json(outgoing: Outgoing) -> Outgoing {
    let is_text = outgoing.headers().get(CONTENT_TYPE).is_some_and(|of| of.as_bytes().starts_with(b"text/plain"));
    if !is_text || !(outgoing.status().is_client_error() || outgoing.status().is_server_error()) {
        return outgoing;
    }
    let message = String::from_utf8_lossy(&wire::sent(&outgoing).body).trim_end().to_owned();
    let (parts, body) = json(&serde_json::json!({ "error": message })).into_parts();
    let (mut head, _) = outgoing.into_parts();
    head.headers.extend(parts.headers);
    Response::from_parts(head, body)
}

pub(super) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Outgoing {
    let mut outgoing = Response::new(Full::new(body.into()));
    *outgoing.status_mut() = status;
    with(outgoing, CONTENT_TYPE, content_type)
}
