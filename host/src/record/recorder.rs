//! The recorder of a node: the rings of its handlers, and the thread that writes what is handed to it. The queue is
//! bounded in number and bytes: what does not fit is dropped and counted, and no request waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::draft::{Draft, Unhandled};
use super::observer::Observed;
use super::redaction::Redaction;
use super::ring::{Ring, Terms, bytes};
use super::rings::Rings;
use super::spans::Seen;
use super::tracing::Tracing;
use crate::config::{Recording, Sampler};
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
    /// Which traces are exported, if any are.
    sampler: Option<Sampler>,
    rings: Mutex<Rings>,
    /// Bytes of what is queued.
    queued: AtomicUsize,
    dropped: Counter,
    skipped: Counter,
    shed: Counter,
    bytes: Gauge,
}

enum Message {
    /// To write this, which has so many bytes.
    Write(Arc<Ring>, Box<Draft>, usize),
    /// To export the trace of this.
    Trace(Box<Unhandled>),
    /// To look whether anything is recorded: something was switched on.
    Look,
    /// To export everything; the sender is used when it is done, or dropped.
    Close(oneshot::Sender<()>),
}

impl Recorder {
    /// Starts the thread of a recorder. It ends with the recorder.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(recording: Recording, metrics: &Metrics, tracing: Option<Tracing>) -> std::io::Result<Arc<Self>> {
        let (queue, messages) = sync_channel(limits::RECORD_QUEUE_MAX);
        let shared = Arc::new(Shared {
            recording,
            sampler: tracing.as_ref().map(Tracing::sampler),
            rings: Mutex::default(),
            queued: AtomicUsize::new(0),
            dropped: metrics.records_dropped.clone(),
            skipped: metrics.records_skipped.clone(),
            shed: metrics.records_shed.clone(),
            bytes: metrics.records_bytes.clone(),
        });
        let its = Arc::clone(&shared);
        std::thread::Builder::new().name(log::PRIVATE_THREAD.to_owned()).spawn(move || its.run(&messages, tracing))?;
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
                let last = rings.goes_on_after(handler);
                let ring = Ring::new(handler, terms, self.shared.bytes.clone(), last);
                let ring = Arc::new(ring);
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
        self.shared.rings().retain(serves);
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
        let observed = draft.observed.clone();
        if !fits || self.queue.try_send(Message::Write(Arc::clone(ring), draft, bytes)).is_err() {
            observed.iter().for_each(Observed::lost);
            self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.dropped.inc();
        }
    }

    /// Which traces are exported; `None` when none are.
    pub fn sampler(&self) -> Option<Sampler> {
        self.shared.sampler
    }

    /// Hands over a request that no handler answered, to be traced.
    pub fn trace(&self, unhandled: Box<Unhandled>) {
        if self.queue.try_send(Message::Trace(unhandled)).is_err() {
            self.shared.dropped.inc();
        }
    }

    /// Has everything exported that was handed over. The receiver ends when it is, or when nothing is exported.
    pub fn close(&self) -> oneshot::Receiver<()> {
        let (sent, closed) = oneshot::channel();
        // A full queue drops the sender: there is no time for it all.
        let _ = self.queue.try_send(Message::Close(sent));
        closed
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
    fn run(&self, messages: &Receiver<Message>, mut tracing: Option<Tracing>) {
        let mut looked = Instant::now();
        loop {
            let left = limits::RECORD_WINDOW.saturating_sub(looked.elapsed());
            let message = match self.is_on() || tracing.is_some() {
                true => messages.recv_timeout(left),
                false => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Write(ring, draft, bytes)) => {
                    self.guarded(|| self.write(&ring, (*draft, bytes), tracing.as_mut()));
                    self.queued.fetch_sub(bytes, Ordering::Relaxed);
                }
                Ok(Message::Trace(unhandled)) => {
                    self.guarded(|| tracing.iter().for_each(|tracing| tracing.unhandled(&unhandled)));
                }
                Ok(Message::Close(sent)) => {
                    if let Some(mut tracing) = tracing.take() {
                        self.guarded(|| tracing.close(sent));
                    }
                }
                Ok(Message::Look) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if looked.elapsed() >= limits::RECORD_WINDOW {
                let is_judged = |ring: &&Arc<Ring>| ring.is_on() || self.sampler.is_some();
                self.guarded(|| self.rings().of.values().filter(is_judged).for_each(|ring| ring.look()));
                self.guarded(|| tracing.iter_mut().for_each(Tracing::look));
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

    /// Exports the trace of a request, hands its record to whoever observes, and keeps it, unless its handler is no
    /// longer recorded or it is too large.
    fn write(&self, ring: &Ring, (mut draft, size): (Draft, usize), tracing: Option<&mut Tracing>) {
        let (seen, observed) = (Seen::of(&draft), draft.observed.take());
        let (recorded, is_shed) = (draft.recorded && ring.is_on(), draft.is_shed);
        if seen.is_none() && observed.is_none() && !recorded {
            return;
        }
        let (mut record, taking) = draft.record();
        match observed {
            Some(observed) if seen.is_none() && !recorded => return observed.take(size, || record),
            Some(observed) => observed.take(size, || record.clone()),
            None => {}
        }
        let (redaction, metrics) = {
            let terms = ring.terms();
            (Arc::clone(&terms.redaction), Arc::clone(&terms.metrics))
        };
        taking.apply(&redaction, &mut record);
        if let (Some(seen), Some(tracing)) = (seen, tracing) {
            tracing.answered(&record, &seen);
        }
        if !recorded {
            return;
        }
        let (id, line): (Arc<str>, Arc<str>) = (record.request.id.as_str().into(), record.line().into());
        let Recording { records_max, bytes_max, node_bytes_max, .. } = self.recording;
        // Taken while it is kept: a handler that leaves meanwhile is then cleared after it, not before.
        let rings = self.rings();
        let is_served = rings.of.get(&*ring.handler).is_some_and(|its| std::ptr::eq(&raw const **its, ring));
        if !is_served || ring.terms().redaction != redaction {
            return;
        }
        if bytes(&id, &line) > bytes_max {
            self.skipped.inc();
            return;
        }
        if !ring.keep((id, line), is_shed, (records_max, bytes_max)) {
            self.shed.inc();
            return;
        }
        metrics.records.inc();
        let over = || usize::try_from(self.bytes.get()).unwrap_or_default() > node_bytes_max;
        while over() {
            let largest = rings.of.values().max_by_key(|ring| ring.count().1);
            let Some(largest) = largest.filter(|ring| ring.count().0 > 0) else { break };
            largest.make_room();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::draft::{Answer, Traced};
    use super::super::times::{Times, Why};
    use super::*;
    use crate::contract::{Request, Response};
    use crate::guest::Digest;
    use crate::traces::Place;

    fn draft(ring: &Ring, body: usize) -> Box<Draft> {
        let request = Request {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            route: "POST /".into(),
            parameters: Vec::new(),
            query: None,
            headers: Vec::new(),
            body: vec![b'x'; body],
            id: "i".to_owned(),
            now: 0,
            config: Vec::new().into(),
            claims: None,
        };
        let response = Response { status: 200, headers: Vec::new(), body: Vec::new(), log: Vec::new() };
        Box::new(Draft {
            handler: Arc::clone(&ring.handler),
            generation: 1,
            digest: Digest::of(b""),
            why: Why::Sampled,
            observed: None,
            secrets: Vec::new(),
            members: Arc::default(),
            recorded: true,
            trace: Traced { place: Place::of(&HeaderMap::new()), state: String::new(), exported: false, begun: 0 },
            request,
            planned: None,
            ended: None,
            fault: None,
            answer: Answer { response, failure: None },
            is_shed: false,
            times: Times::default(),
        })
    }

    struct Bench {
        recorder: Arc<Recorder>,
        metrics: Metrics,
    }

    impl Bench {
        fn new(recording: Recording) -> Self {
            let metrics = Metrics::new();
            Self { recorder: Recorder::start(recording, &metrics, None).unwrap(), metrics }
        }

        fn ring(&self, handler: &str) -> Arc<Ring> {
            self.recorder.ring(handler, None, &Arc::default(), &Arc::default())
        }

        fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) {
            let begun = Instant::now();
            while !holds(&self.metrics) {
                assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{what}");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn the_handler_with_the_most_bytes_makes_room_for_the_others() {
        let recording = Recording { bytes_max: 20_000, node_bytes_max: 25_000, ..Recording::one_in(1) };
        let bench = Bench::new(recording);
        let (large, small) = (bench.ring("large"), bench.ring("small"));
        (0..10).for_each(|_| bench.recorder.hand_over(&large, draft(&large, 4000)));
        bench.until("large", |_| large.last(1, 0).first().is_some_and(|kept| kept.number == 10));
        assert!(large.count().1 <= 20_000 && large.count().0 == 4, "{:?}", large.count());
        (0..10).for_each(|_| bench.recorder.hand_over(&small, draft(&small, 1000)));
        bench.until("small", |_| small.last(1, 0).first().is_some_and(|kept| kept.number == 10));
        let all = bench.metrics.records_bytes.get();
        assert!(all <= 25_000 && small.count().0 > 6 && large.count().0 >= 1, "{all} {:?}", small.count());
        // One that no ring can hold is counted, and changes nothing.
        bench.recorder.hand_over(&small, draft(&small, 21_000));
        bench.until("skipped", |metrics| metrics.records_skipped.get() == 1);
        assert_eq!(bench.metrics.records_bytes.get(), all);
        // A handler that leaves gives back what it has, and a request of it that is under way is not kept.
        bench.recorder.retain(|name| name == "large");
        bench.recorder.hand_over(&small, draft(&small, 10));
        bench.recorder.hand_over(&large, draft(&large, 10));
        bench.until("the last", |_| large.last(1, 0)[0].number == 11);
        assert_eq!(
            (small.count(), large.count().1),
            ((0, 0), usize::try_from(bench.metrics.records_bytes.get()).unwrap())
        );
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_nobody_waits() {
        let bench = Bench::new(Recording::one_in(1));
        let ring = bench.ring("a");
        // The thread waits for this.
        let held = bench.recorder.shared.rings();
        (0..limits::RECORD_QUEUE_MAX + 10).for_each(|_| bench.recorder.hand_over(&ring, draft(&ring, 1)));
        let dropped = bench.metrics.records_dropped.get();
        assert!((1..=11).contains(&dropped), "{dropped}");
        drop(held);
        let all = limits::RECORD_QUEUE_MAX as u64 + 10 - dropped;
        bench.until("written", |_| ring.last(1, 0).first().is_some_and(|kept| kept.number == all));
        // In bytes as well.
        let held = bench.recorder.shared.rings();
        (0..9).for_each(|_| bench.recorder.hand_over(&ring, draft(&ring, limits::RECORD_QUEUE_BYTES_MAX / 8)));
        assert_eq!(bench.metrics.records_dropped.get(), dropped + 2);
        drop(held);
        bench.until("room again", |_| bench.recorder.shared.queued.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn a_panic_costs_one_record() {
        let bench = Bench::new(Recording::one_in(1));
        let ring = bench.ring("a");
        bench.recorder.shared.guarded(|| panic!("on purpose"));
        bench.recorder.hand_over(&ring, draft(&ring, 1));
        bench.until("written", |_| ring.count().0 == 1);
        assert_eq!(bench.metrics.records_skipped.get(), 1);
    }

    #[test]
    fn what_is_recorded_while_less_had_to_be_taken_out_is_dropped() {
        let bench = Bench::new(Recording::one_in(1));
        let ring = bench.ring("a");
        bench.recorder.hand_over(&ring, draft(&ring, 1));
        bench.until("written", |_| ring.count().0 == 1);
        bench.ring("a");
        assert_eq!(ring.count().0, 1);
        let text = "[[handler]]\nname = \"a\"\ncomponent = \"a\"\nroute = \"GET /\"\nrecord = { query = [\"x\"] }";
        let manifest = crate::manifest::parse(std::path::Path::new("galo.toml"), text).unwrap();
        let redaction = Arc::new(Redaction::of(&manifest.handlers[0]));
        let same = bench.recorder.ring("a", Some(5), &redaction, &Arc::default());
        assert!(Arc::ptr_eq(&ring, &same) && ring.count().0 == 0 && ring.every() == 5);
        assert!(bench.recorder.switch(Some("a"), 7) && !bench.recorder.switch(Some("b"), 7));
        bench.recorder.ring("a", Some(5), &redaction, &Arc::default());
        assert_eq!(ring.every(), 7);
        assert!(bench.recorder.switch(None, 3) && bench.ring("c").every() == 3 && ring.every() == 3);
    }
}
