//! Finds from what time on a request is among the slowest hundredth of its handler. The histogram of the handler shows
//! in which bucket that is; within the bucket, the limit moves until a hundredth of the requests is beyond it.

use crate::limits;
use crate::metrics::Histogram;

/// The limit of one handler, and what was counted at the last look.
#[derive(Debug)]
pub(super) struct Limit {
    counts: Vec<u64>,
    slow: u64,
    micros: u32,
}

impl Limit {
    /// No request is slow before the first look.
    pub(super) fn new(histogram: &Histogram) -> Self {
        Self { counts: histogram.counts(), slow: 0, micros: u32::MAX }
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
        let beyond = slow.saturating_sub(self.slow);
        (self.counts, self.slow) = (counts, slow);
        let (begin, end) = histogram.bucket(bucket_of_hundredth(&window, requests));
        let micros = |nanos: u64| u32::try_from(nanos / 1000).unwrap_or(u32::MAX);
        let (begin, end) = (micros(begin), micros(end));
        self.micros = match self.micros {
            // Another bucket than before: its middle is as good as any place.
            before if !(begin..=end).contains(&before) => begin + (end - begin) / 2,
            before if beyond * 50 > requests => before + (end - before) / 4,
            before if beyond * 200 < requests => before - (before - begin) / 4,
            before => before,
        };
        self.micros
    }
}

/// The bucket in which the slowest hundredth begins.
fn bucket_of_hundredth(window: &[u64], requests: u64) -> usize {
    let mut slower = 0;
    let reaches = |count: &u64| {
        slower += count;
        slower * 100 >= requests
    };
    window.iter().rposition(reaches).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::HandlerMetrics;

    /// Requests of a second, of which every tenth takes longer than the one before, and how many were slow.
    fn second(histogram: &Histogram, from: u32, factor: u32) -> u64 {
        let times = (0..1000).map(|turn| (300 + (turn * 7919 % 1000) / 10) * factor);
        let mut slow = 0;
        for micros in times {
            histogram.took(Duration::from_micros(u64::from(micros)));
            slow += u64::from(micros >= from);
        }
        slow
    }

    #[test]
    fn about_a_hundredth_is_slow_and_a_change_is_followed() {
        let metrics = HandlerMetrics::default();
        let mut limit = Limit::new(&metrics.duration);
        let (mut from, mut slow) = (u32::MAX, 0);
        for factor in [1, 20, 1] {
            let mut last = 0;
            for _ in 0..30 {
                last = second(&metrics.duration, from, factor);
                slow += last;
                from = limit.look(&metrics.duration, slow);
            }
            assert!((5..=20).contains(&last), "{last} of 1000 were slow, from {from} µs on");
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
