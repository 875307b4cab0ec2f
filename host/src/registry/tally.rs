//! How often a generation was called and faulted, and since when. A generation that is proved again under another
//! manifest shares it, so that its probation goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) struct Tally {
    began: Instant,
    calls: AtomicU64,
    faults: AtomicU64,
}

impl Tally {
    /// Begins now.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), calls: AtomicU64::new(0), faults: AtomicU64::new(0) }
    }

    /// Counts a request that begins.
    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a fault.
    pub(super) fn faulted(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Whether a probation of so many calls and so much time has passed.
    pub(super) fn is_over(&self, calls: u64, time: Duration) -> bool {
        self.calls() >= calls && self.began.elapsed() >= time
    }
}
