//! The access log: a line for each request, or for each that failed, when the node is to write it. Nothing of a query,
//! and of the headers only what names the request. Called by the parent when the answer is there.

use std::time::Instant;

use http::request::Parts;

use super::{Course, Trace};
use crate::config::AccessLog;
use crate::failure::cut;
use crate::limits;
use crate::wire::{self, Outgoing};

/// Writes the line of a request, if this is one that gets one. `begun`: when its head was there.
pub(super) fn note(log: AccessLog, head: &Parts, course: &Course, outgoing: &Outgoing, begun: Instant) {
    let status = outgoing.status();
    let wanted = match log {
        AccessLog::Off => false,
        AccessLog::Errors => status.is_client_error() || status.is_server_error(),
        AccessLog::All => true,
    };
    if wanted {
        write(head, course, outgoing, begun);
    }
}

#[cold]
fn write(head: &Parts, course: &Course, outgoing: &Outgoing, begun: Instant) {
    let method = cut(head.method.as_str(), limits::PATH_SHOWN_BYTES_MAX);
    let path = cut(head.uri.path(), limits::PATH_SHOWN_BYTES_MAX);
    let (status, bytes) = (outgoing.status().as_u16(), wire::bytes(outgoing));
    let microseconds = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let handler = course.handler.as_ref().map(|handler| handler.entry.name.as_str());
    let generation = course.generation;
    let Trace { request_id, traceparent } = Trace::of(head);
    // Its target is what `log` lets through whatever the filter says: the access log has a switch of its own.
    tracing::info!(
        target: "access",
        method,
        path,
        status,
        bytes,
        microseconds,
        handler,
        generation,
        request_id,
        traceparent,
        "answered"
    );
}
