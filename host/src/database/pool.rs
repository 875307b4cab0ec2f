//! The pool: connections made ahead, each with its statements prepared. Batches have a few of their own, whose sessions
//! give up early on a lock or a slow call.
//!
//! `ready` is true only while the pool is warm and the database answers. A caretaker with a connection of its own finds
//! out (`look_after`): the pool's connections may all be busy without anything being wrong. While the database is away
//! nobody waits for it: a call is refused at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use anyhow::bail;
use deadpool_postgres::{Client, HookError, Object, Pool, PoolError};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tokio_util::task::TaskTracker;

use super::connection::{Procedures, Use, pool, prepare};
use super::lane::Lanes;
use super::procedure::{self, Batch, Procedure, Unusable};
use super::target::{Target, chain};
use crate::failure::Failure;
use crate::limits;
use crate::metrics::BatchMetrics;

/// A pool of connections to one database.
pub struct Database {
    pool: Pool,
    /// The connections of batches, apart from the pool: the sessions differ in how long they wait.
    batch_pool: Pool,
    pub(super) target: Target,
    procedures: Procedures,
    ready: AtomicBool,
    /// Whether a call met a procedure that is no longer what was looked up.
    pub(super) changed: AtomicBool,
    /// Whether the last call could not be answered: the log tells the edge.
    pub(super) failing: AtomicBool,
    /// Calls that are under way, whether or not their clients are still there.
    pub(super) calls: TaskTracker,
    /// What is counted of batches.
    pub(super) batches: BatchMetrics,
    /// Where calls of procedures with a batch form wait.
    pub(super) lanes: Lanes,
    /// How many calls of keys that are apart may be under way: half of the pool is for others.
    pub(super) apart: Semaphore,
    /// A connection of its own for questions to the catalogue: a reload must not wait behind requests.
    catalogue: tokio::sync::Mutex<Option<tokio_postgres::Client>>,
}

impl Database {
    /// Makes the pool; no connection is made yet.
    ///
    /// # Errors
    /// Never in practice: the pool's builder only refuses timeouts without a runtime.
    pub fn new(target: &Target, connections: usize, batches: BatchMetrics) -> anyhow::Result<Self> {
        let procedures = Procedures::default();
        let batch_pool = pool(target, Use::Batches, limits::BATCH_CONNECTIONS_MAX, &procedures)?;
        let pool = pool(target, Use::Calls, connections, &procedures)?;
        Ok(Self {
            pool,
            batch_pool,
            target: target.clone(),
            procedures,
            ready: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            calls: TaskTracker::new(),
            batches,
            lanes: Lanes::default(),
            apart: Semaphore::new((connections / 2).max(1)),
            catalogue: tokio::sync::Mutex::new(None),
        })
    }

    /// Waits until the database takes a connection: a node may start before it.
    ///
    /// # Errors
    /// What the database refused (a password, its name), or that it was not there in time.
    pub async fn reach(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + limits::DATABASE_START_TIMEOUT;
        let mut told = false;
        loop {
            let error = match self.target.connect().await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            // A refusal will be the same next time; «starting up» and «too many connections» will not.
            let starting = [&SqlState::CANNOT_CONNECT_NOW, &SqlState::TOO_MANY_CONNECTIONS];
            let refused = error.code().is_some_and(|code| !starting.contains(&code));
            if refused || Instant::now() > deadline {
                bail!("cannot connect to the database {}: {error}", self.target);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(database = %self.target, cause = %error, "waiting for the database");
            }
            tokio::time::sleep(limits::DATABASE_START_PAUSE).await;
        }
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
            _ => timeout(limits::CATALOGUE_TIMEOUT, self.target.connect())
                .await
                .map_err(|_| unknown("no connection in time".to_owned()))?
                .map_err(|error| unknown(error.to_string()))?,
        };
        let described = timeout(limits::CATALOGUE_TIMEOUT, procedure::describe(&client, name, batch)).await;
        // One that did not answer is not asked again.
        let described = described.map_err(|_| unknown("no answer".to_owned()))?;
        *catalogue = Some(client);
        described
    }

    /// Makes all connections and prepares the statements of these procedures on each of them. From here on the
    /// database is ready, until a probe fails.
    ///
    /// # Errors
    /// When that does not succeed in the time a node has to start.
    pub async fn start(&self, procedures: Vec<Arc<Procedure>>) -> anyhow::Result<()> {
        self.lanes.open(&procedures);
        *self.procedures.write().unwrap_or_else(PoisonError::into_inner) = procedures;
        let deadline = Instant::now() + limits::DATABASE_START_TIMEOUT;
        while let Err(failure) = self.warm().await {
            if Instant::now() > deadline {
                bail!("the pool of {} connections cannot be filled: {failure}", self.pool.status().max_size);
            }
            tokio::time::sleep(limits::DATABASE_START_PAUSE).await;
        }
        self.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Prepares the statements of these procedures, and forgets those of others. No connection is made anew, and half
    /// of those that nobody uses stay where calls find them: these and those in use prepare what they miss when it is
    /// called.
    pub async fn prepare_anew(&self, procedures: Vec<Arc<Procedure>>) {
        self.lanes.open(&procedures);
        *self.procedures.write().unwrap_or_else(PoisonError::into_inner) = procedures.clone();
        for pool in [&self.pool, &self.batch_pool] {
            pool.retain(|connection, _| {
                connection.statement_cache.clear();
                true
            });
        }
        // Held until all are done: the pool would hand out the first one again. They are those that calls get first.
        let mut prepared = Vec::new();
        let some = std::iter::repeat_n((&self.pool, Use::Calls), self.pool.status().available / 2);
        let for_batches = std::iter::repeat_n((&self.batch_pool, Use::Batches), self.batch_connections());
        for (pool, of) in some.chain(for_batches) {
            // The caretaker finds out what is wrong with the database.
            let Ok(connection) = self.take(pool).await else { return };
            match timeout(limits::CONNECT_TIMEOUT, prepare(&connection, &procedures, of)).await {
                Ok(Ok(())) => prepared.push(connection),
                Ok(Err(_)) | Err(_) => return drop(Object::take(connection)),
            }
        }
    }

    /// Drops what is kept for procedures that are granted no more: the lanes where their calls waited.
    pub fn keep(&self, granted: &[Arc<Procedure>]) {
        self.lanes.keep(granted);
    }

    /// How many batches may be under way: one on each lane, as far as there are connections.
    fn batch_connections(&self) -> usize {
        self.lanes.count().min(limits::BATCH_CONNECTIONS_MAX)
    }

    /// Whether the pool is warm and the database answers.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Whether a call met, since this was last asked, a procedure that is no longer what was looked up.
    pub fn has_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Probes the database, and fills the pool again when connections were lost. Runs until it is dropped.
    pub async fn look_after(&self) {
        let mut probe = None;
        loop {
            tokio::time::sleep(limits::POOL_PROBE_INTERVAL).await;
            let outcome = self.probe(&mut probe).await;
            match (outcome, self.is_ready()) {
                (Ok(()), false) => {
                    self.ready.store(true, Ordering::Relaxed);
                    tracing::info!(database = %self.target, "database is back, pool is warm");
                }
                (Err(failure), true) => {
                    self.ready.store(false, Ordering::Relaxed);
                    // Connections to a database that is silent look alive. Those in use end by their own timeout.
                    self.pool.retain(|_, _| false);
                    self.batch_pool.retain(|_, _| false);
                    tracing::error!(database = %self.target, cause = %failure, "database is away");
                }
                _ => {}
            }
        }
    }

    /// Waits until the calls under way have ended, then closes the pool. The listener has ended before.
    pub async fn drain(&self) {
        self.calls.close();
        self.calls.wait().await;
        self.pool.close();
        self.batch_pool.close();
    }

    /// A connection for a call. At once a failure while the database is away.
    pub(super) async fn acquire(&self) -> Result<Client, Failure> {
        self.check_ready()?;
        self.take(&self.pool).await
    }

    /// A connection for a batch; one of the pool when the database has none to spare.
    pub(super) async fn acquire_for_batch(&self) -> Result<Client, Failure> {
        self.check_ready()?;
        match self.take(&self.batch_pool).await {
            Err(_) if self.batch_pool.status().size == 0 => self.take(&self.pool).await,
            taken => taken,
        }
    }

    pub(super) fn check_ready(&self) -> Result<(), Failure> {
        if self.is_ready() { Ok(()) } else { Err(self.unavailable("it is away")) }
    }

    pub(super) fn unavailable(&self, cause: impl std::fmt::Display) -> Failure {
        Failure::Unavailable { cause: format!("{}: {cause}", self.target) }
    }

    async fn take(&self, pool: &Pool) -> Result<Client, Failure> {
        match timeout(limits::ACQUIRE_TIMEOUT, pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Backend(error))) => Err(self.unavailable(chain(&error))),
            Ok(Err(PoolError::PostCreateHook(HookError::Backend(error)))) => Err(self.unavailable(chain(&error))),
            Ok(Err(error)) => Err(self.unavailable(error)),
            Err(_) => Err(self.unavailable(format!("no connection in {} ms", limits::ACQUIRE_TIMEOUT.as_millis()))),
        }
    }

    /// One question on the caretaker's own connection. When that was lost, so were connections of the pool: it is made
    /// anew and the pool is filled.
    async fn probe(&self, probe: &mut Option<tokio_postgres::Client>) -> Result<(), Failure> {
        if let Some(client) = probe {
            let answer = timeout(limits::CONNECT_TIMEOUT, client.check_connection()).await;
            if matches!(answer, Ok(Ok(()))) && self.is_ready() {
                return Ok(());
            }
        }
        *probe = None;
        let client = timeout(limits::CONNECT_TIMEOUT, self.target.connect())
            .await
            .map_err(|_| self.unavailable("no answer to a probe"))?
            .map_err(|error| self.unavailable(error))?;
        *probe = Some(client);
        self.pool.retain(|connection, _| !connection.is_closed());
        self.batch_pool.retain(|connection, _| !connection.is_closed());
        self.warm().await
    }

    /// Makes the connections that are missing, with their statements. The idle ones are held meanwhile, a few
    /// milliseconds: the pool would hand them out instead of making new ones. Those in use are left alone.
    async fn warm(&self) -> Result<(), Failure> {
        for (pool, size) in [(&self.batch_pool, self.batch_connections()), (&self.pool, self.pool.status().max_size)] {
            let status = pool.status();
            let missing = size.saturating_sub(status.size);
            try_join_all((0..status.available + missing).map(|_| self.take(pool))).await?;
        }
        Ok(())
    }
}
