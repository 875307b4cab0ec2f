//! Who gets records of a handler beside its ring, for a while: a shadow. It gets them as they are, with nothing taken
//! out, and keeps none of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use super::format::Record;

/// The observer of a handler's requests, if it has one. Without one a request costs a load.
#[derive(Default)]
pub struct Observer {
    /// One request in so many is handed over; 0 hands none over.
    every: AtomicU64,
    /// Requests that began since there is one.
    seen: AtomicU64,
    to: Mutex<Option<Observed>>,
}

/// A request that is to be handed over when it was answered.
#[derive(Clone)]
pub struct Observed {
    queue: SyncSender<Box<Record>>,
    /// Those that the queue had no room for.
    dropped: Arc<AtomicU64>,
}

impl Observer {
    /// Hands one request in so many over to a queue from now on, and counts those that it has no room for.
    pub fn begin(&self, every: usize, queue: SyncSender<Box<Record>>, dropped: Arc<AtomicU64>) {
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = Some(Observed { queue, dropped });
        self.seen.store(0, Ordering::Relaxed);
        self.every.store(every as u64, Ordering::Relaxed);
    }

    /// Hands nothing over any more.
    pub fn end(&self) {
        self.every.store(0, Ordering::Relaxed);
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes part in the sample, at the beginning of a request.
    pub fn turn(&self) -> Option<Observed> {
        let every = self.every.load(Ordering::Relaxed);
        let turn = every != 0 && self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(every);
        turn.then(|| self.to.lock().unwrap_or_else(PoisonError::into_inner).clone())?
    }
}

impl Observed {
    /// Hands a record over. It does not wait.
    pub(super) fn take(&self, record: Record) {
        if self.queue.try_send(Box::new(record)).is_err() {
            self.lost();
        }
    }

    /// Counts a record that was lost on the way.
    pub(super) fn lost(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn one_request_in_so_many_has_its_turn_while_somebody_observes() {
        let observer = Observer::default();
        let turns = || (0..10).filter(|_| observer.turn().is_some()).count();
        assert_eq!(turns(), 0);
        let (queue, _records) = sync_channel(1);
        observer.begin(5, queue, Arc::default());
        assert_eq!(turns(), 2);
        observer.end();
        assert_eq!(turns(), 0);
    }
}
