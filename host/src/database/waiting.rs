//! Counts the callers that wait for a connection.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of waiting callers.
#[derive(Default)]
pub(super) struct Waiting(AtomicUsize);

/// A waiting caller, counted until this is dropped.
pub(super) struct Waits<'a>(&'a Waiting);

impl Waiting {
    /// Counts one more.
    pub(super) fn begin(&self) -> Waits<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waits(self)
    }

    /// The number of waiting callers.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
