//! The records of one handler: the last ones, bounded in number and bytes. Which requests are kept is decided when they
//! have been answered, so that every fault, every 5xx and the slowest are among them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use super::observer::Observer;
use super::redaction::Redaction;
use super::slow::Limit;
use super::times::Why;
use crate::limits;
use crate::metrics::HandlerMetrics;

/// The records of one handler.
pub struct Ring {
    /// The handler.
    pub handler: Arc<str>,
    /// Who gets records beside it.
    pub observer: Observer,
    /// One request in so many is kept; 0 keeps none at all.
    every: AtomicUsize,
    /// Requests that were answered while it was on.
    seen: AtomicU64,
    /// Microseconds from which a request is among the slowest hundredth.
    slow_from: AtomicU32,
    /// Requests that were.
    slow: AtomicU64,
    records: Mutex<Records>,
    /// What holds for the handler at present. Only the recorder's thread and changes of the handler take it.
    terms: Mutex<Terms>,
    /// Bytes of the records of all handlers.
    all_bytes: Gauge,
}

/// What holds for a handler at present.
pub(super) struct Terms {
    /// What must not be kept.
    pub(super) redaction: Arc<Redaction>,
    /// Its counters.
    pub(super) metrics: Arc<HandlerMetrics>,
    /// One request in so many, as the manifest says.
    pub(super) manifest: Option<usize>,
    /// One request in so many, as the operator said while the node ran.
    pub(super) switched: Option<usize>,
    limit: Limit,
}

#[derive(Default)]
struct Records {
    lines: VecDeque<Kept>,
    bytes: usize,
    /// How many of them are of requests that were shed.
    shed: usize,
    /// The number of the last one, also of one that was dropped.
    last: u64,
}

/// A record that was kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its number in the ring, from 1.
    pub number: u64,
    /// The id of the request.
    pub id: Arc<str>,
    /// The record, as one line of JSON.
    pub line: Arc<str>,
    /// Its request was shed.
    is_shed: bool,
}

impl Kept {
    /// Bytes that it takes.
    fn bytes(&self) -> usize {
        bytes(&self.id, &self.line)
    }
}

/// Bytes that a record takes.
pub(super) fn bytes(id: &str, line: &str) -> usize {
    id.len() + line.len() + limits::RECORD_OVERHEAD_BYTES
}

impl Terms {
    pub(super) fn new(redaction: Arc<Redaction>, metrics: Arc<HandlerMetrics>, manifest: Option<usize>) -> Self {
        let limit = Limit::new(&metrics.duration);
        Self { redaction, metrics, manifest, switched: None, limit }
    }
}

impl Ring {
    /// An empty ring that is off. `last` is the number of the last record that an earlier ring of the handler kept.
    pub(super) fn new(handler: &str, terms: Terms, all_bytes: Gauge, last: u64) -> Self {
        Self {
            handler: handler.into(),
            observer: Observer::default(),
            every: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            slow_from: AtomicU32::new(u32::MAX),
            slow: AtomicU64::new(0),
            records: Mutex::new(Records { last, ..Records::default() }),
            terms: Mutex::new(terms),
            all_bytes,
        }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.every() != 0
    }

    /// One request in so many is kept; 0 keeps none at all.
    pub fn every(&self) -> usize {
        self.every.load(Ordering::Relaxed)
    }

    /// Keeps one request in so many from now on; 0 keeps none at all.
    pub(super) fn sample(&self, every: usize) {
        self.every.store(every, Ordering::Relaxed);
    }

    /// Why a request that took so many microseconds is kept whatever the sampling, if it is.
    pub fn notable(&self, faulted: bool, is_error: bool, micros: u32) -> Option<Why> {
        let is_slow = micros >= self.slow_from.load(Ordering::Relaxed);
        if is_slow {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
        match () {
            () if faulted => Some(Why::Fault),
            () if is_error => Some(Why::Error),
            () if is_slow => Some(Why::Slow),
            () => None,
        }
    }

    /// Why a request is recorded, if it is; `notable` is a reason that always counts.
    pub fn wants(&self, notable: Option<Why>) -> Option<Why> {
        let turn = self.seen.fetch_add(1, Ordering::Relaxed);
        let every = self.every() as u64;
        match notable {
            _ if every == 0 => None,
            Some(Why::Fault | Why::Error) => notable,
            _ if turn.is_multiple_of(every) => Some(Why::Sampled),
            _ => notable,
        }
    }

    /// Finds the slowest hundredth again.
    pub(super) fn look(&self) {
        let mut terms = self.terms();
        let metrics = Arc::clone(&terms.metrics);
        let from = terms.limit.look(&metrics.duration, self.slow.load(Ordering::Relaxed));
        self.slow_from.store(from, Ordering::Relaxed);
    }

    /// What holds for the handler at present.
    pub(super) fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a record; the oldest make room for it, so that there are at most so many with so many bytes. Those of
    /// requests that were shed have a share of the room: under overload they would push out everything else. Returns
    /// whether it was kept.
    pub(super) fn keep(
        &self,
        (id, line): (Arc<str>, Arc<str>),
        is_shed: bool,
        (records_max, bytes_max): (usize, usize),
    ) -> bool {
        let mut records = self.records();
        if is_shed && records.shed >= records_max.div_ceil(limits::RECORD_SHED_SHARE) {
            return false;
        }
        records.last += 1;
        records.shed += usize::from(is_shed);
        let record = Kept { number: records.last, id, line, is_shed };
        self.all_bytes.inc_by(signed(record.bytes()));
        records.bytes += record.bytes();
        records.lines.push_back(record);
        while records.lines.len() > records_max || records.bytes > bytes_max {
            if !self.drop_oldest(&mut records) {
                break;
            }
        }
        true
    }

    /// The number of the last record that was kept, also of one that was dropped.
    pub(super) fn last_number(&self) -> u64 {
        self.records().last
    }

    /// Drops the oldest record, to make room for those of another handler.
    pub(super) fn make_room(&self) {
        self.drop_oldest(&mut self.records());
    }

    fn drop_oldest(&self, records: &mut Records) -> bool {
        let Some(oldest) = records.lines.pop_front() else { return false };
        records.bytes -= oldest.bytes();
        records.shed -= usize::from(oldest.is_shed);
        self.all_bytes.dec_by(signed(oldest.bytes()));
        true
    }

    /// Drops every record, and gives their memory back.
    pub fn clear(&self) {
        let mut records = self.records();
        let bytes = std::mem::take(&mut records.bytes);
        records.lines = VecDeque::new();
        records.shed = 0;
        self.all_bytes.dec_by(signed(bytes));
    }

    /// How many records there are, and their bytes.
    pub fn count(&self) -> (usize, usize) {
        let records = self.records();
        (records.lines.len(), records.bytes)
    }

    /// The last records, at most so many, the oldest first; only those after a number.
    pub fn last(&self, most: usize, after: u64) -> Vec<Kept> {
        let records = self.records();
        let newer = records.lines.iter().filter(|kept| kept.number > after);
        let skipped = newer.clone().count().saturating_sub(most);
        newer.skip(skipped).cloned().collect()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(all_bytes: &Gauge) -> Ring {
        let terms = Terms::new(Arc::default(), Arc::default(), None);
        Ring::new("a", terms, all_bytes.clone(), 0)
    }

    fn line(bytes: usize) -> Arc<str> {
        "x".repeat(bytes - limits::RECORD_OVERHEAD_BYTES).into()
    }

    fn keep(ring: &Ring, bytes: usize, bounds: (usize, usize)) -> bool {
        ring.keep(("".into(), line(bytes)), false, bounds)
    }

    #[test]
    fn shed_requests_have_a_share_of_the_room_and_take_no_number_beyond_it() {
        let ring = ring(&Gauge::default());
        let shed = || ring.keep(("".into(), line(150)), true, (16, 100_000));
        assert!(keep(&ring, 150, (16, 100_000)));
        assert_eq!((0..100).filter(|_| shed()).count(), 2);
        assert_eq!((ring.count().0, ring.last_number()), (3, 3));
        // As they grow old, others may follow.
        (0..16).for_each(|_| assert!(keep(&ring, 150, (16, 100_000))));
        assert!(shed() && shed() && !shed());
        ring.clear();
        assert!(shed());
    }

    #[test]
    fn the_oldest_make_room_in_number_and_in_bytes() {
        let all = Gauge::default();
        let ring = ring(&all);
        let numbers = |ring: &Ring| ring.last(9, 0).iter().map(|kept| kept.number).collect::<Vec<_>>();
        (1..=5).for_each(|_| assert!(keep(&ring, 200, (3, 10_000))));
        assert_eq!((numbers(&ring), ring.count(), all.get()), (vec![3, 4, 5], (3, 600), 600));
        keep(&ring, 900, (3, 1000));
        assert_eq!((numbers(&ring), ring.count()), (vec![6], (1, 900)));
        keep(&ring, 150, (3, 10_000));
        let after = |most, after| ring.last(most, after).iter().map(|kept| kept.number).collect::<Vec<_>>();
        assert_eq!((after(1, 0), after(9, 6), after(9, 7)), (vec![7], vec![7], vec![]));
        ring.make_room();
        assert_eq!((numbers(&ring), all.get()), (vec![7], 150));
        ring.clear();
        assert_eq!((ring.count(), all.get()), ((0, 0), 0));
        ring.make_room();
        keep(&ring, 150, (3, 10_000));
        assert_eq!(numbers(&ring), [8]);
    }

    #[test]
    fn faults_errors_turns_and_slow_ones_are_wanted_and_none_while_it_is_off() {
        let ring = ring(&Gauge::default());
        let wants = |faulted, is_error, micros| ring.wants(ring.notable(faulted, is_error, micros));
        assert_eq!((ring.is_on(), wants(true, true, u32::MAX)), (false, None));
        ring.sample(4);
        ring.slow_from.store(100, Ordering::Relaxed);
        let wanted = [(true, true, 1), (false, true, 1), (false, false, 99), (false, false, 100), (false, false, 5)];
        let why = wanted.map(|(faulted, is_error, micros)| wants(faulted, is_error, micros));
        assert_eq!(why, [Some(Why::Fault), Some(Why::Error), None, Some(Why::Sampled), None]);
        assert_eq!(wants(false, false, 100), Some(Why::Slow));
        // What went wrong is the reason also for one that has its turn.
        ring.sample(1);
        assert_eq!((wants(true, false, 1), wants(false, true, 1)), (Some(Why::Fault), Some(Why::Error)));
    }
}
