//! The records of one handler: the last ones, bounded in number and bytes. Which requests are kept is decided when they
//! have been answered, so that every fault, every 5xx and the slowest are among them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::format::Record;
use super::times::Why;

/// The records of one handler.
pub struct Ring {
    /// The handler.
    pub handler: Arc<str>,
    /// One request in so many is kept; 0 keeps none at all.
    every: AtomicUsize,
    /// Requests that were answered while it was on.
    seen: AtomicU64,
    /// Microseconds from which a request is among the slowest hundredth.
    slow_from: AtomicU32,
    kept: Mutex<Records>,
    records_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Records {
    lines: VecDeque<Kept>,
    bytes: usize,
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
}

impl Ring {
    /// An empty ring.
    pub(super) fn new(handler: &str, every: usize, records_max: usize, bytes_max: usize) -> Self {
        Self {
            handler: handler.into(),
            every: AtomicUsize::new(every),
            seen: AtomicU64::new(0),
            slow_from: AtomicU32::new(u32::MAX),
            kept: Mutex::default(),
            records_max,
            bytes_max,
        }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.every.load(Ordering::Relaxed) != 0
    }

    /// Keeps one request in so many from now on; 0 keeps none at all.
    pub fn sample(&self, every: usize) {
        self.every.store(every, Ordering::Relaxed);
    }

    /// Why a request that took so many microseconds is kept, if it is.
    pub fn wants(&self, faulted: bool, is_error: bool, micros: u32) -> Option<Why> {
        let turn = self.seen.fetch_add(1, Ordering::Relaxed);
        let every = self.every.load(Ordering::Relaxed) as u64;
        match () {
            () if every == 0 => None,
            () if faulted => Some(Why::Fault),
            () if is_error => Some(Why::Error),
            () if turn.is_multiple_of(every) => Some(Why::Sampled),
            () if micros >= self.slow_from.load(Ordering::Relaxed) => Some(Why::Slow),
            () => None,
        }
    }

    /// Keeps a record; the oldest make room for it.
    pub(super) fn keep(&self, record: &Record) {
        let (id, line) = (Arc::from(record.request.id.as_str()), Arc::<str>::from(record.line()));
        if line.len() > self.bytes_max {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        kept.bytes += line.len();
        let number = kept.last;
        kept.lines.push_back(Kept { number, id, line });
        while kept.lines.len() > self.records_max || kept.bytes > self.bytes_max {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.line.len();
        }
    }

    /// The last records, at most so many, the oldest first; only those after a number.
    pub fn last(&self, most: usize, after: u64) -> Vec<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = kept.lines.iter().filter(|kept| kept.number > after);
        let skipped = newer.clone().count().saturating_sub(most);
        newer.skip(skipped).cloned().collect()
    }
}
