//! Where calls wait for their statement: a lane for each procedure with a batch form, shared by all handlers that
//! grant it. Most of its calls wait together, for the next batch. A key whose row is locked or slow is *apart*: its
//! calls wait in a separate queue, in order, until one of them was answered quickly.
//!
//! It sends nothing; `batch` takes the next calls and reports their outcome. Keys are only compared for equality.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::waiter::{Key, Waiter};
use crate::contract::Value;
use crate::failure::Failure;
use crate::limits;
use crate::metrics::{NO_SQLSTATE, ProcedureMetrics};

/// Where the calls of one procedure wait. A call that finds the lane free starts a task that executes waiting calls
/// until none is left.
pub(super) struct Lane {
    state: Mutex<State>,
    /// The metrics of its procedure.
    counted: Arc<ProcedureMetrics>,
    /// Whether the last batch had to be split; only changes are logged.
    broken: AtomicBool,
    /// Whether a call timed out waiting for its row since a key returned to batches; only changes are logged.
    stuck: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The calls of the next batches.
    together: VecDeque<Waiter>,
    /// Whether a task is executing them.
    busy: bool,
    /// The keys whose calls are not batched.
    apart: HashMap<Key, Apart>,
    /// The ticket of the next call that waits.
    next_ticket: u64,
}

/// A key that is apart. It stays apart, even without calls, until one of its calls was answered.
#[derive(Default)]
struct Apart {
    calls: VecDeque<Waiter>,
    /// Whether a task is executing them, one after the other.
    busy: bool,
}

/// The task that the caller has to start after it changed a lane.
pub(super) enum Start {
    Nothing,
    /// The one that executes batches.
    Together,
    /// The one that executes the calls of a key.
    Apart(Key),
}

/// Where a call was when its caller stopped waiting. One that was not sent hands its arguments back.
#[derive(Debug)]
pub(super) enum Left {
    /// It waited for a batch.
    Together(Vec<Value>),
    /// It waited for an earlier call of its key.
    Apart(Vec<Value>),
    /// It was sent, or it will be answered without being sent.
    Sent,
}

impl Lane {
    /// Creates a lane without calls.
    pub(super) fn new(counted: Arc<ProcedureMetrics>) -> Self {
        Self { state: Mutex::default(), counted, broken: AtomicBool::new(false), stuck: AtomicBool::new(false) }
    }

    /// The metrics of its procedure.
    pub(super) fn counted(&self) -> &ProcedureMetrics {
        &self.counted
    }

    /// Records whether the last batch had to be split. Returns whether that changed.
    pub(super) fn note_broken(&self, broken: bool) -> bool {
        self.broken.swap(broken, Ordering::Relaxed) != broken
    }

    /// Records whether a call timed out waiting for its row. Returns whether that changed.
    pub(super) fn note_stuck(&self, stuck: bool) -> bool {
        self.stuck.swap(stuck, Ordering::Relaxed) != stuck
    }

    /// Calls that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        let state = self.state();
        state.together.len() + state.apart.values().map(|apart| apart.calls.len()).sum::<usize>()
    }

    /// Queues a call. Returns its ticket, and which task must be started for it; or its arguments, when too many calls
    /// wait.
    pub(super) fn join(&self, mut waiter: Waiter) -> Result<(u64, Start), Vec<Value>> {
        let mut state = self.state();
        let ticket = state.next_ticket;
        waiter.set_ticket(ticket);
        state.next_ticket += 1;
        // Nearly always no key is apart, and then the key is not computed.
        let key = (!state.apart.is_empty()).then(|| waiter.key()).filter(|key| state.apart.contains_key(key));
        Ok((
            ticket,
            match key {
                Some(key) => state.join_apart(key, waiter)?,
                None => state.join_together(waiter)?,
            },
        ))
    }

    /// Removes a call whose caller no longer waits for it.
    pub(super) fn leave(&self, ticket: u64) -> Left {
        let mut state = self.state();
        let remove = |calls: &mut VecDeque<Waiter>| {
            let place = calls.iter().position(|waiter| waiter.ticket() == ticket);
            place.and_then(|place| calls.remove(place)).map(Waiter::into_arguments)
        };
        if let Some(arguments) = remove(&mut state.together) {
            return Left::Together(arguments);
        }
        state.apart.values_mut().find_map(|apart| remove(&mut apart.calls)).map_or(Left::Sent, Left::Apart)
    }

    /// Lets requests that already arrived join: yields to the ready tasks of this worker until no more calls are added.
    /// It does not wait for anything else. Without it, the calls that follow a finished batch would be sent in
    /// statements of 1, 2, 4 and 8 calls, because the first of them finds the lane free.
    pub(super) async fn gather(&self) {
        let mut before = 0;
        loop {
            let waiting = self.state().together.len();
            if waiting == before || waiting >= limits::BATCH_CALLS_MAX {
                return;
            }
            before = waiting;
            tokio::task::yield_now().await;
        }
    }

    /// The calls of the next statement, all with the same description of the procedure. Empty when no call waits; the
    /// lane is then free.
    pub(super) fn next_together(&self) -> Vec<Waiter> {
        let mut state = self.state();
        let mut batch: Vec<Waiter> = Vec::new();
        let mut bytes = 0;
        while batch.len() < limits::BATCH_CALLS_MAX {
            let Some(next) = state.together.front() else { break };
            bytes += next.bytes();
            let fits = |first: &Waiter| bytes <= limits::BATCH_BYTES_MAX && next.is_of(first.procedure());
            if !batch.first().is_none_or(fits) {
                break;
            }
            // A call that was not sent yet and that nobody waits for any more is dropped.
            batch.extend(state.together.pop_front().filter(|waiter| !waiter.is_alone()));
        }
        state.busy = !batch.is_empty();
        batch
    }

    /// Sets a key apart with these calls, which were sent and rolled back; calls of the key that already wait are
    /// queued behind them. Calls without time left are answered.
    pub(super) fn set_apart(&self, key: Key, calls: Vec<Waiter>) -> Start {
        let mut state = self.state();
        let others = std::mem::take(&mut state.together);
        let (behind, others): (VecDeque<_>, VecDeque<_>) = others.into_iter().partition(|waiter| waiter.key() == key);
        state.together = others;
        if state.apart.len() >= limits::LANE_CALLS_MAX {
            state.apart.retain(|_, apart| apart.busy);
        }
        let now = Instant::now();
        let apart = state.apart.entry(key.clone()).or_default();
        for waiter in calls.into_iter().chain(behind) {
            // Its caller's own timeout fired while the call was sent, so `leave` did not find it: answer it here.
            if waiter.deadline() <= now {
                waiter.count(&self.counted, now, NO_SQLSTATE);
                waiter.answer(Err(Failure::Unavailable { cause: NO_TIME.to_owned() }));
            } else {
                apart.calls.push_back(waiter);
            }
        }
        if apart.calls.is_empty() || std::mem::replace(&mut apart.busy, true) {
            return Start::Nothing;
        }
        Start::Apart(key)
    }

    /// Whether calls of a key wait. When none does, the key is marked as having no task.
    pub(super) fn has_apart(&self, key: &Key) -> bool {
        let mut state = self.state();
        let Some(apart) = state.apart.get_mut(key) else { return false };
        apart.calls.retain(|waiter| !waiter.is_alone());
        apart.busy = !apart.calls.is_empty();
        apart.busy
    }

    /// Looks at the next call of a key.
    pub(super) fn look_apart<T>(&self, key: &Key, look: impl FnOnce(&Waiter) -> T) -> Option<T> {
        self.state().apart.get(key)?.calls.front().map(look)
    }

    /// The next call of a key. Calls that nobody waits for any more are dropped.
    pub(super) fn next_apart(&self, key: &Key) -> Option<Waiter> {
        let mut state = self.state();
        let calls = &mut state.apart.get_mut(key)?.calls;
        std::iter::from_fn(|| calls.pop_front()).find(|waiter| !waiter.is_alone())
    }

    /// Returns a key to the batches; its waiting calls are queued behind the others.
    pub(super) fn rejoin(&self, key: &Key) -> Start {
        let mut state = self.state();
        let calls = state.apart.remove(key).unwrap_or_default().calls;
        state.together.extend(calls);
        if state.together.is_empty() { Start::Nothing } else { state.start_together() }
    }

    /// Cleans up after a task that panicked: its calls fail, so that none waits for ever.
    pub(super) fn give_up(&self, key: Option<&Key>) {
        let mut state = self.state();
        match key {
            None => {
                state.busy = false;
                state.together.clear();
            }
            Some(key) => drop(state.apart.remove(key)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent whenever the lock is released, even by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cause given for a call that was rolled back and has no time left.
const NO_TIME: &str = "its row is locked or slow, and no time was left to send it again";

impl State {
    fn join_together(&mut self, waiter: Waiter) -> Result<Start, Vec<Value>> {
        if self.together.len() >= limits::LANE_CALLS_MAX {
            return Err(waiter.into_arguments());
        }
        self.together.push_back(waiter);
        Ok(self.start_together())
    }

    fn join_apart(&mut self, key: Key, waiter: Waiter) -> Result<Start, Vec<Value>> {
        let all: usize = self.apart.values().map(|apart| apart.calls.len()).sum();
        let apart = self.apart.entry(key.clone()).or_default();
        if apart.calls.len() >= limits::KEY_CALLS_MAX || all >= limits::LANE_CALLS_MAX {
            return Err(waiter.into_arguments());
        }
        apart.calls.push_back(waiter);
        Ok(if std::mem::replace(&mut apart.busy, true) { Start::Nothing } else { Start::Apart(key) })
    }

    fn start_together(&mut self) -> Start {
        if std::mem::replace(&mut self.busy, true) { Start::Nothing } else { Start::Together }
    }
}
