//! The place of one connection: whether it waits for its client or is served, since when, and whether it was asked to
//! leave. A client that does not take its answer leaves first, then who waits for a request, then who waits for a body.
//! Its connection writes it with plain stores, at the edges of a request; nobody takes a lock for it.
//!
//! Made by `listen`, which chooses by it whom to close for a newcomer. `wire` notes that a body has not come yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use crate::limits::{self, ClientTimeouts};

/// What a connection does, and what it is asked to do.
#[derive(Debug)]
pub struct Place {
    /// What `since` counts from: the same for all connections of a listener.
    zero: Instant,
    /// Even while it waits for a request, odd while it answers one. A count and not a flag, so that a request that came
    /// and went between two looks is noticed.
    requests: AtomicU64,
    /// When it began to wait for its client, in microseconds; `IDLE` is set while that is between two requests, `BODY`
    /// while it is in the middle of one, neither while an answer is not taken. `SERVED` while it does not wait.
    since: AtomicU64,
    asked: AtomicU8,
    task: AtomicWaker,
    /// How long its client is waited for.
    pub timeouts: ClientTimeouts,
}

/// Above every number of microseconds: who does not take an answer leaves before all who are idle, and who waits for a
/// body after them.
const IDLE: u64 = 1 << 62;
const BODY: u64 = 1 << 63;
const SERVED: u64 = u64::MAX;

/// What a connection is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Leave {
    /// Nothing.
    Stay = 0,
    /// To end behind the request that it has, or has begun to read.
    Behind = 1,
    /// To end at once, unless it serves a request: a newcomer needs the place.
    AtOnce = 2,
}

/// A request is being answered, until this is dropped.
pub struct Busy(Arc<Place>);

impl Place {
    /// The place of a connection that was just accepted; times count from `zero`.
    pub fn new(zero: Instant, timeouts: ClientTimeouts) -> Self {
        let place = Self {
            zero,
            requests: AtomicU64::new(0),
            since: AtomicU64::new(SERVED),
            asked: AtomicU8::new(Leave::Stay as u8),
            task: AtomicWaker::new(),
            timeouts,
        };
        place.since.store(IDLE | micros(zero.elapsed()), Ordering::Relaxed);
        place
    }

    /// Called when a request begins to be answered.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.since.store(SERVED, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Twice the requests it has answered, and one more while it answers one.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Called whenever nothing is left to write: behind an answer, the wait for the next request begins.
    pub fn flushed(&self) {
        let since = self.since.load(Ordering::Relaxed);
        if (since == SERVED || is_stalled(since)) && self.requests().is_multiple_of(2) {
            self.since.store(IDLE | micros(self.zero.elapsed()), Ordering::Relaxed);
        }
    }

    /// Notes that the client takes nothing of an answer. `progress`: since the last time it took some of it.
    pub fn stalls(&self, progress: bool) {
        let since = self.since.load(Ordering::Relaxed);
        if (since == SERVED || progress && is_stalled(since)) && self.requests().is_multiple_of(2) {
            self.since.store(micros(self.zero.elapsed()), Ordering::Relaxed);
        }
    }

    /// Whether the connection is to end though its answer is not written: it was asked to leave, and its client has
    /// taken nothing for a while.
    pub fn is_given_up(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        self.asked() == Leave::AtOnce && is_stalled(since) && self.waited(since, Instant::now()) >= limits::WRITE_GRACE
    }

    /// Notes that the request's body has not come yet.
    pub fn awaits_body(&self) {
        if self.since.load(Ordering::Relaxed) == SERVED {
            self.since.store(BODY | micros(self.zero.elapsed()), Ordering::Relaxed);
        }
    }

    /// Notes that it has.
    pub fn has_body(&self) {
        self.since.store(SERVED, Ordering::Relaxed);
    }

    /// Who has the least leaves first. `None` for who is served, who was asked already, and who has not waited long:
    /// what a client sent may not have been read yet, and what was sent to it may be under way.
    pub fn turn(&self, now: Instant) -> Option<u64> {
        let since = self.since.load(Ordering::Relaxed);
        let least = if is_stalled(since) { limits::WRITE_GRACE } else { limits::ROOM_GRACE };
        let leaves = since != SERVED && self.waited(since, now) >= least && self.asked() == Leave::Stay;
        leaves.then_some(since)
    }

    fn waited(&self, since: u64, now: Instant) -> Duration {
        now.saturating_duration_since(self.zero).saturating_sub(Duration::from_micros(since & !(IDLE | BODY)))
    }

    /// Asks the connection to leave. Its own task decides, so a request that came meanwhile is answered.
    pub fn ask(&self, leave: Leave) {
        self.asked.fetch_max(leave as u8, Ordering::AcqRel);
        self.task.wake();
    }

    /// What it was asked.
    pub fn asked(&self) -> Leave {
        match self.asked.load(Ordering::Acquire) {
            0 => Leave::Stay,
            1 => Leave::Behind,
            _ => Leave::AtOnce,
        }
    }

    /// As [`Place::asked`], and the task is woken when something is asked.
    pub fn poll_asked(&self, cx: &Context<'_>) -> Leave {
        self.task.register(cx.waker());
        self.asked()
    }
}

/// Below `IDLE` for 146,000 years.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX) & !(IDLE | BODY)
}

fn is_stalled(since: u64) -> bool {
    since < IDLE
}

impl Drop for Busy {
    fn drop(&mut self) {
        // Also when its body never came: the answer is still to be written.
        self.0.since.store(SERVED, Ordering::Relaxed);
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if a minute had passed.
    fn turn(place: &Place) -> Option<u64> {
        place.turn(Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn who_waits_for_a_request_leaves_before_who_waits_for_a_body_and_who_is_served_stays() {
        let zero = Instant::now();
        let [idle, sending, served] = [(); 3].map(|()| Arc::new(Place::new(zero, ClientTimeouts::default())));
        let _busy = (sending.busy(), served.busy());
        sending.awaits_body();
        assert!(turn(&idle).is_some() && turn(&idle) < turn(&sending));
        assert_eq!(turn(&served), None);
        sending.has_body();
        assert_eq!(turn(&sending), None);
    }

    #[test]
    fn an_answer_that_is_not_written_yet_is_not_idle() {
        let place = Arc::new(Place::new(Instant::now(), ClientTimeouts::default()));
        drop(place.busy());
        assert_eq!(turn(&place), None);
        place.flushed();
        assert!(turn(&place).is_some());
    }

    #[test]
    fn who_just_came_stays() {
        let zero = Instant::now();
        let place = Place::new(zero, ClientTimeouts::default());
        assert_eq!(place.turn(zero), None);
        assert!(place.turn(zero + limits::ROOM_GRACE * 2).is_some());
    }

    #[test]
    fn who_does_not_take_an_answer_leaves_first_and_only_when_it_took_nothing_for_a_while() {
        let zero = Instant::now();
        let [idle, stalled] = [(); 2].map(|()| Arc::new(Place::new(zero, ClientTimeouts::default())));
        let busy = stalled.busy();
        // What is written while a request is served (100 Continue) is not its answer.
        stalled.stalls(false);
        assert_eq!(turn(&stalled), None);
        drop(busy);
        stalled.stalls(false);
        assert!(turn(&stalled) < turn(&idle) && turn(&stalled).is_some());
        assert_eq!(stalled.turn(zero + limits::WRITE_GRACE - Duration::from_millis(1)), None);
        let since = turn(&stalled);
        std::thread::sleep(Duration::from_millis(1));
        stalled.stalls(false);
        assert_eq!(turn(&stalled), since);
        stalled.stalls(true);
        assert!(turn(&stalled) > since);
        // It took the rest: an idle one like any other.
        stalled.flushed();
        assert!(turn(&stalled) > turn(&idle));
    }

    #[test]
    fn nobody_is_asked_twice() {
        let place = Place::new(Instant::now(), ClientTimeouts::default());
        place.ask(Leave::AtOnce);
        place.ask(Leave::Behind);
        assert_eq!((turn(&place), place.asked()), (None, Leave::AtOnce));
    }
}
