//! One set of connections of the pool: those nobody uses, and how many there are. Hands them out and takes them back;
//! never makes one, so nobody who waits here waits for the network: `caretaker` makes them.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::connection::Connection;
use super::waiting::{Waiting, Waits};
use crate::metrics::PoolCount;

/// All connections for calls by themselves, or for batches.
pub(super) struct Connections {
    /// Idle ones. The one used last is on top and is used first, because its backend has warm plans and caches. If they
    /// took turns, each of a node's eight backends would have cold ones.
    idle: Mutex<Vec<Connection>>,
    /// As many as there are idle ones, or fewer: who gets a permit may find that its connection was let go.
    permits: Semaphore,
    /// Those in use too, of the present epoch: as many as there are `ends`.
    size: AtomicUsize,
    /// How many there should be.
    wanted: AtomicUsize,
    /// Those of an earlier one are to a database that was given up.
    epoch: AtomicU64,
    /// When each of them will be too old. What changes how many there are, or the epoch, holds its lock.
    ends: Mutex<Vec<Instant>>,
    /// Calls that wait for one.
    waiting: Waiting,
    /// There is a connection less, or there should be more.
    lost: Notify,
    /// All of them were given up: waiting for one is useless.
    given_up: Notify,
    /// Whether a call met a procedure that had to be looked up again.
    outdated: AtomicBool,
}

impl Connections {
    /// None yet.
    pub(super) fn new(wanted: usize) -> Self {
        Self {
            idle: Mutex::new(Vec::with_capacity(wanted + 1)),
            permits: Semaphore::new(0),
            size: AtomicUsize::new(0),
            wanted: AtomicUsize::new(wanted),
            epoch: AtomicU64::new(0),
            ends: Mutex::default(),
            waiting: Waiting::default(),
            lost: Notify::new(),
            given_up: Notify::new(),
            outdated: AtomicBool::new(false),
        }
    }

    /// A connection, as soon as there is one; `None` when the pool is closed.
    pub(super) async fn get(self: &Arc<Self>) -> Option<Client> {
        loop {
            self.permits.acquire().await.ok()?.forget();
            if let Some(client) = self.pop() {
                return Some(client);
            }
        }
    }

    /// A connection, if one is idle.
    pub(super) fn try_get(self: &Arc<Self>) -> Option<Client> {
        while let Ok(permit) = self.permits.try_acquire() {
            permit.forget();
            if let Some(client) = self.pop() {
                return Some(client);
            }
        }
        None
    }

    /// What the permit was for, if it is still there and of use.
    fn pop(self: &Arc<Self>) -> Option<Client> {
        let connection = self.idle().pop()?;
        if self.is_useful(&connection) {
            return Some(Client { connection: Some(connection), home: Arc::clone(self) });
        }
        self.lose(connection);
        None
    }

    /// Connections that are begun now are of this epoch, until [`Self::give_up`].
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Adds one below the others, which are warm; unless the database was given up since it was begun.
    pub(super) fn add(&self, connection: Connection) {
        let mut ends = self.ends();
        if !self.is_useful(&connection) {
            return;
        }
        ends.push(connection.end());
        self.size.store(ends.len(), Ordering::Release);
        self.idle().insert(0, connection);
        self.permits.add_permits(1);
    }

    fn give_back(&self, connection: Connection) {
        let renewed = self.size() > self.wanted() && connection.is_old();
        if renewed || !self.is_useful(&connection) {
            return self.lose(connection);
        }
        self.idle().push(connection);
        self.permits.add_permits(1);
    }

    /// Closes all of them, those in use when they are returned: the database is unusable. From now on none of them
    /// counts, so that others can replace them at once.
    pub(super) fn give_up(&self) {
        let mut ends = self.ends();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        ends.clear();
        self.size.store(0, Ordering::Release);
        drop(ends);
        self.sweep();
        self.given_up.notify_waiters();
    }

    /// Lets those idle ones go that are of no use any more.
    pub(super) fn sweep(&self) {
        self.let_go(|connection| !self.is_useful(connection));
    }

    /// Lets an idle one go that is too old; false when there is none.
    pub(super) fn let_an_old_one_go(&self) -> bool {
        let mut gone = false;
        self.let_go(|connection| {
            let goes = !gone && connection.is_old();
            gone |= goes;
            goes
        });
        gone
    }

    /// Whether one of them, idle or not, is too old.
    pub(super) fn has_an_old_one(&self) -> bool {
        let now = Instant::now();
        self.ends().iter().any(|end| *end <= now)
    }

    fn let_go(&self, mut which: impl FnMut(&Connection) -> bool) {
        let gone: Vec<_> = self.idle().extract_if(.., |connection| which(connection)).collect();
        // Who has a permit of one of them already finds nothing and waits again.
        self.permits.forget_permits(gone.len());
        gone.into_iter().for_each(|connection| self.lose(connection));
    }

    /// Does something with each idle one.
    pub(super) fn for_each_idle(&self, act: impl FnMut(&Connection)) {
        self.idle().iter().for_each(act);
    }

    fn lose(&self, connection: Connection) {
        let mut ends = self.ends();
        // Those of an earlier epoch count no longer.
        if connection.epoch() == self.epoch()
            && let Some(index) = ends.iter().position(|end| *end == connection.end())
        {
            ends.swap_remove(index);
            self.size.store(ends.len(), Ordering::Release);
        }
        drop(ends);
        drop(connection);
        self.lost.notify_one();
    }

    fn is_useful(&self, connection: &Connection) -> bool {
        !connection.is_closed() && connection.epoch() == self.epoch()
    }

    /// How many there are, those in use too.
    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Acquire)
    }

    /// How many there should be.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Acquire)
    }

    /// Changes how many there should be. Idle ones that are too many are let go, others when they are old.
    pub(super) fn want(&self, wanted: usize) {
        self.wanted.store(wanted, Ordering::Release);
        let mut surplus = self.size().saturating_sub(wanted);
        self.let_go(|_| {
            let goes = surplus > 0;
            surplus = surplus.saturating_sub(1);
            goes
        });
        self.lost.notify_one();
    }

    /// Whether there are fewer than there should be, or none.
    pub(super) fn is_short(&self) -> bool {
        self.size() < self.wanted().max(1)
    }

    /// How many nobody uses.
    pub(super) fn idle_count(&self) -> usize {
        self.idle().len()
    }

    /// How many are missing of those that there should be.
    pub(super) fn missing(&self) -> usize {
        self.wanted().saturating_sub(self.size())
    }

    /// Counts who waits for one, until the result is dropped.
    pub(super) fn begin_waiting(&self) -> Waits<'_> {
        self.waiting.begin()
    }

    /// Waits until there is a connection less, or there should be more.
    pub(super) fn lost(&self) -> Notified<'_> {
        self.lost.notified()
    }

    /// Waits until all of them are given up. Counts from this call on, not from the first poll.
    pub(super) fn given_up(&self) -> Notified<'_> {
        self.given_up.notified()
    }

    /// Whether a call met a procedure that had to be looked up again, since this was last asked.
    pub(super) fn take_outdated(&self) -> bool {
        self.outdated.swap(false, Ordering::Relaxed)
    }

    /// For the metrics.
    pub(super) fn count(&self) -> PoolCount {
        let (idle, open) = (self.idle_count(), self.size());
        let waiting = self.waiting.count();
        PoolCount { wanted: self.wanted(), open, in_use: open.saturating_sub(idle), waiting }
    }

    /// Whether it gives out none.
    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    /// Gives out no more of them.
    pub(super) fn close(&self) {
        self.permits.close();
        self.give_up();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // Every change of it is whole when the lock is given back, also by a panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. It goes back to the pool by itself.
pub(super) struct Client {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    home: Arc<Connections>,
}

impl Client {
    /// Ends the connection: what still comes back on it would be taken for the answer to another call, or it is to a
    /// database that is of no use.
    pub(super) fn discard(mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.lose(connection);
        }
    }

    /// A procedure has to be looked up again.
    pub(super) fn note_outdated(&self) {
        self.home.outdated.store(true, Ordering::Relaxed);
    }
}

impl Deref for Client {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is taken only by the drop and by `discard`, which take the client")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.give_back(connection);
        }
    }
}
