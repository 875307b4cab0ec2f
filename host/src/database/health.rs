//! The state of the database: whether calls are sent to it, whether they are answered, and whether the pool has all its
//! connections. The first failure and the recovery are logged, not every call of an outage.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::connect::open::Unreachable;
use super::connect::target::Target;
use crate::events::{Events, Kind};
use crate::failure::Failure;

/// The state of a database.
pub(super) struct Health {
    /// For the log.
    target: Target,
    events: Arc<Events>,
    ready: AtomicBool,
    /// Whether the last call could not be answered.
    failing: AtomicBool,
    /// Whether a call was answered since the caretaker last checked.
    answered: AtomicBool,
    /// Whether a call found that its procedure has changed since it was looked up.
    changed: AtomicBool,
    /// Why there are fewer connections than there should be.
    shortage: Mutex<Option<String>>,
}

impl Health {
    /// The state before the first connection.
    pub(super) fn new(target: &Target, events: &Arc<Events>) -> Self {
        Self {
            target: target.clone(),
            events: Arc::clone(events),
            ready: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            shortage: Mutex::default(),
        }
    }

    /// Whether calls are sent to it.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Calls are sent to it from now on.
    pub(super) fn start(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// As [`Self::start`], after it was unavailable.
    pub(super) fn recover(&self) {
        if !self.ready.swap(true, Ordering::Relaxed) {
            tracing::info!(database = %self.target, "database available again");
            self.events.note(Kind::Recovery, None, None, "database available again");
        }
    }

    /// Calls are no longer sent to it. Returns whether they were.
    pub(super) fn fail(&self, cause: &impl std::fmt::Display) -> bool {
        let was_ready = self.ready.swap(false, Ordering::Relaxed);
        if was_ready {
            tracing::error!(database = %self.target, %cause, "database unavailable");
            self.events.note(Kind::Outage, None, None, format!("database unavailable: {cause}"));
        }
        was_ready
    }

    /// Records the outcome of a call.
    pub(super) fn note_outcome(&self, failure: Option<&Failure>) {
        if let Some(failure @ Failure::Unavailable { .. }) = failure {
            if !self.failing.swap(true, Ordering::Relaxed) {
                tracing::warn!(cause = %failure, "database calls are failing");
            }
            return;
        }
        // All workers share the flag: read first, so that they do not contend for its cache line.
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
        if failure.is_none() && self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(database = %self.target, "database calls succeed again");
        }
    }

    /// Returns whether a call was answered since the last check, and resets that.
    pub(super) fn take_answered(&self) -> bool {
        self.answered.swap(false, Ordering::Relaxed)
    }

    /// Records that a call found its procedure changed since it was looked up.
    pub(super) fn note_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Returns whether that was recorded since the last check, and resets it.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Records that the pool has fewer connections than wanted.
    pub(super) fn note_short(&self, error: &Unreachable, connections: usize, wanted: usize) {
        if self.shortage().replace(error.to_string()).is_none() {
            tracing::warn!(connections, wanted, cause = %error, "the pool is short of connections and serves with these");
        }
    }

    /// Records that the pool has all its connections.
    pub(super) fn note_full(&self, connections: usize) {
        if self.shortage().take().is_some() {
            tracing::info!(connections, "the pool is full again");
        }
    }

    /// Why a connection is missing, if one is.
    pub(super) fn cause_of_shortage(&self) -> Option<String> {
        self.shortage().clone()
    }

    fn shortage(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.shortage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
