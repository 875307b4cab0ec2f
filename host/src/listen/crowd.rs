//! The open connections of a listener, up to as many as it may have. When all places are taken, the connection that has
//! waited longest for its client leaves for the newcomer, before all others one whose client does not take its answer;
//! one that is being served never does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::{self, ClientTimeouts};
use crate::place::{Leave, Place};

/// Who is there. Its lock is taken when a connection comes, goes or is chosen to leave, not for a request.
pub struct Crowd {
    zero: Instant,
    timeouts: ClientTimeouts,
    free: Arc<Semaphore>,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Arc<Place>>,
}

/// A connection's entry, until this is dropped.
pub struct Seat {
    /// What it does.
    pub place: Arc<Place>,
    crowd: Arc<Crowd>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(connections_max: usize, timeouts: ClientTimeouts) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(connections_max));
        Arc::new(Self { zero: Instant::now(), timeouts, free, seats: Mutex::default() })
    }

    /// Lets a newcomer in, as soon as there is a place. `made_room` is called for each connection that was asked to
    /// leave.
    pub async fn enter(self: &Arc<Self>, mut made_room: impl FnMut()) -> Seat {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return self.seat(permit);
        }
        loop {
            if self.make_room() {
                made_room();
            }
            // Who was asked ends within a turn of the scheduler. When nobody was, one may be done at any moment.
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(Ok(permit)) = timeout(limits::ROOM_PAUSE, free).await {
                return self.seat(permit);
            }
        }
    }

    /// Asks the connection that has waited longest for its client to leave. Returns whether there was one.
    pub fn make_room(&self) -> bool {
        let seats = self.seats();
        let now = Instant::now();
        let longest = seats.taken.values().filter_map(|place| Some((place.turn(now)?, place)));
        let longest = longest.min_by_key(|(turn, _)| *turn);
        longest.inspect(|(_, place)| place.ask(Leave::AtOnce)).is_some()
    }

    /// Asks all to leave behind their requests.
    pub fn dismiss(&self) {
        self.seats().taken.values().for_each(|place| place.ask(Leave::Behind));
    }

    fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Seat {
        let place = Arc::new(Place::new(self.zero, self.timeouts));
        let mut seats = self.seats();
        let number = seats.next;
        seats.next += 1;
        seats.taken.insert(number, Arc::clone(&place));
        Seat { place, crowd: Arc::clone(self), number, _permit: permit }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        // Nothing is left half-done under it.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.seats().taken.remove(&self.number);
    }
}
