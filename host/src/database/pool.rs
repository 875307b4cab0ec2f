//! The pool: connections made ahead, each with its statements prepared.
//!
//! `ready` is true only while there are connections and the database is of use. A caretaker finds out (`caretaker`) and
//! makes the connections; calls only take what there is (`connections`). While the database is away nobody waits for
//! it: a call is refused at once. A pool that is short of connections serves with those it has.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::catalogue::connection::CatalogueConnection;
use super::catalogue::unusable::Unusable;
use super::connect::open::Unreachable;
use super::connect::target::Target;
pub(super) use super::connections::Client;
use super::connections::Connections;
use super::health::Health;
use super::lanes::{Lanes, Way};
use super::opener::Opener;
use super::procedure::{Batch, Procedure};
use crate::failure::Failure;
use crate::limits;
use crate::metrics::{BatchMetrics, Metrics, PoolMetrics};

/// A pool of connections to one database.
pub struct Database {
    opener: Opener,
    /// For calls by themselves.
    connections: Arc<Connections>,
    batch_opener: Opener,
    /// For what goes on lanes: these sessions wait for less long.
    for_batches: Arc<Connections>,
    health: Health,
    /// Calls that are under way, whether or not their clients are still there.
    calls: TaskTracker,
    /// What is counted of batches.
    batches: BatchMetrics,
    counted: PoolMetrics,
    /// Where calls of procedures with a batch form wait.
    lanes: Lanes,
    /// How many calls of keys that are apart may be under way in a full pool: half of it is for others.
    apart: Semaphore,
    catalogue: CatalogueConnection,
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
            health: Health::new(target),
            calls: TaskTracker::new(),
            batches: metrics.batches.clone(),
            counted: metrics.pool.clone(),
            lanes: Lanes::new(Arc::clone(&metrics.procedures)),
            apart,
            catalogue: CatalogueConnection::new(target),
        }
    }

    /// With another age at which a connection is replaced.
    #[must_use]
    pub fn renewed_after(mut self, age: Duration) -> Self {
        self.opener.renew_after(age);
        self.batch_opener.renew_after(age);
        self
    }

    /// Looks a procedure up in the catalogue, and its batch form, if it is to have one.
    ///
    /// # Errors
    /// Why it cannot be granted.
    pub async fn describe(&self, name: &str, batch: Option<&Batch>) -> Result<Procedure, Unusable> {
        self.catalogue.describe(name, batch).await
    }

    /// Prepares the statements of these procedures, and forgets those of others. No connection is made anew, and half
    /// of those that nobody uses stay where calls find them: these and those in use prepare what they miss when it is
    /// called.
    pub async fn prepare_anew(&self, procedures: Vec<Arc<Procedure>>) {
        self.open_lanes(&procedures);
        self.opener.set_procedures(procedures.clone());
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
        self.health.is_ready()
    }

    /// What the pool is short of and why, in words, if it is.
    pub fn shortage(&self) -> Option<String> {
        let cause = self.health.cause_of_shortage()?;
        let (size, wanted) = self.size();
        Some(format!("{size} of {wanted} database connections: {cause}"))
    }

    /// The statements that give the role the timeouts that it lacks behind a pooler, if it lacks any.
    pub fn missing_timeouts(&self) -> Option<String> {
        self.opener.missing_timeouts()
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
        if self.catalogue.spare() {
            return true;
        }
        let batches = if self.connections.size() == 0 { self.for_batches.try_get() } else { None };
        batches.map(Client::discard).is_some()
    }

    /// Whether a call met, since this was last asked, a procedure that is no longer what was looked up.
    pub fn has_changed(&self) -> bool {
        self.health.take_changed() | self.connections.take_outdated() | self.for_batches.take_outdated()
    }

    /// Waits until the calls under way have ended, then closes the pool. The listener has ended before.
    pub async fn drain(&self) {
        self.calls.close();
        self.calls.wait().await;
        self.connections.close();
        self.for_batches.close();
    }

    /// A connection for a call. Fails at once while the database is unavailable.
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
        let _waiting = connections.begin_waiting();
        // Before the look whether it is ready: nobody waits for what was given up just then.
        let given_up = connections.given_up();
        self.check_ready()?;
        tokio::select! {
            biased;
            waited = timeout(limits::ACQUIRE_TIMEOUT, connections.get()) => match waited {
                Ok(Some(connection)) => Ok(connection),
                Ok(None) => Err(self.unavailable("the pool is closed")),
                Err(_) => Err(self.unavailable(format!("no connection in {} ms", limits::ACQUIRE_TIMEOUT.as_millis()))),
            },
            () = given_up => Err(self.unavailable("the database is unavailable")),
        }
    }

    pub(super) fn check_ready(&self) -> Result<(), Failure> {
        if self.is_ready() { Ok(()) } else { Err(self.unavailable("the database is unavailable")) }
    }

    pub(super) fn unavailable(&self, cause: impl std::fmt::Display) -> Failure {
        Failure::Unavailable { cause: format!("{}: {cause}", self.opener.target()) }
    }

    /// Notes that connections are missing.
    pub(super) fn note_short(&self, error: &Unreachable) {
        let (connections, wanted) = self.size();
        self.health.note_short(error, connections, wanted);
    }

    /// Notes that no connection is missing.
    pub(super) fn note_full(&self) {
        self.health.note_full(self.size().0);
    }

    /// Where calls are spawned: as tasks that go on when their client leaves, and that [`Self::drain`] waits for.
    pub(super) fn calls(&self) -> &TaskTracker {
        &self.calls
    }

    /// How a call of a procedure goes.
    pub(super) fn way(&self, procedure: &Procedure) -> Way {
        self.lanes.way(procedure)
    }

    /// The database.
    pub(super) fn target(&self) -> &Target {
        self.opener.target()
    }

    /// What is known of the database.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// What is counted of batches.
    pub(super) fn batches(&self) -> &BatchMetrics {
        &self.batches
    }

    /// The connections for calls by themselves.
    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// What makes them.
    pub(super) fn opener(&self) -> &Opener {
        &self.opener
    }

    /// The connections for what goes on lanes.
    pub(super) fn batch_connections(&self) -> &Arc<Connections> {
        &self.for_batches
    }

    /// What makes those.
    pub(super) fn batch_opener(&self) -> &Opener {
        &self.batch_opener
    }

    /// Keeps a connection for the next question to the catalogue.
    pub(super) async fn keep_for_catalogue(&self, client: tokio_postgres::Client) {
        self.catalogue.keep(client).await;
    }
}

fn half(connections: usize) -> usize {
    (connections / 2).max(1)
}
