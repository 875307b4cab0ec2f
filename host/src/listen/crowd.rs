//! The open connections of a listener, up to its limit. When all places are taken, a new connection replaces the one
//! that has waited longest for its client. Connections whose client does not read its answer are replaced first.
//! A connection that is being served is never replaced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::{self, ClientTimeouts};
use crate::place::{Leave, Place};

/// The open connections. The lock is taken when a connection opens, closes or is chosen to leave, not per request.
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

/// A connection's entry, which is removed when this is dropped.
pub struct Seat {
    /// The place of the connection.
    pub place: Arc<Place>,
    crowd: Arc<Crowd>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Crowd {
    /// A crowd without connections.
    pub fn new(connections_max: usize, timeouts: ClientTimeouts) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(connections_max));
        Arc::new(Self { zero: Instant::now(), timeouts, free, seats: Mutex::default() })
    }

    /// Admits a new connection as soon as there is a place. `made_room` is called for each connection that was asked to
    /// leave.
    pub async fn enter(self: &Arc<Self>, mut made_room: impl FnMut()) -> Seat {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return self.seat(permit);
        }
        loop {
            if self.make_room() {
                made_room();
            }
            // A connection that was asked ends within a turn of the scheduler. If none was asked, one may still end.
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(Ok(permit)) = timeout(limits::ROOM_PAUSE, free).await {
                return self.seat(permit);
            }
        }
    }

    /// Asks the connection that has waited longest for its client to leave. Returns whether one was found.
    pub fn make_room(&self) -> bool {
        let seats = self.seats();
        let now = Instant::now();
        let longest = seats.taken.values().filter_map(|place| Some((place.turn(now)?, place)));
        let longest = longest.min_by_key(|(turn, _)| *turn);
        longest.inspect(|(_, place)| place.ask(Leave::AtOnce)).is_some()
    }

    /// Asks all connections to leave after their current requests.
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
        // No change under the lock is left half-done.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.seats().taken.remove(&self.number);
    }
}
