//! A response as it is sent, turned back into the contract's type for a record.

use futures_util::FutureExt as _;
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::{Lines, Outgoing, text};
use crate::contract::{Field, Response};

/// A response as it is sent, as a record keeps it: the names of its headers in lower case.
pub fn sent(outgoing: &Outgoing) -> Response {
    let fields = outgoing.headers().iter();
    let fields = fields.map(|(name, value)| Field { name: name.as_str().to_owned(), value: text(value.as_bytes()) });
    // A whole body is there at once.
    let body = outgoing.body().clone().collect().now_or_never();
    Response {
        status: outgoing.status().as_u16(),
        headers: fields.collect(),
        body: body.map_or_else(Vec::new, |Ok(body)| body.to_bytes().into()),
        log: Lines::of(outgoing).map_or_else(Vec::new, |lines| lines.kept.clone()),
    }
}

/// The status of an answer that the host gives, as a record keeps it: its body follows from the failure.
pub fn status_only(status: StatusCode) -> Response {
    Response { status: status.as_u16(), headers: Vec::new(), body: Vec::new(), log: Vec::new() }
}
