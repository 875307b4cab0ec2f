//! One set of connections of the pool: the idle ones, and how many there are in all. It hands them out and takes them
//! back, but never opens one, so that no caller waits for the network here: `caretaker` opens them.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::connection::Connection;
use super::waiting::{Waiting, Waits};
use crate::metrics::PoolCount;

/// All connections for calls that are not batched, or all for batches.
pub(super) struct Connections {
    /// The idle connections, as a stack: the one used last is used next, because its backend has warm plans and caches.
    /// If they took turns, each of a node's eight backends would have cold ones.
    idle: Mutex<Vec<Connection>>,
    /// At most one for each idle connection. The holder of a permit may still find that its connection was closed.
    permits: Semaphore,
    /// The connections of the current epoch, idle or in use: equals the length of `ends`.
    size: AtomicUsize,
    /// The number of connections wanted.
    wanted: AtomicUsize,
    /// The current epoch. Connections of an earlier one lead to a database that was given up.
    epoch: AtomicU64,
    /// When each connection becomes too old. Changes to their number or to the epoch are made under this lock.
    ends: Mutex<Vec<Instant>>,
    /// Calls that wait for a connection.
    waiting: Waiting,
    /// Notified when a connection was lost, or the number wanted changed.
    lost: Notify,
    /// Notified when all connections were given up: waiting for one is useless.
    given_up: Notify,
    /// Whether a call found a procedure that had to be looked up again.
    outdated: AtomicBool,
}

impl Connections {
    /// Starts without connections.
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

    /// Waits for an idle connection; `None` when the pool is closed.
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

    /// Takes the connection that a permit stands for, if it is still there and usable.
    fn pop(self: &Arc<Self>) -> Option<Client> {
        let connection = self.idle().pop()?;
        if self.is_useful(&connection) {
            return Some(Client { connection: Some(connection), home: Arc::clone(self) });
        }
        self.lose(connection);
        None
    }

    /// The epoch of connections whose opening begins now. [`Self::give_up`] begins the next one.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Adds a connection below the others, which are warm, unless the database was given up since its opening began.
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

    /// Closes all connections, those in use when they are returned: the database is unusable. They no longer count, so
    /// that others can replace them at once.
    pub(super) fn give_up(&self) {
        let mut ends = self.ends();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        ends.clear();
        self.size.store(0, Ordering::Release);
        drop(ends);
        self.sweep();
        self.given_up.notify_waiters();
    }

    /// Closes the idle connections that are no longer usable.
    pub(super) fn sweep(&self) {
        self.let_go(|connection| !self.is_useful(connection));
    }

    /// Closes one idle connection that is too old. Returns false when none is.
    pub(super) fn let_an_old_one_go(&self) -> bool {
        let mut gone = false;
        self.let_go(|connection| {
            let goes = !gone && connection.is_old();
            gone |= goes;
            goes
        });
        gone
    }

    /// Whether any connection, idle or in use, is too old.
    pub(super) fn has_an_old_one(&self) -> bool {
        let now = Instant::now();
        self.ends().iter().any(|end| *end <= now)
    }

    fn let_go(&self, mut which: impl FnMut(&Connection) -> bool) {
        let gone: Vec<_> = self.idle().extract_if(.., |connection| which(connection)).collect();
        // A caller that already holds a permit for one of them finds nothing and waits again.
        self.permits.forget_permits(gone.len());
        gone.into_iter().for_each(|connection| self.lose(connection));
    }

    /// Calls `act` with each idle connection.
    pub(super) fn for_each_idle(&self, act: impl FnMut(&Connection)) {
        self.idle().iter().for_each(act);
    }

    fn lose(&self, connection: Connection) {
        let mut ends = self.ends();
        // Connections of an earlier epoch no longer count.
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

    /// The number of connections, idle or in use.
    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Acquire)
    }

    /// The number of connections wanted.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Acquire)
    }

    /// Changes the number wanted. Idle connections beyond it are closed now, those in use once they are old.
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

    /// Whether there are fewer connections than wanted, or none.
    pub(super) fn is_short(&self) -> bool {
        self.size() < self.wanted().max(1)
    }

    /// The number of idle connections.
    pub(super) fn idle_count(&self) -> usize {
        self.idle().len()
    }

    /// How many connections are missing.
    pub(super) fn missing(&self) -> usize {
        self.wanted().saturating_sub(self.size())
    }

    /// Counts a caller that waits for a connection, until the result is dropped.
    pub(super) fn begin_waiting(&self) -> Waits<'_> {
        self.waiting.begin()
    }

    /// Waits until a connection was lost, or the number wanted changed.
    pub(super) fn lost(&self) -> Notified<'_> {
        self.lost.notified()
    }

    /// Waits until all connections are given up. Notifications count from this call on, not from the first poll.
    pub(super) fn given_up(&self) -> Notified<'_> {
        self.given_up.notified()
    }

    /// Returns whether a call found a procedure that had to be looked up again since the last check, and resets that.
    pub(super) fn take_outdated(&self) -> bool {
        self.outdated.swap(false, Ordering::Relaxed)
    }

    /// For the metrics.
    pub(super) fn count(&self) -> PoolCount {
        let (idle, open) = (self.idle_count(), self.size());
        let waiting = self.waiting.count();
        PoolCount { wanted: self.wanted(), open, in_use: open.saturating_sub(idle), waiting }
    }

    /// Whether it no longer hands out connections.
    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    /// Stops handing out connections, and gives them up.
    pub(super) fn close(&self) {
        self.permits.close();
        self.give_up();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // The list is consistent whenever the lock is released, even by a panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. It returns to the pool when it is dropped.
pub(super) struct Client {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    home: Arc<Connections>,
}

impl Client {
    /// Closes the connection: what still arrives on it would be taken for the response to another call, or its database
    /// is not usable.
    pub(super) fn discard(mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.lose(connection);
        }
    }

    /// Records that a procedure has to be looked up again.
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
