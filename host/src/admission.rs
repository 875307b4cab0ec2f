//! How many requests may be in flight. Beyond it a request is shed: a quick 503 serves a client better than a place in
//! a queue that grows. The log tells the edges, the first one shed and the recovery, not every one.
//!
//! Asked by `request`, once per request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use crate::metrics::Metrics;

/// The door of a node.
pub struct Admission {
    in_flight_max: i64,
    shedding: AtomicBool,
    metrics: Arc<Metrics>,
}

/// A place in flight; given back when it is dropped.
pub struct Permit<'a>(&'a Admission);

impl Admission {
    /// A door for so many requests at once. The gauge that people read is the count that decides.
    pub fn new(in_flight_max: usize, metrics: Arc<Metrics>) -> Self {
        let in_flight_max = i64::try_from(in_flight_max).unwrap_or(i64::MAX);
        Self { in_flight_max, shedding: AtomicBool::new(false), metrics }
    }

    /// Admits a request, or sheds it.
    ///
    /// # Errors
    /// [`Failure::Shed`].
    pub fn admit(&self) -> Result<Permit<'_>, Failure> {
        let before = self.metrics.in_flight.inc();
        // Held also by a request that is shed: dropping it counts back.
        let permit = Permit(self);
        if before >= self.in_flight_max {
            if !self.shedding.swap(true, Ordering::Relaxed) {
                tracing::warn!(in_flight_max = self.in_flight_max, "too many requests in flight, shedding");
            }
            return Err(Failure::Shed);
        }
        // Half empty: with a single threshold the log would flicker.
        let calm = before < (self.in_flight_max / 2).max(1) && self.shedding.load(Ordering::Relaxed);
        if calm && self.shedding.swap(false, Ordering::Relaxed) {
            tracing::info!(in_flight = before, "no longer shedding");
        }
        Ok(permit)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}
