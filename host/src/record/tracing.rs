//! The traces of requests that were answered: makes their spans in the recorder's thread, and hands them to the
//! exporter.

use std::time::Instant;

use tokio::sync::oneshot;

use super::batches::Batches;
use super::draft::Unhandled;
use super::format::Record;
use super::spans::{self, Seen};
use crate::config::Sampler;
use crate::database::Peer;
use crate::traces::Exporter;

/// Where the spans of requests go.
pub struct Tracing {
    exporter: Exporter,
    /// The database of the spans of calls.
    peer: Peer,
    batches: Batches,
}

impl Tracing {
    /// To an exporter, with the database that calls go to.
    pub fn new(exporter: Exporter, peer: Peer) -> Self {
        Self { exporter, peer, batches: Batches::default() }
    }

    /// Which traces are exported.
    pub(super) fn sampler(&self) -> Sampler {
        self.exporter.sampler
    }

    /// Exports the trace of a request that a handler answered. What its record must not keep is not in it either.
    pub(super) fn answered(&mut self, record: &Record, seen: &Seen) {
        self.exporter.offer(spans::of_record(record, seen, &self.peer, &mut self.batches));
    }

    /// Exports the trace of a request that no handler answered.
    pub(super) fn unhandled(&self, unhandled: &Unhandled) {
        self.exporter.offer(spans::of_unhandled(unhandled));
    }

    /// Exports the spans of batches that are due.
    pub(super) fn look(&mut self) {
        let due = self.batches.due(Instant::now(), &self.peer);
        if !due.is_empty() {
            self.exporter.offer(due);
        }
    }

    /// Exports everything that waits; the sender is used when it is with the collector, or dropped.
    pub(super) fn close(&mut self, sent: oneshot::Sender<()>) {
        self.exporter.offer(self.batches.all(&self.peer));
        self.exporter.close(sent);
    }
}
