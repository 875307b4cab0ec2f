//! Who gets records of a handler beside its ring, for a while: a shadow. It gets them as they are, with nothing taken
//! out, and keeps none of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use super::format::Record;
use crate::limits;

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
    queue: SyncSender<Waiting>,
    /// Bytes of what waits for all observers of a node.
    backlog: Arc<AtomicUsize>,
    /// Those that the queue had no room for.
    dropped: Arc<AtomicU64>,
}

/// A record that waits for its observer. Its bytes are given back when it is dropped.
pub struct Waiting {
    /// The record.
    pub record: Box<Record>,
    bytes: usize,
    backlog: Arc<AtomicUsize>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.backlog.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Observer {
    /// Hands one request in so many over to a queue from now on, and counts those that it or `backlog`, the bytes of
    /// all queues of the node, has no room for.
    pub fn begin(&self, every: usize, queue: SyncSender<Waiting>, backlog: Arc<AtomicUsize>, dropped: Arc<AtomicU64>) {
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = Some(Observed { queue, backlog, dropped });
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
    /// Hands over a record that has about so many bytes, if there is room. It does not wait.
    pub(super) fn take(&self, bytes: usize, record: impl FnOnce() -> Record) {
        let backlog = Arc::clone(&self.backlog);
        let fits = backlog.fetch_add(bytes, Ordering::Relaxed) + bytes <= limits::SHADOW_QUEUE_BYTES_MAX;
        if !fits {
            backlog.fetch_sub(bytes, Ordering::Relaxed);
            return self.lost();
        }
        let waiting = Waiting { record: Box::new(record()), bytes, backlog };
        if self.queue.try_send(waiting).is_err() {
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
        observer.begin(5, queue, Arc::default(), Arc::default());
        assert_eq!(turns(), 2);
        observer.end();
        assert_eq!(turns(), 0);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_for_all_observers_of_a_node() {
        let record = || {
            let line = r#"{"format":1,"contract":"2.0","handler":"a","generation":1,"sha256":"","why":"sampled",
                "request":{"method":"GET","path":"/","route":"GET /","body":"","id":"i","now":1},
                "response":{"status":200,"body":"ok"},
                "times":{"read":0,"prepare":0,"wait":0,"database":0,"respond":0,"whole":0}}"#;
            Record::parse(line).unwrap()
        };
        let (backlog, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let observed = || {
            let (observer, (queue, records)) = (Observer::default(), sync_channel(100));
            observer.begin(1, queue, Arc::clone(&backlog), Arc::clone(&dropped));
            (observer.turn().unwrap(), records)
        };
        let ((one, ones), (other, others)) = (observed(), observed());
        let third = limits::SHADOW_QUEUE_BYTES_MAX / 3;
        for observed in [&one, &other, &one, &other] {
            observed.take(third, record);
        }
        assert_eq!((dropped.load(Ordering::Relaxed), ones.try_iter().count()), (1, 2));
        // What was received gives its bytes back, and so does a queue that ends.
        other.take(third, record);
        assert_eq!((dropped.load(Ordering::Relaxed), backlog.load(Ordering::Relaxed)), (1, 2 * third));
        drop(others);
        assert_eq!(backlog.load(Ordering::Relaxed), 0);
        other.take(third, record);
        assert_eq!((dropped.load(Ordering::Relaxed), backlog.load(Ordering::Relaxed)), (2, 0));
    }
}
