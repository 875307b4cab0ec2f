//! The recorder of a node: the rings of its handlers, and the thread that writes what is handed to it, and makes the
//! spans of traces that are exported. The queue is bounded: what does not fit is dropped and counted, and no request
//! waits.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use super::batches::Batches;
use super::draft::{Draft, Unhandled};
use super::ring::Ring;
use super::spans;
use crate::config::{Recording, Sampler};
use crate::database::Peer;
use crate::limits;
use crate::traces::Exporter;

/// The recorder of a node.
pub struct Recorder {
    recording: Recording,
    /// Which traces are exported, if any are.
    sampler: Option<Sampler>,
    rings: Mutex<BTreeMap<String, Arc<Ring>>>,
    queue: SyncSender<Handed>,
    dropped: Counter,
}

/// Where the spans of requests go.
pub struct Tracing {
    /// Sends them to the collector.
    pub exporter: Exporter,
    /// The database of the spans of calls.
    pub peer: Peer,
}

/// What is handed to the thread.
enum Handed {
    Answered(Arc<Ring>, Box<Draft>),
    Unhandled(Box<Unhandled>),
    /// Everything is to be exported; the sender is dropped or used when it is.
    Close(oneshot::Sender<()>),
}

impl Recorder {
    /// Starts the thread of a recorder. It ends with the recorder.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(recording: Recording, dropped: Counter, tracing: Option<Tracing>) -> std::io::Result<Arc<Self>> {
        let (queue, handed) = sync_channel(limits::RECORD_QUEUE_MAX);
        let sampler = tracing.as_ref().map(|tracing| tracing.exporter.sampler);
        let mut writer = Writer { tracing, batches: Batches::default() };
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || writer.run(&handed))?;
        Ok(Arc::new(Self { recording, sampler, rings: Mutex::default(), queue, dropped }))
    }

    /// The ring of a handler.
    pub fn ring(&self, handler: &str) -> Arc<Ring> {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let Recording { every, records_max, bytes_max } = self.recording;
        let new = || Arc::new(Ring::new(handler, every, records_max, bytes_max));
        Arc::clone(rings.entry(handler.to_owned()).or_insert_with(new))
    }

    /// Which traces are exported; `None` when none are.
    pub fn sampler(&self) -> Option<Sampler> {
        self.sampler
    }

    /// Hands over a request that was answered.
    pub fn hand_over(&self, ring: &Arc<Ring>, draft: Box<Draft>) {
        self.send(Handed::Answered(Arc::clone(ring), draft));
    }

    /// Hands over a request that no handler answered.
    pub fn trace(&self, unhandled: Box<Unhandled>) {
        self.send(Handed::Unhandled(unhandled));
    }

    /// Has everything exported that was handed over. The receiver ends when it is, or when nothing is exported.
    pub fn close(&self) -> oneshot::Receiver<()> {
        let (sent, closed) = oneshot::channel();
        self.send(Handed::Close(sent));
        closed
    }

    fn send(&self, handed: Handed) {
        if self.queue.try_send(handed).is_err() {
            self.dropped.inc();
        }
    }
}

/// What the thread has.
struct Writer {
    tracing: Option<Tracing>,
    batches: Batches,
}

impl Writer {
    fn run(&mut self, handed: &Receiver<Handed>) {
        loop {
            let next = match self.batches.is_empty() {
                true => handed.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => handed.recv_timeout(limits::BATCH_SPAN_PATIENCE),
            };
            match next {
                Ok(handed) => {
                    // Unwind safe: a record is kept at the end, whole, and so are spans.
                    if catch_unwind(AssertUnwindSafe(|| self.write(handed))).is_err() {
                        tracing::error!("a request could not be recorded");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(Tracing { exporter, peer }) = &self.tracing {
                let due = self.batches.due(Instant::now(), peer);
                if !due.is_empty() {
                    exporter.offer(due);
                }
            }
        }
    }

    fn write(&mut self, handed: Handed) {
        match (handed, &self.tracing) {
            (Handed::Answered(ring, draft), tracing) => {
                if let (true, Some(Tracing { exporter, peer })) = (draft.trace.exported, tracing) {
                    exporter.offer(spans::of_draft(&draft, peer, &mut self.batches));
                }
                if draft.recorded {
                    ring.keep(&draft.record());
                }
            }
            (Handed::Unhandled(unhandled), Some(tracing)) => tracing.exporter.offer(spans::of_unhandled(&unhandled)),
            (Handed::Close(sent), Some(Tracing { exporter, peer })) => {
                exporter.offer(self.batches.all(peer));
                exporter.close(sent);
            }
            (Handed::Unhandled(_) | Handed::Close(_), None) => {}
        }
    }
}
