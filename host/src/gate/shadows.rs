//! The shadows of a node: candidates that run beside the live requests for a while. `admin` orders one, `reload`
//! verifies and runs it, and both read what it has counted. A handler has one shadow at a time, and keeps the counts of
//! the last one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::compare::Sides;
use super::tally::{Tally, places};
use crate::guest::Digest;
use crate::limits;
use crate::record::Record;
use crate::report::Reason;

/// The shadows of a node, by the name of their handler.
#[derive(Default)]
pub struct Shadows {
    runs: Mutex<BTreeMap<String, Arc<Run>>>,
    orders: Mutex<VecDeque<Order>>,
    news: Notify,
    /// Bytes of the requests that wait for them.
    pub backlog: Arc<AtomicUsize>,
}

/// A shadow that is to be verified and to run.
pub struct Order {
    /// The name of the handler.
    pub handler: String,
    /// The component.
    pub bytes: Vec<u8>,
    /// Its signature, if it came with one.
    pub signature: Option<String>,
    /// What it counts.
    pub run: Arc<Run>,
}

/// One shadow.
#[derive(Debug)]
pub struct Run {
    /// The component.
    pub digest: Digest,
    /// One request in so many runs on it too.
    pub every: usize,
    /// How long it runs.
    pub span: Duration,
    /// Requests that it had no room for.
    pub dropped: Arc<AtomicU64>,
    phase: Mutex<Phase>,
    tally: Mutex<Tally>,
    /// As it was shown last.
    shown: Mutex<Tally>,
    /// Who has asked for it, and why.
    pub asked: Reason,
    stopped: AtomicBool,
    stopped_by: OnceLock<Reason>,
}

/// How far a shadow is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It is being compiled and verified.
    Verifying,
    /// It runs, and ends at this moment.
    Running(Instant),
    /// It did not pass, and never ran.
    Refused(String),
    /// It has ended.
    Ended,
}

/// Why there is no place for a shadow.
#[derive(Debug, PartialEq, Eq)]
pub enum Busy {
    /// The handler has one.
    Handler,
    /// The node has as many as it may have.
    Node,
}

impl Shadows {
    /// Orders a shadow of a handler.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn order(
        &self,
        handler: &str,
        (bytes, signature): (Vec<u8>, Option<String>),
        (every, span): (usize, Duration),
        asked: Reason,
    ) -> Result<(), Busy> {
        let digest = Digest::of(&bytes);
        let run = Arc::new(Run {
            digest,
            every,
            span,
            dropped: Arc::default(),
            phase: Mutex::new(Phase::Verifying),
            tally: Mutex::default(),
            shown: Mutex::default(),
            asked,
            stopped: AtomicBool::new(false),
            stopped_by: OnceLock::new(),
        });
        let mut runs = lock(&self.runs);
        if runs.get(handler).is_some_and(|run| run.is_active()) {
            return Err(Busy::Handler);
        }
        if runs.values().filter(|run| run.is_active()).count() >= limits::SHADOWS_MAX {
            return Err(Busy::Node);
        }
        // What has ended makes room.
        while runs.len() >= limits::SHADOWS_KEPT_MAX {
            let Some(ended) = runs.iter().find(|(_, run)| !run.is_active()).map(|(name, _)| name.clone()) else {
                break;
            };
            runs.remove(&ended);
        }
        runs.insert(handler.to_owned(), Arc::clone(&run));
        lock(&self.orders).push_back(Order { handler: handler.to_owned(), bytes, signature, run });
        self.news.notify_one();
        Ok(())
    }

    /// The next order.
    pub async fn ordered(&self) -> Order {
        loop {
            if let Some(order) = lock(&self.orders).pop_front() {
                return order;
            }
            self.news.notified().await;
        }
    }

    /// The last shadow of a handler.
    pub fn of(&self, handler: &str) -> Option<Arc<Run>> {
        lock(&self.runs).get(handler).cloned()
    }

    /// Ends the shadow of a handler. Returns it if there is one that has not ended.
    pub fn stop(&self, handler: &str, asked: Reason) -> Option<Arc<Run>> {
        let run = self.of(handler).filter(|run| run.is_active())?;
        // Whoever asks first has stopped it.
        let _ = run.stopped_by.set(asked);
        run.stopped.store(true, Ordering::Relaxed);
        Some(run)
    }
}

impl Run {
    /// How far it is.
    pub fn phase(&self) -> Phase {
        lock(&self.phase).clone()
    }

    /// Goes on to another phase.
    pub fn enter(&self, phase: Phase) {
        *lock(&self.phase) = phase;
    }

    /// What it has counted.
    pub fn tally(&self) -> Tally {
        let mut shown = lock(&self.shown);
        // Its thread has the lowest priority: whoever asks does not wait for it.
        if let Ok(tally) = self.tally.try_lock() {
            shown.clone_from(&tally);
        }
        shown.clone()
    }

    /// Whether it is to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Who has stopped it, and why, if somebody has.
    pub fn stopped_by(&self) -> Option<&Reason> {
        self.stopped_by.get()
    }

    /// Whether it has not ended.
    pub fn is_active(&self) -> bool {
        matches!(self.phase(), Phase::Verifying | Phase::Running(_))
    }

    /// Runs a request that was answered on the candidate too, and counts where it decides otherwise.
    pub fn take(&self, sides: &Sides<'_>, record: &Record) {
        let compared = sides.live(record);
        let mut tally = lock(&self.tally);
        match compared {
            Ok(differences) => tally.add(places(&differences)),
            Err(why) => tally.skip(why),
        }
    }
}

/// No change is half-done when a lock is released, even by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handler_has_one_shadow_and_a_node_a_few() {
        let shadows = Shadows::default();
        let asked = || Reason { who: "ana".to_owned(), why: "a test".to_owned() };
        let sample = (10, Duration::from_secs(1));
        let order = |name: &str| shadows.order(name, (b"x".to_vec(), None), sample, asked());
        assert_eq!((order("0"), order("0")), (Ok(()), Err(Busy::Handler)));
        for number in 1..limits::SHADOWS_MAX {
            assert_eq!(order(&number.to_string()), Ok(()));
        }
        assert_eq!(order("more"), Err(Busy::Node));
        let first = shadows.ordered().await;
        assert_eq!((first.handler.as_str(), first.run.phase()), ("0", Phase::Verifying));
        assert!(shadows.stop("0", asked()).is_some() && first.run.is_stopped());
        assert!(first.run.stopped_by().is_some() && shadows.stop("none", asked()).is_none());
        first.run.enter(Phase::Ended);
        assert!(shadows.stop("0", asked()).is_none() && !shadows.of("0").unwrap().is_active());
        // What has ended is kept until there are too many.
        for number in 0..2 * limits::SHADOWS_KEPT_MAX {
            let name = format!("a{number}");
            assert_eq!(order(&name), Ok(()));
            shadows.of(&name).unwrap().enter(Phase::Ended);
        }
        assert!(lock(&shadows.runs).len() <= limits::SHADOWS_KEPT_MAX);
    }
}
