//! From when on a request is among the slowest hundredth of its handler: a threshold that follows the times of its
//! requests. One above it raises the threshold, one below it lowers it by a hundredth of that, so that one in a hundred
//! is above it. Two atomics, no lock, no memory of the past.

use std::sync::atomic::{AtomicU64, Ordering};

/// Fractions of a microsecond: a step down is a hundredth of a step up.
const FRACTION: u64 = 1 << 12;
/// A step up is this share of the threshold.
const STEP: u64 = 32;
/// One in so many is slow.
const HUNDREDTH: u64 = 100;

/// The threshold of one handler.
#[derive(Debug, Default)]
pub(super) struct Slow {
    seen: AtomicU64,
    threshold: AtomicU64,
}

impl Slow {
    /// Whether a request that took so many microseconds is slow; it counts from now on. Of the first hundred none is:
    /// the slowest of them is the threshold to begin with.
    pub(super) fn is_slow(&self, micros: u32) -> bool {
        let took = u64::from(micros) * FRACTION;
        if self.seen.fetch_add(1, Ordering::Relaxed) < HUNDREDTH {
            self.threshold.fetch_max(took, Ordering::Relaxed);
            return false;
        }
        let threshold = self.threshold.load(Ordering::Relaxed);
        let up = threshold / STEP + FRACTION;
        let is_slow = took > threshold;
        let next = if is_slow { threshold + up } else { threshold.saturating_sub(up / HUNDREDTH) };
        // Updates of two threads at once may cost one of them: the threshold is an estimate.
        self.threshold.store(next, Ordering::Relaxed);
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_first_hundred_none_is_slow() {
        let slow = Slow::default();
        assert!((0..100).all(|number| !slow.is_slow(1000 + number)));
        assert!(!slow.is_slow(1000) && slow.is_slow(1200));
    }

    #[test]
    fn one_in_a_hundred_is_slow_whatever_the_times_are() {
        for scale in [100, 2_000, 100_000] {
            let slow = Slow::default();
            // Times that look random: most around `scale`, a tail ten times as long.
            let took = |number: u32| {
                let random = (u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32 % 1000;
                scale + scale * random / 2000 + if random % 50 == 0 { scale * 10 } else { 0 }
            };
            (0..20_000).for_each(|number| {
                slow.is_slow(took(number));
            });
            let count = (20_000..60_000).filter(|number| slow.is_slow(took(*number))).count();
            assert!((200..800).contains(&count), "{scale}: {count} of 40,000");
            assert!(slow.is_slow(scale * 100));
        }
    }
}
