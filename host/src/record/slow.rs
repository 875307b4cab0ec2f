//! Finds from what time on a request is among the slowest hundredth of its handler. The histogram of the handler shows
//! in which bucket that is; within the bucket, the limit moves until a hundredth of the requests is beyond it. It rises
//! fast and falls slowly: rather too few are slow than too many.

use crate::limits;
use crate::metrics::Histogram;

/// The limit of one handler, and what was counted at the last look.
#[derive(Debug)]
pub(super) struct Limit {
    counts: Vec<u64>,
    /// What was counted lately, by bucket: each window counts an eighth less than the one after it.
    lately: Vec<u64>,
    slow: u64,
    micros: u32,
}

impl Limit {
    /// No request is slow before the first look.
    pub(super) fn new(histogram: &Histogram) -> Self {
        let counts = histogram.counts();
        Self { lately: vec![0; counts.len()], counts, slow: 0, micros: u32::MAX }
    }

    /// Looks at what was counted since the last look: `slow` requests were beyond the limit. Returns the limit in
    /// microseconds.
    pub(super) fn look(&mut self, histogram: &Histogram, slow: u64) -> u32 {
        let counts = histogram.counts();
        let window: Vec<_> = counts.iter().zip(&self.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        let requests: u64 = window.iter().sum();
        if requests < limits::RECORD_WINDOW_REQUESTS_MIN {
            return self.micros;
        }
        self.lately.iter_mut().zip(&window).for_each(|(lately, now)| *lately = *lately / 8 * 7 + now);
        let beyond = slow.saturating_sub(self.slow);
        (self.counts, self.slow) = (counts, slow);
        let (bucket, share) = place_of_hundredth(&self.lately);
        let (begin, end) = histogram.bucket(bucket);
        let micros = |nanos: u64| u32::try_from(nanos / 1000).unwrap_or(u32::MAX);
        let (begin, end) = (micros(begin), micros(end));
        self.micros = match self.micros {
            // Another bucket than before. Requests are as if spread evenly in it.
            before if !(begin..=end).contains(&before) => end - (end - begin) / 100 * share,
            before if beyond * 50 > requests => before + (end - before) / 2,
            before if beyond * 200 < requests => before - (before - begin) / 32,
            before => before,
        };
        self.micros
    }
}

/// The bucket in which the slowest hundredth begins, and how many hundredths of the bucket belong to it.
fn place_of_hundredth(lately: &[u64]) -> (usize, u32) {
    let hundredth = (lately.iter().sum::<u64>() / 100).max(1);
    let mut slower = 0;
    for (bucket, count) in lately.iter().enumerate().rev() {
        if slower + count >= hundredth {
            let share = (hundredth - slower) * 100 / count;
            return (bucket, u32::try_from(share).unwrap_or(100));
        }
        slower += count;
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::HandlerMetrics;

    /// Requests of a second, which take so many times 300 to 400 µs, and how many of them were slow.
    fn second(histogram: &Histogram, from: u32, factor: u32) -> u64 {
        let times = (0..1000).map(|turn| (300 + (turn * 7919 % 1000) / 10) * factor);
        let mut slow = 0;
        for micros in times {
            histogram.took(Duration::from_micros(u64::from(micros)));
            slow += u64::from(micros >= from);
        }
        slow
    }

    /// How many of ten thousand are slow while the factor changes.
    fn share(factor: impl Fn(u32) -> u32) -> u64 {
        let metrics = HandlerMetrics::default();
        let mut limit = Limit::new(&metrics.duration);
        let (mut from, mut slow) = (u32::MAX, 0);
        let seconds = 300;
        for turn in 0..seconds {
            slow += second(&metrics.duration, from, factor(turn));
            from = limit.look(&metrics.duration, slow);
        }
        slow * 10 / u64::from(seconds)
    }

    #[test]
    fn about_a_hundredth_is_slow_and_a_change_is_followed() {
        for (what, share) in [
            ("steady", share(|_| 1)),
            ("slower after a while", share(|turn| 1 + turn / 150 * 20)),
            ("faster after a while", share(|turn| 20 - turn / 150 * 19)),
            ("to and fro", share(|turn| 1 + turn % 2 * 2)),
        ] {
            assert!((20..=200).contains(&share), "{what}: {share} of 10,000");
        }
    }

    #[test]
    fn a_few_requests_change_nothing() {
        let metrics = HandlerMetrics::default();
        let mut limit = Limit::new(&metrics.duration);
        (0..99).for_each(|_| metrics.duration.took(Duration::from_millis(1)));
        assert_eq!(limit.look(&metrics.duration, 0), u32::MAX);
        metrics.duration.took(Duration::from_secs(9));
        // They add up, and the slowest is the hundredth of a hundred.
        assert!(limit.look(&metrics.duration, 0) >= 5_000_000);
    }
}
