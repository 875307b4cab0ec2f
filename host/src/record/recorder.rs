//! The recorder of a node: the rings of its handlers, and the thread that writes what is handed to it. The queue is
//! bounded in number and bytes: what does not fit is dropped and counted, and no request waits.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::draft::Draft;
use super::redaction::Redaction;
use super::ring::{Kept, Ring, Terms};
use crate::config::Recording;
use crate::metrics::{HandlerMetrics, Metrics};
use crate::{limits, log};

/// The recorder of a node.
pub struct Recorder {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
}

/// What the thread has as well.
struct Shared {
    recording: Recording,
    rings: Mutex<Rings>,
    /// Bytes of what is queued.
    queued: AtomicUsize,
    dropped: Counter,
    skipped: Counter,
    bytes: Gauge,
}

#[derive(Default)]
struct Rings {
    of: BTreeMap<String, Arc<Ring>>,
    /// One request in so many of every handler, as the operator said while the node ran.
    switched: Option<usize>,
    /// The number of the last record.
    last: u64,
}

enum Message {
    /// To write this, which has so many bytes.
    Write(Arc<Ring>, Box<Draft>, usize),
    /// To look whether anything is recorded: something was switched on.
    Look,
}

impl Recorder {
    /// Starts the thread of a recorder. It ends with the recorder.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(recording: Recording, metrics: &Metrics) -> std::io::Result<Arc<Self>> {
        let (queue, messages) = sync_channel(limits::RECORD_QUEUE_MAX);
        let shared = Arc::new(Shared {
            recording,
            rings: Mutex::default(),
            queued: AtomicUsize::new(0),
            dropped: metrics.records_dropped.clone(),
            skipped: metrics.records_skipped.clone(),
            bytes: metrics.records_bytes.clone(),
        });
        let its = Arc::clone(&shared);
        std::thread::Builder::new().name(log::PRIVATE_THREAD.to_owned()).spawn(move || its.run(&messages))?;
        Ok(Arc::new(Self { shared, queue }))
    }

    /// The ring of a handler that comes into service: `manifest` says that one request in so many is recorded, and
    /// `redaction` what is not. What was recorded while less had to be taken out is dropped.
    pub fn ring(
        &self,
        handler: &str,
        manifest: Option<usize>,
        redaction: &Arc<Redaction>,
        metrics: &Arc<HandlerMetrics>,
    ) -> Arc<Ring> {
        let mut rings = self.shared.rings();
        let mut terms = Terms::new(Arc::clone(redaction), Arc::clone(metrics), manifest);
        let ring = match rings.of.get(handler) {
            Some(ring) => {
                let mut held = ring.terms();
                if held.redaction != terms.redaction {
                    ring.clear();
                }
                terms.switched = held.switched;
                *held = terms;
                drop(held);
                Arc::clone(ring)
            }
            None => {
                let ring = Arc::new(Ring::new(handler, terms, self.shared.bytes.clone()));
                rings.of.insert(handler.to_owned(), Arc::clone(&ring));
                ring
            }
        };
        self.shared.apply(&rings, &ring);
        drop(rings);
        self.wake();
        ring
    }

    /// Drops the rings of handlers that no longer serve, and gives their memory back.
    pub fn retain(&self, serves: impl Fn(&str) -> bool) {
        self.shared.rings().of.retain(|handler, ring| {
            let stays = serves(handler);
            if !stays {
                ring.sample(0);
                ring.clear();
            }
            stays
        });
    }

    /// Records one request in so many from now on, until the node ends: of this handler, or of all. Returns whether
    /// there is such a handler.
    pub fn switch(&self, handler: Option<&str>, every: usize) -> bool {
        let mut rings = self.shared.rings();
        let Some(name) = handler else {
            rings.switched = Some(every);
            for ring in rings.of.values() {
                ring.terms().switched = None;
                self.shared.apply(&rings, ring);
            }
            drop(rings);
            self.wake();
            return true;
        };
        let Some(ring) = rings.of.get(name) else { return false };
        ring.terms().switched = Some(every);
        self.shared.apply(&rings, ring);
        drop(rings);
        self.wake();
        true
    }

    /// Hands over a request that was answered.
    pub fn hand_over(&self, ring: &Arc<Ring>, draft: Box<Draft>) {
        let bytes = draft.bytes();
        let queued = self.shared.queued.fetch_add(bytes, Ordering::Relaxed);
        let fits = queued + bytes <= limits::RECORD_QUEUE_BYTES_MAX;
        if !fits || self.queue.try_send(Message::Write(Arc::clone(ring), draft, bytes)).is_err() {
            self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.dropped.inc();
        }
    }

    /// Counts a request whose record could not be made.
    pub fn lost(&self) {
        self.shared.skipped.inc();
    }

    /// A thread that waits for requests need not be woken: there are some, if the queue is full.
    fn wake(&self) {
        let _ = self.queue.try_send(Message::Look);
    }
}

impl Shared {
    fn rings(&self) -> MutexGuard<'_, Rings> {
        // Every change of it is whole when the lock is given back, also by a panic.
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples a handler as what was said last has it.
    fn apply(&self, rings: &Rings, ring: &Ring) {
        let terms = ring.terms();
        let every = terms.switched.or(rings.switched).unwrap_or_else(|| self.recording.of(terms.manifest));
        ring.sample(every);
    }

    /// Writes what is handed over, and looks for the slowest hundredth, until the recorder is gone. While nothing is
    /// recorded it sleeps.
    fn run(&self, messages: &Receiver<Message>) {
        let mut looked = Instant::now();
        loop {
            let left = limits::RECORD_WINDOW.saturating_sub(looked.elapsed());
            let message = match self.is_on() {
                true => messages.recv_timeout(left),
                false => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Write(ring, draft, bytes)) => {
                    self.guarded(|| self.write(&ring, *draft));
                    self.queued.fetch_sub(bytes, Ordering::Relaxed);
                }
                Ok(Message::Look) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if looked.elapsed() >= limits::RECORD_WINDOW {
                self.guarded(|| self.rings().of.values().filter(|ring| ring.is_on()).for_each(|ring| ring.look()));
                looked = Instant::now();
            }
        }
    }

    fn is_on(&self) -> bool {
        self.rings().of.values().any(|ring| ring.is_on())
    }

    /// A panic costs the record that it happened on. Unwind safe: a record is kept at the end, whole.
    fn guarded(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.skipped.inc();
        }
    }

    /// Keeps a record, unless its handler is no longer recorded or it is too large.
    fn write(&self, ring: &Ring, draft: Draft) {
        if !ring.is_on() {
            return;
        }
        let (redaction, metrics) = {
            let terms = ring.terms();
            (Arc::clone(&terms.redaction), Arc::clone(&terms.metrics))
        };
        let record = draft.record(&redaction);
        let (id, line) = (Arc::from(record.request.id.as_str()), Arc::from(record.line()));
        let Recording { records_max, bytes_max, node_bytes_max, .. } = self.recording;
        // Taken while it is kept: a handler that leaves meanwhile is then cleared after it, not before.
        let mut rings = self.rings();
        let is_served = rings.of.get(&*ring.handler).is_some_and(|its| std::ptr::eq(&raw const **its, ring));
        if !is_served || ring.terms().redaction != redaction {
            return;
        }
        rings.last += 1;
        let kept = Kept { number: rings.last, id, line };
        if kept.bytes() > bytes_max {
            self.skipped.inc();
            return;
        }
        ring.keep(kept, (records_max, bytes_max));
        metrics.records.inc();
        let over = || usize::try_from(self.bytes.get()).unwrap_or_default() > node_bytes_max;
        while over() {
            let largest = rings.of.values().max_by_key(|ring| ring.count().1);
            let Some(largest) = largest.filter(|ring| ring.count().0 > 0) else { break };
            largest.make_room();
        }
    }
}
