//! A histogram of atomic counters. An observation is two additions without a lock, because each request makes several.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Where the buckets of a histogram end.
#[derive(Debug)]
pub struct Scale {
    /// The greatest value of each bucket but the last, in ascending order.
    bounds: &'static [u64],
    /// How many of what is observed are one of what is shown.
    per_unit: f64,
}

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// Of whole requests, in nanoseconds, shown in seconds: an answer usually takes half a millisecond, and
/// at most 3.8 s when the database does not answer.
pub(super) const REQUESTS: Scale = Scale {
    bounds: &[
        250 * US,
        500 * US,
        MS,
        2 * MS + 500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        S,
        5 * S,
    ],
    per_unit: 1e9,
};

/// Of a phase of a request, likewise: a guest takes some 5 µs, and may take 2 s.
pub(super) const PHASES: Scale = Scale {
    bounds: &[10 * US, 25 * US, 100 * US, 250 * US, MS, 5 * MS, 25 * MS, 100 * MS, 500 * MS, 2 * S],
    per_unit: 1e9,
};

/// Of the calls of a batch, up to the most there may be.
pub(super) const CALLS: Scale = Scale { bounds: &[1, 2, 4, 8, 16, 32, 64], per_unit: 1.0 };

/// Of the scale that has most.
const BUCKETS_MAX: usize = REQUESTS.bounds.len() + 1;
const _: () = assert!(PHASES.bounds.len() < BUCKETS_MAX && CALLS.bounds.len() < BUCKETS_MAX);

/// How often values fell into each bucket, and their sum.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    sum: AtomicU64,
    /// As many are used as there are bounds, and one more. Not boxed: that would be one more line of the cache.
    counts: [AtomicU64; BUCKETS_MAX],
}

impl Histogram {
    /// All at zero.
    pub(super) fn new(scale: &'static Scale) -> Self {
        Self { scale, sum: AtomicU64::new(0), counts: [const { AtomicU64::new(0) }; BUCKETS_MAX] }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let bounds = self.scale.bounds;
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time, in nanoseconds.
    pub fn took(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many values fell into each bucket until now.
    pub fn counts(&self) -> Vec<u64> {
        let counts = self.counts.iter().take(self.scale.bounds.len() + 1);
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// What a bucket begins behind, and where it ends. The last one has no end: four times its begin stands for it.
    pub fn bucket(&self, index: usize) -> (u64, u64) {
        let bounds = self.scale.bounds;
        let begin = index.checked_sub(1).and_then(|before| bounds.get(before)).copied().unwrap_or_default();
        (begin, bounds.get(index).copied().unwrap_or(begin * 4))
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The time within which so many of a thousand ended, as Prometheus estimates it: evenly spread within a bucket.
    /// `None` without any; those beyond the last bound count as at it.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "estimate"
    )]
    pub(super) fn within(&self, per_mille: u64) -> Option<Duration> {
        let counts: Vec<_> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let wanted = counts.iter().sum::<u64>() as f64 * per_mille as f64 / 1e3;
        let (mut passed, mut from) = (0.0, 0);
        for (bound, count) in self.scale.bounds.iter().zip(counts).filter(|_| wanted > 0.0) {
            let count = count as f64;
            if count > 0.0 && passed + count >= wanted {
                let inside = (wanted - passed) / count * (bound - from) as f64;
                return Some(Duration::from_nanos(from + inside as u64));
            }
            (passed, from) = (passed + count, *bound);
        }
        (wanted > 0.0).then(|| Duration::from_nanos(from))
    }

    #[expect(clippy::cast_precision_loss, reason = "what is over 2^53 is shown to 16 digits")]
    pub(super) fn encode(&self, mut encoder: MetricEncoder) -> std::fmt::Result {
        let shown = |value: u64| value as f64 / self.scale.per_unit;
        let ends = self.scale.bounds.iter().map(|bound| shown(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<_> = ends.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        // The total is computed from the shown counts, because the last bucket must equal it.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = shown(self.sum.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_ends_at_it_or_above() {
        let histogram = Histogram::new(&CALLS);
        for value in [1, 2, 3, 64, 65] {
            histogram.observe(value);
        }
        let counts: Vec<_> = histogram.counts.iter().take(8).map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [1, 1, 1, 0, 0, 0, 1, 1]);
        assert_eq!((histogram.count(), histogram.sum.load(Ordering::Relaxed)), (5, 135));
    }

    #[test]
    fn a_quantile_is_spread_evenly_within_its_bucket() {
        let histogram = Histogram::new(&PHASES);
        assert_eq!(histogram.within(500), None);
        (0..10).for_each(|_| histogram.took(Duration::from_micros(20)));
        assert_eq!(histogram.within(1000), Some(Duration::from_micros(25)));
        assert_eq!(histogram.within(500), Some(Duration::from_nanos(17_500)));
        (0..90).for_each(|_| histogram.took(Duration::from_secs(9)));
        assert_eq!(histogram.within(990), Some(Duration::from_secs(2)));
    }

    #[test]
    fn bounds_ascend() {
        for scale in [&REQUESTS, &PHASES, &CALLS] {
            assert!(scale.bounds.is_sorted_by(|one, next| one < next), "{scale:?}");
        }
    }
}
