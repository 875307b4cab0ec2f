//! The CPU time of this thread. Bounds of the gate count it, so that a busy machine does not shorten a comparison.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The CPU time that this thread has used.
pub(super) fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
