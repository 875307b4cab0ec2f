//! The pool: connections made ahead, each with its statements prepared.
//!
//! `ready` is true only while there are connections and the database is of use. A caretaker finds out (`caretaker`) and
//! makes the connections; calls only take what there is (`connections`). While the database is away nobody waits for
//! it: a call is refused at once. A pool that is short of connections serves with those it has.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::catalogue;
use super::catalogue::unusable::Unusable;
use super::connect::open::Unreachable;
use super::connect::target::Target;
pub(super) use super::connections::Client;
use super::connections::Connections;
use super::lanes::Lanes;
use super::opener::Opener;
use super::procedure::{Batch, Procedure};
use crate::failure::Failure;
use crate::limits;
use crate::metrics::{BatchMetrics, Metrics, PoolMetrics};

/// A pool of connections to one database.
pub struct Database {
    pub(super) opener: Opener,
    /// For calls by themselves.
    pub(super) connections: Arc<Connections>,
    pub(super) batch_opener: Opener,
    /// For what goes on lanes: these sessions wait for less long.
    pub(super) for_batches: Arc<Connections>,
    pub(super) ready: AtomicBool,
    /// Why there are fewer connections than there should be.
    short: Mutex<Option<String>>,
    /// Whether a call met a procedure that is no longer what was looked up.
    pub(super) changed: AtomicBool,
    /// Whether the last call could not be answered: the log tells the edge.
    pub(super) failing: AtomicBool,
    /// Whether a call was answered since the caretaker last asked.
    pub(super) answered: AtomicBool,
    /// Calls that are under way, whether or not their clients are still there.
    pub(super) calls: TaskTracker,
    /// What is counted of batches.
    pub(super) batches: BatchMetrics,
    counted: PoolMetrics,
    /// Where calls of procedures with a batch form wait.
    pub(super) lanes: Lanes,
    /// How many calls of keys that are apart may be under way in a full pool: half of it is for others.
    apart: Semaphore,
    /// A connection of its own for questions to the catalogue: a reload must not wait behind requests.
    pub(super) catalogue: tokio::sync::Mutex<Option<tokio_postgres::Client>>,
}

impl Database {
    /// Makes the pool; no connection is made yet.
    pub fn new(target: &Target, connections: usize, metrics: &Metrics) -> Self {
        let apart = Semaphore::new(half(connections));
        let connections = Arc::new(Connections::new(connections));
        let opener = Opener::new(target, &connections);
        let for_batches = Arc::new(Connections::new(0));
        Self {
            batch_opener: opener.for_batches(&for_batches),
            for_batches,
            opener,
            connections,
            ready: AtomicBool::new(false),
            short: Mutex::default(),
            changed: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            calls: TaskTracker::new(),
            batches: metrics.batches.clone(),
            counted: metrics.pool.clone(),
            lanes: Lanes::new(Arc::clone(&metrics.procedures)),
            apart,
            catalogue: tokio::sync::Mutex::new(None),
        }
    }

    /// With another age at which a connection is replaced.
    #[must_use]
    pub fn renewed_after(mut self, age: Duration) -> Self {
        (self.opener.age, self.batch_opener.age) = (age, age);
        self
    }

    /// Looks a procedure up in the catalogue, and its batch form, if it is to have one.
    ///
    /// # Errors
    /// Why it cannot be granted.
    pub async fn describe(&self, name: &str, batch: Option<&Batch>) -> Result<Procedure, Unusable> {
        let unknown = |cause: String| Unusable::Unknown(name.to_owned(), cause);
        let mut catalogue = self.catalogue.lock().await;
        let client = match catalogue.take() {
            Some(client) if !client.is_closed() => client,
            _ => timeout(limits::CATALOGUE_TIMEOUT, self.opener.target.connect())
                .await
                .map_err(|_| unknown("no connection in time".to_owned()))?
                .map_err(|error| unknown(error.to_string()))?,
        };
        let described = timeout(limits::CATALOGUE_TIMEOUT, catalogue::describe(&client, name, batch)).await;
        // One that did not answer is not asked again.
        let described = described.map_err(|_| unknown("no answer".to_owned()))?;
        *catalogue = Some(client);
        described
    }

    /// Prepares the statements of these procedures, and forgets those of others. No connection is made anew, and half
    /// of those that nobody uses stay where calls find them: these and those in use prepare what they miss when it is
    /// called.
    pub async fn prepare_anew(&self, procedures: Vec<Arc<Procedure>>) {
        self.open_lanes(&procedures);
        *self.opener.procedures.write().unwrap_or_else(PoisonError::into_inner) = procedures.clone();
        // Held until all are done: the pool would hand out the first one again. They are those that calls get first.
        let mut prepared = Vec::new();
        for (opener, connections) in [(&self.opener, &self.connections), (&self.batch_opener, &self.for_batches)] {
            connections.for_each_idle(|connection| connection.statement_cache.clear());
            for _ in 0..connections.idle_count() / 2 {
                let Some(connection) = connections.try_get() else { break };
                match timeout(limits::PREPARE_TIMEOUT, opener.prepare(&connection, &procedures)).await {
                    Ok(Ok(())) => prepared.push(connection),
                    // The caretaker finds out what is wrong with the database.
                    Ok(Err(_)) | Err(_) => return connection.discard(),
                }
            }
        }
    }

    /// Adds the lanes that these procedures miss. One statement at a time is under way on each.
    pub(super) fn open_lanes(&self, procedures: &[Arc<Procedure>]) {
        self.lanes.open(procedures);
        self.for_batches.want(self.lanes.count().min(limits::BATCH_CONNECTIONS_MAX));
    }

    /// Drops what is kept for procedures that are granted no more: the lanes where their calls waited.
    pub fn keep(&self, granted: &[Arc<Procedure>]) {
        self.open_lanes(granted);
        self.lanes.keep(granted);
        self.for_batches.want(self.lanes.count().min(limits::BATCH_CONNECTIONS_MAX));
    }

    /// Whether there are connections and the database is of use.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// What the pool is short of and why, in words, if it is.
    pub fn shortage(&self) -> Option<String> {
        let short = self.short.lock().unwrap_or_else(PoisonError::into_inner);
        let cause = short.as_ref()?;
        let (size, wanted) = self.size();
        Some(format!("{size} of {wanted} database connections: {cause}"))
    }

    /// The statements that give the role the timeouts that it lacks behind a pooler, if it lacks any.
    pub fn missing_timeouts(&self) -> Option<String> {
        self.opener.notice.missing()
    }

    /// Counts the connections and who waits, for who looks at the metrics.
    pub fn count(&self) {
        self.counted.set("calls", self.connections.count());
        self.counted.set("batches", self.for_batches.count());
        self.counted.up.set(i64::from(self.is_ready()));
        self.lanes.count_waiting();
    }

    /// How many connections there are, and how many there should be.
    fn size(&self) -> (usize, usize) {
        let (calls, batches) = (&self.connections, &self.for_batches);
        (calls.size() + batches.size(), calls.wanted() + batches.wanted())
    }

    /// Whether no connection is missing.
    pub(super) fn is_full(&self) -> bool {
        self.connections.missing() == 0 && self.for_batches.missing() == 0
    }

    /// Leave for a call of a key that is apart: the share of `apart` that keeps half of the connections there are free.
    pub(super) async fn place_apart(&self) -> Option<SemaphorePermit<'_>> {
        let share = half(self.connections.wanted()).div_ceil(half(self.connections.size()));
        self.apart.acquire_many(u32::try_from(share).unwrap_or(u32::MAX)).await.ok()
    }

    /// Postgres has no connection left: lets go of what calls come before. That is the catalogue's; and while calls
    /// have none at all, those of batches, which can do without. False when there is nothing to let go of.
    pub(super) fn spare(&self) -> bool {
        let asked = self.catalogue.try_lock().ok().and_then(|mut catalogue| catalogue.take());
        if asked.is_some() {
            return true;
        }
        let batches = if self.connections.size() == 0 { self.for_batches.try_get() } else { None };
        batches.map(Client::discard).is_some()
    }

    /// Whether a call met, since this was last asked, a procedure that is no longer what was looked up.
    pub fn has_changed(&self) -> bool {
        let outdated = |connections: &Connections| connections.outdated.swap(false, Ordering::Relaxed);
        self.changed.swap(false, Ordering::Relaxed) | outdated(&self.connections) | outdated(&self.for_batches)
    }

    /// Waits until the calls under way have ended, then closes the pool. The listener has ended before.
    pub async fn drain(&self) {
        self.calls.close();
        self.calls.wait().await;
        self.connections.close();
        self.for_batches.close();
    }

    /// A connection for a call. At once a failure while the database is away.
    pub(super) async fn acquire(&self) -> Result<Client, Failure> {
        self.check_ready()?;
        self.take(&self.connections).await
    }

    /// A connection for what goes on a lane: its own kind; one for calls while those are short, because the database
    /// gives no more or one was just lost.
    pub(super) async fn acquire_for_batch(&self) -> Result<Client, Failure> {
        self.check_ready()?;
        if let Some(connection) = self.for_batches.try_get() {
            return Ok(connection);
        }
        if self.for_batches.is_short() {
            return self.take(&self.connections).await;
        }
        // More lanes than connections for them.
        self.take(&self.for_batches).await
    }

    async fn take(&self, connections: &Arc<Connections>) -> Result<Client, Failure> {
        if let Some(connection) = connections.try_get() {
            return Ok(connection);
        }
        let _waiting = Waiting::begin(&connections.waiting);
        // Before the look whether it is ready: nobody waits for what was given up just then.
        let given_up = connections.given_up.notified();
        self.check_ready()?;
        tokio::select! {
            biased;
            waited = timeout(limits::ACQUIRE_TIMEOUT, connections.get()) => match waited {
                Ok(Some(connection)) => Ok(connection),
                Ok(None) => Err(self.unavailable("the pool is closed")),
                Err(_) => Err(self.unavailable(format!("no connection in {} ms", limits::ACQUIRE_TIMEOUT.as_millis()))),
            },
            () = given_up => Err(self.unavailable("it is away")),
        }
    }

    pub(super) fn check_ready(&self) -> Result<(), Failure> {
        if self.is_ready() { Ok(()) } else { Err(self.unavailable("it is away")) }
    }

    pub(super) fn unavailable(&self, cause: impl std::fmt::Display) -> Failure {
        Failure::Unavailable { cause: format!("{}: {cause}", self.opener.target) }
    }

    /// Notes that connections are missing. The log has the first cause.
    pub(super) fn short(&self, error: &Unreachable) {
        let cause = error.to_string();
        let before = self.short.lock().unwrap_or_else(PoisonError::into_inner).replace(cause);
        if before.is_none() {
            let (connections, wanted) = self.size();
            tracing::warn!(connections, wanted, cause = %error, "the pool is short of connections, and serves with these");
        }
    }

    /// Notes that no connection is missing.
    pub(super) fn full(&self) {
        if self.short.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!(connections = self.size().0, "the pool is full again");
        }
    }
}

fn half(connections: usize) -> usize {
    (connections / 2).max(1)
}

/// Somebody who waits for a connection, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
