//! The pool: connections opened ahead of use, each with its statements prepared.
//!
//! It is ready only while it has connections and the database is usable. `caretaker` checks that and opens connections;
//! calls only take open ones (`connections`). While the database is unavailable, calls are refused at once. A pool that
//! is short of connections serves with those it has.

use std::sync::{Arc, OnceLock};
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
use super::grant::GrantedProcedure;
use super::health::Health;
use super::lanes::Lanes;
use super::opener::Opener;
use super::procedure::Procedure;
use super::shards::Shards;
use crate::failure::Failure;
use crate::limits;
use crate::metrics::{BatchMetrics, Metrics, PoolMetrics};

/// A pool of connections to one database.
pub struct Database {
    opener: Opener,
    /// For calls that are not batched.
    connections: Arc<Connections>,
    batch_opener: Opener,
    /// For calls on lanes: these sessions have shorter timeouts.
    for_batches: Arc<Connections>,
    health: Health,
    /// Calls that are under way, whether or not their clients are still there.
    calls: TaskTracker,
    batches: BatchMetrics,
    counted: PoolMetrics,
    /// Where calls of procedures with a batch form wait.
    lanes: Lanes,
    /// Limits the calls of keys that are apart: to half of a full pool, so that the other half is free for other calls.
    apart: Semaphore,
    catalogue: CatalogueConnection,
    /// Lanes that the procedures may have together: as many as there are connections for calls, which stand in for
    /// theirs.
    lanes_max: usize,
    /// Whether connections for lanes are opened.
    opens_lanes: bool,
    /// If the database is a router in front of shards (`router`).
    pub(super) shards: OnceLock<Shards>,
}

impl Database {
    /// Creates the pool; no connection is opened yet.
    pub fn new(target: &Target, connections: usize, metrics: &Metrics) -> Self {
        let (apart, lanes_max) = (Semaphore::new(half(connections)), connections);
        let connections = Arc::new(Connections::new(connections));
        let opener = Opener::new(target, &connections);
        let for_batches = Arc::new(Connections::new(0));
        Self {
            batch_opener: opener.for_batches(&for_batches),
            for_batches,
            opener,
            connections,
            health: Health::new(target, &metrics.events),
            calls: TaskTracker::new(),
            batches: metrics.batches.clone(),
            counted: metrics.pool.clone(),
            lanes: Lanes::new(Arc::clone(&metrics.procedures)),
            apart,
            catalogue: CatalogueConnection::new(target),
            lanes_max,
            opens_lanes: true,
            shards: OnceLock::new(),
        }
    }

    /// Creates one for a process that calls nothing: it opens a connection beside the catalogue's, and takes procedures
    /// that any node could have.
    pub fn for_checks(target: &Target, metrics: &Metrics) -> Self {
        Self { lanes_max: limits::POOL_CONNECTIONS_CEILING, opens_lanes: false, ..Self::new(target, 1, metrics) }
    }

    /// Sets the age at which a connection is replaced.
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
    pub async fn describe(&self, granted: &GrantedProcedure) -> Result<Procedure, Unusable> {
        self.catalogue.describe(granted).await
    }

    /// Adds the missing lanes of these procedures. Each lane has one statement under way at a time.
    pub(super) fn open_lanes(&self, procedures: &[Arc<Procedure>]) {
        self.lanes.open(procedures);
        self.want_lanes();
    }

    /// Drops the lanes and metrics of procedures that are no longer granted.
    pub fn keep(&self, granted: &[Arc<Procedure>]) {
        self.open_lanes(granted);
        self.lanes.keep(granted);
        self.want_lanes();
    }

    fn want_lanes(&self) {
        self.for_batches.want(if self.opens_lanes { self.lanes.connections() } else { 0 });
    }

    /// Lanes that the procedures may have together.
    pub(super) fn lanes_max(&self) -> usize {
        self.lanes_max
    }

    /// Whether there are connections and the database is usable.
    pub fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    /// A description of how short the pool is, and why, if it is.
    pub fn shortage(&self) -> Option<String> {
        let cause = self.health.cause_of_shortage()?;
        let (size, wanted) = self.size();
        Some(format!("{size} of {wanted} database connections: {cause}"))
    }

    /// Updates the metrics of connections and waiting calls.
    pub fn count(&self) {
        self.counted.set("calls", self.connections.count());
        self.counted.set("batches", self.for_batches.count());
        self.counted.up.set(i64::from(self.is_ready()));
        self.lanes.count_waiting();
    }

    /// How many connections there are, and how many are wanted.
    fn size(&self) -> (usize, usize) {
        let (calls, batches) = (&self.connections, &self.for_batches);
        (calls.size() + batches.size(), calls.wanted() + batches.wanted())
    }

    /// Whether no connection is missing.
    pub(super) fn is_full(&self) -> bool {
        self.connections.missing() == 0 && self.for_batches.missing() == 0
    }

    /// A permit for a call of a key that is apart. In a pool that is short it takes several units of `apart`, so that
    /// half of the open connections stay free.
    pub(super) async fn place_apart(&self) -> Option<SemaphorePermit<'_>> {
        let share = half(self.connections.wanted()).div_ceil(half(self.connections.size()));
        self.apart.acquire_many(u32::try_from(share).unwrap_or(u32::MAX)).await.ok()
    }

    /// Closes a connection that calls need more, because Postgres has none left: the catalogue's, or, while calls have
    /// no connection at all, one for batches, which can use those of calls. Returns false when there is none to close.
    pub(super) fn spare(&self) -> bool {
        if self.catalogue.spare() {
            return true;
        }
        let batches = if self.connections.size() == 0 { self.for_batches.try_get() } else { None };
        batches.map(Client::discard).is_some()
    }

    /// Returns whether a call found that its procedure has changed since it was looked up, and resets that.
    pub fn has_changed(&self) -> bool {
        self.health.take_changed() | self.connections.take_outdated() | self.for_batches.take_outdated()
    }

    /// Waits until the calls under way have ended, then closes the pool. The listener must have ended before.
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

    /// A connection for a statement of a lane: one for batches, or, while those are short because the database gives no
    /// more or one was just lost, one for calls.
    pub(super) async fn acquire_for_batch(&self) -> Result<Client, Failure> {
        self.check_ready()?;
        if let Some(connection) = self.for_batches.try_get() {
            return Ok(connection);
        }
        if self.for_batches.is_short() {
            return self.take(&self.connections).await;
        }
        // All are in use: lanes of procedures that have one each share connections.
        self.take(&self.for_batches).await
    }

    async fn take(&self, connections: &Arc<Connections>) -> Result<Client, Failure> {
        if let Some(connection) = connections.try_get() {
            return Ok(connection);
        }
        let _waiting = connections.begin_waiting();
        // Subscribe before checking readiness, so that a give-up in between is not missed.
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

    /// Records that connections are missing.
    pub(super) fn note_short(&self, error: &Unreachable) {
        let (connections, wanted) = self.size();
        self.health.note_short(error, connections, wanted);
    }

    /// Records that no connection is missing.
    pub(super) fn note_full(&self) {
        self.health.note_full(self.size().0);
    }

    /// Tracks the tasks of calls, which go on when their client leaves and which [`Self::drain`] waits for.
    pub(super) fn calls(&self) -> &TaskTracker {
        &self.calls
    }

    /// Where calls of procedures with a batch form wait.
    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The database.
    pub(super) fn target(&self) -> &Target {
        self.opener.target()
    }

    /// The state of the database.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// The metrics of batches.
    pub(super) fn batches(&self) -> &BatchMetrics {
        &self.batches
    }

    /// The connections for calls that are not batched.
    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Opens connections for calls.
    pub(super) fn opener(&self) -> &Opener {
        &self.opener
    }

    /// The connections for calls on lanes.
    pub(super) fn batch_connections(&self) -> &Arc<Connections> {
        &self.for_batches
    }

    /// Opens connections for batches.
    pub(super) fn batch_opener(&self) -> &Opener {
        &self.batch_opener
    }

    /// Keeps a connection for the next query of the catalogue.
    pub(super) async fn keep_for_catalogue(&self, client: tokio_postgres::Client) {
        self.catalogue.keep(client).await;
    }
}

fn half(connections: usize) -> usize {
    (connections / 2).max(1)
}
