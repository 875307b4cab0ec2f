//! The access log: a line for each request, or for each that failed, when the node is to write it. Nothing of a query,
//! and of the headers only what names the request. Kept by the parent while it answers.

use std::sync::Arc;
use std::time::Instant;

use http::Method;
use http::request::Parts;

use super::trace::Trace;
use crate::config::AccessLog;
use crate::cors::Cors;
use crate::failure::cut;
use crate::limits;
use crate::registry::Handler;
use crate::wire::{self, Body, Incoming, Outgoing};

/// What is known of a request while it is answered, whatever becomes of it.
#[derive(Default)]
pub(super) struct Course {
    /// Which pages may read the answer.
    pub(super) cors: Option<Arc<Cors>>,
    /// What answers.
    pub(super) handler: Option<Arc<Handler>>,
    /// The generation that it begins with.
    pub(super) generation: Option<u64>,
}

/// A request that is being answered: it has its line also when its client leaves meanwhile, for what it asked for is
/// carried out all the same.
pub(super) struct Line {
    /// Which requests have one.
    pub(super) log: AccessLog,
    /// The head of the request.
    pub(super) head: Parts,
    /// What is known of it.
    pub(super) course: Course,
    /// When its head was there.
    pub(super) begun: Instant,
    /// It has its line, or needs none.
    pub(super) ended: bool,
}

impl Line {
    /// Begins with a request whose head was there at `begun`. Also returns its body.
    pub(super) fn begin(log: AccessLog, incoming: Incoming, begun: Instant) -> (Self, Body) {
        let (head, body) = incoming.into_parts();
        (Self { log, head, course: Course::default(), begun, ended: false }, body)
    }

    /// Makes of an answer what goes out: with what tells a page that it may read it, and without a body for HEAD.
    /// Writes the line of the request, if this is one that gets one.
    pub(super) fn end(mut self, mut outgoing: Outgoing) -> Outgoing {
        if let Some(cors) = &self.course.cors {
            cors.mark(&self.head.headers, outgoing.headers_mut());
        }
        if self.head.method == Method::HEAD {
            wire::headed(&mut outgoing);
        }
        self.ended = true;
        let status = outgoing.status();
        let wanted = match self.log {
            AccessLog::Off => false,
            AccessLog::Errors => status.is_client_error() || status.is_server_error(),
            AccessLog::All => true,
        };
        if wanted {
            self.write("answered", Some(&outgoing));
        }
        outgoing
    }

    #[cold]
    fn write(&self, what: &str, outgoing: Option<&Outgoing>) {
        let Self { head, course, begun, .. } = self;
        let method = cut(head.method.as_str(), limits::PATH_SHOWN_BYTES_MAX);
        let path = cut(head.uri.path(), limits::PATH_SHOWN_BYTES_MAX);
        let status = outgoing.map(|outgoing| outgoing.status().as_u16());
        let bytes = outgoing.map(wire::bytes);
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
            "{what}"
        );
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.ended && self.log != AccessLog::Off {
            self.write("the client left before its answer", None);
        }
    }
}
