//! The times between the phases of one request. The clock is read once per border, where one phase ends and the next
//! begins.

use std::time::{Duration, Instant};

use super::histogram::Histogram;

/// The clock of one request.
#[derive(Debug)]
pub struct Laps {
    begun: Instant,
    last: Instant,
}

impl Laps {
    /// Begins with the head of a request.
    pub fn begin() -> Self {
        let begun = Instant::now();
        Self { begun, last: begun }
    }

    /// When the request began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Ends a phase, and counts its time, which it returns.
    pub fn end(&mut self, phase: &Histogram) -> Duration {
        let before = self.last;
        let took = self.skip().duration_since(before);
        phase.took(took);
        took
    }

    /// Passes over what is counted elsewhere, or not at all. Returns this moment.
    pub fn skip(&mut self) -> Instant {
        self.last = Instant::now();
        self.last
    }

    /// When the last phase ended.
    pub fn last(&self) -> Instant {
        self.last
    }

    /// From the begin to the end of the last phase.
    pub fn whole(&self) -> Duration {
        self.last.duration_since(self.begun)
    }
}
