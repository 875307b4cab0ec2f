//! The series of handlers and procedures, which can be added and removed. Removed ones are shown for a while longer, so
//! that their last counts are read. If one returns within that time, it continues to count.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits;

/// Counters by the name of what they count.
#[derive(Debug)]
pub struct Series<T>(Mutex<BTreeMap<String, Entry<T>>>);

#[derive(Debug)]
struct Entry<T> {
    counters: Arc<T>,
    /// Set while it does not serve.
    left: Option<Instant>,
}

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Series<T> {
    /// The counters of a name: those that are shown, or new ones, which are not shown before they serve.
    pub fn of(&self, name: &str) -> Arc<T> {
        self.entries().get(name).map_or_else(Arc::default, |entry| Arc::clone(&entry.counters))
    }
}

impl<T> Series<T> {
    /// Shows these counters. Others begin to leave.
    pub fn serve(&self, present: impl Iterator<Item = (String, Arc<T>)>) {
        self.serve_at(present, Instant::now());
    }

    fn serve_at(&self, present: impl Iterator<Item = (String, Arc<T>)>, now: Instant) {
        let mut entries = self.entries();
        let mut serving = HashSet::new();
        for (name, counters) in present {
            serving.insert(name.clone());
            entries.insert(name, Entry { counters, left: None });
        }
        for (_, entry) in entries.iter_mut().filter(|(name, _)| !serving.contains(*name)) {
            entry.left.get_or_insert(now);
        }
        sweep(&mut entries, now);
    }

    /// What is shown now, by name.
    pub(super) fn shown(&self) -> Vec<(String, Arc<T>)> {
        self.shown_at(Instant::now())
    }

    fn shown_at(&self, now: Instant) -> Vec<(String, Arc<T>)> {
        let mut entries = self.entries();
        sweep(&mut entries, now);
        entries.iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.counters))).collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry<T>>> {
        // Every change of it is whole when the lock is given back, also by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops series that were removed too long ago, and the oldest ones beyond the limit.
fn sweep<T>(entries: &mut BTreeMap<String, Entry<T>>, now: Instant) {
    entries.retain(|_, entry| entry.left.is_none_or(|left| now.saturating_duration_since(left) < limits::HANDLER_KEPT));
    let mut left: Vec<_> = entries.iter().filter_map(|(name, entry)| Some((entry.left?, name.clone()))).collect();
    left.sort();
    let over = left.len().saturating_sub(limits::SERIES_LEFT_MAX);
    left.drain(..over).for_each(|(_, name)| drop(entries.remove(&name)));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    type Counters = Series<AtomicU64>;

    fn serve(series: &Counters, names: &[&str], now: Instant) {
        let present: Vec<_> = names.iter().map(|name| ((*name).to_owned(), series.of(name))).collect();
        series.serve_at(present.into_iter(), now);
    }

    fn shown(series: &Counters, now: Instant) -> Vec<String> {
        series.shown_at(now).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_never_served_is_not_shown() {
        let series = Counters::default();
        series.of("refused");
        serve(&series, &["x"], Instant::now());
        assert_eq!(shown(&series, Instant::now()), ["x"]);
    }

    #[test]
    fn what_is_gone_is_shown_for_a_while_and_counts_on_when_it_is_back() {
        let (series, now) = (Counters::default(), Instant::now());
        serve(&series, &["x", "y"], now);
        series.of("x").fetch_add(7, Ordering::Relaxed);
        serve(&series, &["y"], now);
        let almost = now + limits::HANDLER_KEPT - Duration::from_secs(1);
        assert_eq!(shown(&series, almost), ["x", "y"]);
        // Back in time it counts on,
        serve(&series, &["x", "y"], almost);
        assert_eq!(series.of("x").load(Ordering::Relaxed), 7);
        assert_eq!(shown(&series, almost + limits::HANDLER_KEPT * 2), ["x", "y"]);
        // and gone for good it is shown no more.
        serve(&series, &["y"], now);
        assert_eq!(shown(&series, now + limits::HANDLER_KEPT), ["y"]);
        assert_eq!(series.of("x").load(Ordering::Relaxed), 0);
    }

    #[test]
    fn names_that_change_without_end_do_not_pile_up() {
        let (series, now) = (Counters::default(), Instant::now());
        for number in 0..limits::SERIES_LEFT_MAX * 3 {
            let millis = Duration::from_millis(u64::try_from(number).unwrap());
            serve(&series, &["stays", &format!("x{number}")], now + millis);
        }
        let shown = shown(&series, now + Duration::from_secs(1));
        assert_eq!(shown.len(), limits::SERIES_LEFT_MAX + 2);
        assert!(shown.contains(&"stays".to_owned()) && !shown.contains(&"x0".to_owned()), "{shown:?}");
    }
}
