//! The access log: one line for each request, or for each that failed, when the node is configured to write it. It
//! records nothing of the query, and of the headers only the ones that identify the request. `mod` holds the [`Line`]
//! of a request while it is answered.

use std::sync::Arc;
use std::time::Instant;

use http::Method;
use http::request::Parts;

use super::trace::{Given, Trace};
use crate::config::AccessLog;
use crate::cors::Cors;
use crate::failure::cut;
use crate::limits;
use crate::registry::Handler;
use crate::wire::{self, Body, Incoming, Outgoing};

/// What is known so far of a request that is being answered.
#[derive(Default)]
pub(super) struct Course {
    /// Which pages may read the answer.
    pub(super) cors: Option<Arc<Cors>>,
    /// The handler that answers.
    pub(super) handler: Option<Arc<Handler>>,
    /// The generation that was current when the request began.
    pub(super) generation: Option<u64>,
    /// The ids that the node gave it, if it came without.
    pub(super) given: Given,
    /// Which of the routes of its handler it took.
    pub(super) route: usize,
    /// Its trace was decided on with its record.
    pub(super) has_trail: bool,
}

/// A request that is being answered. It is logged and recorded also when its client disconnects first, because the
/// request is carried out all the same.
pub(super) struct Line {
    /// Which requests are logged.
    pub(super) log: AccessLog,
    /// The head of the request.
    pub(super) head: Parts,
    /// What is known of it so far.
    pub(super) course: Course,
    /// When its head had been received.
    pub(super) begun: Instant,
    /// Its line was written, or it needs none.
    pub(super) ended: bool,
}

impl Line {
    /// Begins with a request whose head had been received at `begun`. Also returns its body.
    pub(super) fn begin(log: AccessLog, incoming: Incoming, begun: Instant) -> (Self, Body) {
        let (head, body) = incoming.into_parts();
        (Self { log, head, course: Course::default(), begun, ended: false }, body)
    }

    /// Completes the answer: adds the CORS headers that let a page read it, and removes the body for HEAD. Then writes
    /// the line of the request, if it is one that is logged.
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
    pub(super) fn write(&self, what: &str, outgoing: Option<&Outgoing>) {
        let Self { head, course, begun, .. } = self;
        let method = cut(head.method.as_str(), limits::PATH_SHOWN_BYTES_MAX);
        let path = cut(head.uri.path(), limits::PATH_SHOWN_BYTES_MAX);
        let status = outgoing.map(|outgoing| outgoing.status().as_u16());
        let bytes = outgoing.map(wire::bytes);
        let microseconds = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let handler = course.handler.as_ref().map(|handler| handler.entry.name.as_str());
        let generation = course.generation;
        let Trace { request_id, trace_id } = Trace::of(head, course.given);
        // `log` lets this target pass whatever the filter is: the access log has its own switch.
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
            trace_id,
            "{what}"
        );
    }
}
