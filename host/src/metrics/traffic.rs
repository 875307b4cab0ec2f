//! The requests to each route of one generation: how many, how they were answered, and how long they took, fine enough
//! for percentiles. An answer costs one addition without a lock, and one more if it is an error.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

/// Buckets of an octave: a bound is at most an eighth beyond the value.
const PER_OCTAVE_BITS: u32 = 3;
const PER_OCTAVE: u64 = 1 << PER_OCTAVE_BITS;
/// From a microsecond to 67 seconds, and one for what takes longer.
const OCTAVES: u32 = 26;
const BUCKETS: usize = ((OCTAVES - PER_OCTAVE_BITS + 1) << PER_OCTAVE_BITS) as usize + 1;

/// The routes of a generation. They are made by its first request, which knows how many there are.
#[derive(Debug, Default)]
pub struct RouteTraffic(OnceLock<Box<[Traffic]>>);

/// The requests to one route.
#[derive(Debug)]
pub struct Traffic {
    buckets: [AtomicU64; BUCKETS],
    client_errors: AtomicU64,
    server_errors: AtomicU64,
}

/// The requests to one route up to a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    buckets: Box<[u64]>,
    /// Answers with a status from 400 to 499.
    pub client_errors: u64,
    /// Answers with a status from 500 on.
    pub server_errors: u64,
}

impl RouteTraffic {
    /// Counts an answer to a route, which is one of so many.
    pub fn answered(&self, place: usize, routes: usize, status: StatusCode, took: Duration) {
        let all = self.0.get_or_init(|| (0..routes).map(|_| Traffic::new()).collect());
        if let Some(route) = all.get(place) {
            route.answered(status, took);
        }
    }

    /// What was counted for a route, if there was a request.
    pub fn of(&self, place: usize) -> Option<&Traffic> {
        self.0.get()?.get(place)
    }
}

impl Traffic {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { buckets: std::array::from_fn(|_| zero()), client_errors: zero(), server_errors: zero() }
    }

    fn answered(&self, status: StatusCode, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        if status.is_server_error() {
            self.server_errors.fetch_add(1, Ordering::Relaxed);
        } else if status.is_client_error() {
            self.client_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted up to now.
    pub fn read(&self) -> Answered {
        Answered {
            client_errors: self.client_errors.load(Ordering::Relaxed),
            server_errors: self.server_errors.load(Ordering::Relaxed),
            buckets: self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
        }
    }
}

impl Answered {
    /// How many answers there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What came after an earlier moment.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&before.buckets).map(|(now, then)| now.saturating_sub(*then));
        Self {
            buckets: buckets.collect(),
            client_errors: self.client_errors.saturating_sub(before.client_errors),
            server_errors: self.server_errors.saturating_sub(before.server_errors),
        }
    }

    /// Microseconds within which so many of a thousand were answered, an eighth too many at most. `None` without any.
    pub fn within(&self, per_mille: u64) -> Option<u64> {
        let wanted = (self.count() * per_mille).div_ceil(1000);
        let mut passed = 0;
        let reached = self.buckets.iter().position(|count| {
            passed += count;
            passed >= wanted && wanted > 0
        });
        reached.map(end)
    }
}

/// The bucket of a time: exact below an octave's number of buckets, then so many for each octave.
fn bucket(micros: u64) -> usize {
    if micros < PER_OCTAVE {
        return usize::try_from(micros).unwrap_or(0);
    }
    let shift = micros.ilog2() - PER_OCTAVE_BITS;
    let place = (u64::from(shift) << PER_OCTAVE_BITS) + (micros >> shift);
    usize::try_from(place).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The greatest time of a bucket, in microseconds.
fn end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PER_OCTAVE {
        return bucket;
    }
    let (shift, place) = ((bucket >> PER_OCTAVE_BITS) - 1, (bucket & (PER_OCTAVE - 1)) + PER_OCTAVE);
    ((place + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_a_bucket_that_ends_at_most_an_eighth_beyond_it() {
        for micros in (0..5000).chain([65_535, 65_536, 1_000_000, 60_000_000]) {
            let end = end(bucket(micros));
            assert!(end >= micros && end <= micros + micros / 8, "{micros}: {end}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket((1 << OCTAVES) - 1), BUCKETS - 2);
    }

    #[test]
    fn percentiles_are_those_of_what_came_since() {
        let routes = RouteTraffic::default();
        assert!(routes.of(0).is_none());
        let answer = |status: u16, micros| {
            routes.answered(1, 2, StatusCode::from_u16(status).unwrap(), Duration::from_micros(micros));
        };
        (0..50).for_each(|_| answer(200, 1_000_000));
        let before = routes.of(1).unwrap().read();
        (1..=98).for_each(|_| answer(200, 100));
        answer(404, 5000);
        answer(503, 90_000);
        let since = routes.of(1).unwrap().read().since(&before);
        assert_eq!((since.count(), since.client_errors, since.server_errors), (100, 1, 1));
        let percentiles = [500, 990, 1000].map(|per_mille| since.within(per_mille).unwrap());
        assert!(percentiles[0] >= 100 && percentiles[0] < 113, "{percentiles:?}");
        assert!(percentiles[1] >= 5000 && percentiles[1] < 5700, "{percentiles:?}");
        assert!(percentiles[2] >= 90_000 && percentiles[2] < 102_000, "{percentiles:?}");
        assert_eq!(routes.of(0).unwrap().read().within(500), None);
    }
}
