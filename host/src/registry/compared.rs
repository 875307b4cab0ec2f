//! What came of the requests that both generations of a canary ran.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts, shared by the steps of a canary.
#[derive(Default)]
pub(super) struct Counts {
    all: AtomicU64,
    differed: AtomicU64,
    intended: AtomicU64,
}

/// Requests that both generations ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// All of them.
    pub all: u64,
    /// Those that they decided otherwise.
    pub differed: u64,
    /// Those that they decided otherwise as changed examples state it.
    pub intended: u64,
}

impl Counts {
    /// Counts a request.
    pub(super) fn compared(&self, differed: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.differed.fetch_add(u64::from(differed), Ordering::Relaxed);
    }

    /// Counts a difference that was intended.
    pub(super) fn intended(&self) {
        self.intended.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted.
    pub(super) fn read(&self) -> Compared {
        let [all, differed, intended] =
            [&self.all, &self.differed, &self.intended].map(|count| count.load(Ordering::Relaxed));
        Compared { all, differed, intended }
    }
}
