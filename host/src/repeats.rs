//! Failures that repeat: the first of each is logged at once, those that follow are counted and logged as a number, at
//! most one line in [`limits::REPEAT_INTERVAL`], until it stops.
//!
//! Held by each generation of `registry`, used by `request`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;

/// What was logged of the failures of one generation.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<HashMap<String, u64>>);

impl Repeats {
    /// Notes a failure. True when it is to be logged: it is the first of its kind, or the first after it had stopped.
    /// Then `summary` is called with the number of those that follow, as long as any do.
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

    /// Counts a failure. When it is a first one, under which name.
    fn note(&self, kind: &str) -> Option<String> {
        let mut counts = self.counts();
        // Beyond the bound they share a line.
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

    /// How many came since the last line. At none the next is a first one again.
    fn take(&self, kind: &str) -> u64 {
        let mut counts = self.counts();
        let count = counts.get_mut(kind).map(std::mem::take).unwrap_or_default();
        if count == 0 {
            counts.remove(kind);
        }
        count
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        // Every change of it is whole.
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
        // The other did not come again, so it is a first one; this one is not yet.
        assert!(repeats.note("memory").is_some() && repeats.note("trap").is_none());
        assert_eq!((repeats.take("trap"), repeats.take("trap")), (1, 0));
        assert!(repeats.note("trap").is_some());
    }

    #[test]
    fn kinds_are_bounded() {
        let repeats = Repeats::default();
        let firsts: Vec<_> = (0..1000).filter_map(|n| repeats.note(&n.to_string())).collect();
        assert_eq!(firsts.len(), limits::REPEATS_MAX + 1);
        assert_eq!(firsts.last().map(String::as_str), Some("others"));
    }
}
