//! How a Postgres process is made to end: fast, then immediately, then by SIGKILL, each with its bound.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::limits;

/// A signal, and how long the process may take to end after it.
pub(super) type Stop = (Signal, Duration);

/// For data that lasts: the fast shutdown writes a checkpoint.
pub(super) const LASTING: [Stop; 3] = [
    (Signal::SIGINT, limits::POSTGRES_FAST_STOP_MAX),
    (Signal::SIGQUIT, limits::POSTGRES_IMMEDIATE_STOP_MAX),
    (Signal::SIGKILL, limits::POSTGRES_KILL_MAX),
];

/// For data that is deleted afterwards.
pub(super) const THROWAWAY: [Stop; 2] = [LASTING[1], LASTING[2]];

/// For a program that has made nothing worth keeping.
pub(super) const KILL: [Stop; 1] = [LASTING[2]];

/// Sends one signal after the other until the process has ended. `ended` waits for that no longer than it is given, and
/// returns whether it happened. Returns false when the process outlives them all.
pub(super) fn stop(pid: Pid, stops: &[Stop], mut ended: impl FnMut(Duration) -> bool) -> bool {
    for &(signal, bound) in stops {
        // It may end between the check and the signal.
        let _ = kill(pid, signal);
        let begun = Instant::now();
        while let Some(left) = bound.checked_sub(begun.elapsed()) {
            if ended(left) {
                return true;
            }
        }
        tracing::warn!(%pid, %signal, seconds = bound.as_secs(), "the process did not end after the signal");
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_a_stop_is_that_of_its_steps() {
        assert_eq!(LASTING.iter().map(|(_, bound)| *bound).sum::<Duration>(), limits::POSTGRES_STOP_MAX);
    }
}
