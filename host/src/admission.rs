//! Limits the requests in flight. A request beyond the limit is shed: a quick 503 is better for a client than a place
//! in a growing queue. Only the first shed request and the recovery are logged.
//!
//! `request` calls it once per request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use crate::metrics::Metrics;

/// The admission control of a node.
pub struct Admission {
    in_flight_max: i64,
    shedding: AtomicBool,
    metrics: Arc<Metrics>,
}

/// An admitted request. Dropping it releases its place.
pub struct Permit<'a>(&'a Admission);

impl Admission {
    /// Admits up to this many requests at once. The exported gauge is also the count that decides.
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
        // A shed request holds one too. Dropping it decrements the count.
        let permit = Permit(self);
        if before >= self.in_flight_max {
            if !self.shedding.swap(true, Ordering::Relaxed) {
                tracing::warn!(in_flight_max = self.in_flight_max, "too many requests in flight, shedding");
            }
            return Err(Failure::Shed);
        }
        // Recovery is logged at half the limit. With a single threshold the log would flap.
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
