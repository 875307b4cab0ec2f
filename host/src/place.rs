//! The place of one connection: whether it waits for its client or is served, since when, and whether it was asked to
//! leave. A connection whose client does not take its answer leaves first, then one that waits for a request, then one
//! that waits for a body. The connection updates its place with plain stores at the start and end of a request, without
//! a lock.
//!
//! `listen` creates places and uses them to choose which connection to close for a new one. `wire` notes when a body
//! has not arrived yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use crate::limits::{self, ClientTimeouts};

/// The activity of a connection, and the requests to leave.
#[derive(Debug)]
pub struct Place {
    /// The start of `since`. It is the same for all connections of a listener.
    zero: Instant,
    /// Even while it waits for a request, odd while it answers one. It is a count instead of a flag, so that a request
    /// that was answered between two reads is noticed.
    requests: AtomicU64,
    /// When it began to wait for its client, in microseconds. `IDLE` is set while it waits between two requests, `BODY`
    /// while it waits within one, neither while the client does not take an answer. `SERVED` while it does not wait.
    since: AtomicU64,
    asked: AtomicU8,
    task: AtomicWaker,
    /// How long to wait for its client.
    pub timeouts: ClientTimeouts,
}

/// Greater than every number of microseconds. Connections whose answer is not taken therefore leave before idle ones,
/// and those that wait for a body leave after them.
const IDLE: u64 = 1 << 62;
const BODY: u64 = 1 << 63;
const SERVED: u64 = u64::MAX;

/// How a connection is asked to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Leave {
    /// It is not asked to leave.
    Stay = 0,
    /// It ends after its current request, including one that it has begun to read.
    Behind = 1,
    /// It ends at once, unless it serves a request, because a new connection needs the place.
    AtOnce = 2,
}

/// Marks a request as being answered until it is dropped.
pub struct Busy(Arc<Place>);

impl Place {
    /// The place of a connection that was just accepted. Times count from `zero`.
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

    /// Notes that a request begins to be answered.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.since.store(SERVED, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Twice the number of answered requests, plus one while it answers a request.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Notes that nothing is left to write. After an answer, the wait for the next request begins.
    pub fn flushed(&self) {
        let since = self.since.load(Ordering::Relaxed);
        if (since == SERVED || is_stalled(since)) && self.requests().is_multiple_of(2) {
            self.since.store(IDLE | micros(self.zero.elapsed()), Ordering::Relaxed);
        }
    }

    /// Notes that the client does not read the answer. `progress`: whether it has read some of it since the last call.
    pub fn stalls(&self, progress: bool) {
        let since = self.since.load(Ordering::Relaxed);
        if (since == SERVED || progress && is_stalled(since)) && self.requests().is_multiple_of(2) {
            self.since.store(micros(self.zero.elapsed()), Ordering::Relaxed);
        }
    }

    /// Whether the connection should end although its answer is not written, because it was asked to leave and its
    /// client has read nothing for a while.
    pub fn is_given_up(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        self.asked() == Leave::AtOnce && is_stalled(since) && self.waited(since, Instant::now()) >= limits::WRITE_GRACE
    }

    /// Notes that the request's body has not arrived yet.
    pub fn awaits_body(&self) {
        if self.since.load(Ordering::Relaxed) == SERVED {
            self.since.store(BODY | micros(self.zero.elapsed()), Ordering::Relaxed);
        }
    }

    /// Notes that the request's body has arrived.
    pub fn has_body(&self) {
        self.since.store(SERVED, Ordering::Relaxed);
    }

    /// The order of leaving: the connection with the smallest value leaves first. `None` if the connection is served,
    /// was already asked, or has not waited long, because data may be in transit in either direction.
    pub fn turn(&self, now: Instant) -> Option<u64> {
        let since = self.since.load(Ordering::Relaxed);
        let least = if is_stalled(since) { limits::WRITE_GRACE } else { limits::ROOM_GRACE };
        let leaves = since != SERVED && self.waited(since, now) >= least && self.asked() == Leave::Stay;
        leaves.then_some(since)
    }

    fn waited(&self, since: u64, now: Instant) -> Duration {
        now.saturating_duration_since(self.zero).saturating_sub(Duration::from_micros(since & !(IDLE | BODY)))
    }

    /// Asks the connection to leave. Its own task decides, so a request that arrived in the meantime is answered.
    pub fn ask(&self, leave: Leave) {
        self.asked.fetch_max(leave as u8, Ordering::AcqRel);
        self.task.wake();
    }

    /// How it was asked to leave.
    pub fn asked(&self) -> Leave {
        match self.asked.load(Ordering::Acquire) {
            0 => Leave::Stay,
            1 => Leave::Behind,
            _ => Leave::AtOnce,
        }
    }

    /// As [`Place::asked`], but also wakes the task when the connection is asked to leave.
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
        // This holds even if the body never arrived, because the answer must still be written.
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
        // Data written while a request is served (100 Continue) is not its answer.
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
        // The client has read the rest, so the connection is idle like any other.
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
