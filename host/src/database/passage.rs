//! How a call went: how long it waited, how long the database took, and with how many others it was sent. Its caller
//! gets it beside the outcome, for the record and the trace of the request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How a call went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    /// For its lane and for a connection.
    pub waited: Duration,
    /// From there to its outcome; `None` for a call that was not sent.
    pub took: Option<Duration>,
    /// The statement that carried it, if that carried others too.
    pub batch: Option<Batched>,
}

/// A statement that carried several calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batched {
    /// Identifies it among those of this process.
    pub number: u64,
    /// How many calls it carried.
    pub calls: u32,
    /// How long it took.
    pub took: Duration,
}

/// A statement with several calls that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnderWay {
    number: u64,
    calls: u32,
    sent: Instant,
}

impl UnderWay {
    /// The next one.
    pub(super) fn next(calls: usize, sent: Instant) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, calls: u32::try_from(calls).unwrap_or(u32::MAX), sent }
    }

    fn ended(self, now: Instant) -> Batched {
        Batched { number: self.number, calls: self.calls, took: now - self.sent }
    }
}

impl Passage {
    /// Of a call that waited from `since`, and was sent, if it was.
    pub(super) fn of(since: Instant, sent: Option<Instant>, batch: Option<UnderWay>) -> Self {
        let now = Instant::now();
        Self {
            waited: sent.unwrap_or(now) - since,
            took: sent.map(|sent| now - sent),
            batch: batch.map(|batch| batch.ended(now)),
        }
    }
}
