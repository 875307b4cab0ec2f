//! Limits the log lines of repeated failures. The first failure of a kind is logged at once. Later ones are counted,
//! and their number is logged at most once per [`limits::REPEAT_INTERVAL`], until they stop.
//!
//! Each generation of `registry` holds one, and `request` uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;

/// The logged failures of one generation.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<HashMap<String, u64>>);

impl Repeats {
    /// Notes a failure. Returns true if it should be logged, i.e. if it is the first of its kind, or the first after a
    /// pause. `summary` is then called with the number of further failures, as long as there are any.
    pub fn is_first(self: &Arc<Self>, kind: &str, summary: impl Fn(&str, u64) + Send + 'static) -> bool {
        let Some(kind) = self.note(kind) else { return false };
        let repeats = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(limits::REPEAT_INTERVAL).await;
                match repeats.take(&kind) {
                    0 => return,
                    count => summary(&kind, count),
                }
            }
        });
        true
    }

    /// Notes a failure that is logged once, however often it repeats. Returns true the first time.
    pub fn is_new(&self, kind: &str) -> bool {
        self.note(kind).is_some()
    }

    /// Counts a failure. If it is the first one, returns the name under which it is counted.
    fn note(&self, kind: &str) -> Option<String> {
        let mut counts = self.counts();
        // Kinds beyond the bound share a line.
        let kind = if counts.contains_key(kind) || counts.len() < limits::REPEATS_MAX { kind } else { "others" };
        match counts.get_mut(kind) {
            Some(count) => {
                *count += 1;
                None
            }
            None => {
                counts.insert(kind.to_owned(), 0);
                Some(kind.to_owned())
            }
        }
    }

    /// The number of failures since the last line. If it is zero, the next failure counts as a first one again.
    fn take(&self, kind: &str) -> u64 {
        let mut counts = self.counts();
        let count = counts.get_mut(kind).map(std::mem::take).unwrap_or_default();
        if count == 0 {
            counts.remove(kind);
        }
        count
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        // No change is left half-done when a thread panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_counted_until_it_stops() {
        let repeats = Repeats::default();
        assert_eq!(repeats.note("trap").as_deref(), Some("trap"));
        assert_eq!(repeats.note("memory").as_deref(), Some("memory"));
        for _ in 0..1000 {
            assert_eq!(repeats.note("trap"), None);
        }
        assert_eq!((repeats.take("trap"), repeats.take("memory")), (1000, 0));
        // The other kind did not repeat, so its next failure is a first one. This kind did repeat.
        assert!(repeats.note("memory").is_some() && repeats.note("trap").is_none());
        assert_eq!((repeats.take("trap"), repeats.take("trap")), (1, 0));
        assert!(repeats.note("trap").is_some());
    }

    #[test]
    fn what_is_logged_once_is_new_once() {
        let repeats = Repeats::default();
        let new: Vec<_> =
            ["conflict", "conflict", "trap", "conflict"].iter().filter(|kind| repeats.is_new(kind)).collect();
        assert_eq!(new, [&"conflict", &"trap"]);
    }

    #[test]
    fn kinds_are_bounded() {
        let repeats = Repeats::default();
        let firsts: Vec<_> = (0..1000).filter_map(|n| repeats.note(&n.to_string())).collect();
        assert_eq!(firsts.len(), limits::REPEATS_MAX + 1);
        assert_eq!(firsts.last().map(String::as_str), Some("others"));
    }
}
