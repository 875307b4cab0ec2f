//! The pool: connections made ahead, each with its statements prepared, looked after while the node runs.
//!
//! `ready` is true only while the pool is warm. When the database goes away every wait for a connection is short, and
//! the pool is warmed again when it is back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::bail;
use deadpool_postgres::{
    Client, ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;
use tokio_util::task::TaskTracker;

use super::procedure::{self, Procedure, Unusable};
use super::target::{Target, chain};
use crate::failure::Failure;
use crate::limits;

/// A pool of connections to one database.
pub struct Database {
    pool: Pool,
    target: Target,
    procedures: Arc<RwLock<Vec<Arc<Procedure>>>>,
    ready: AtomicBool,
    /// Calls that were answered: while it moves, the database needs no probing.
    pub(super) answered: Arc<AtomicU64>,
    /// Calls that are under way, whether or not their clients are still there.
    pub(super) calls: TaskTracker,
}

impl Database {
    /// Makes the pool; no connection is made yet.
    ///
    /// # Errors
    /// Never in practice: the pool's builder only refuses timeouts without a runtime.
    pub fn new(target: &Target, connections: usize) -> anyhow::Result<Self> {
        let procedures = Arc::new(RwLock::new(Vec::new()));
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(target.serving(), NoTls, manager_config);
        let pool = Pool::builder(manager)
            .max_size(connections)
            .wait_timeout(Some(limits::ACQUIRE_TIMEOUT))
            .create_timeout(Some(limits::CONNECT_TIMEOUT))
            .recycle_timeout(Some(limits::CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .post_create(prepare_all(Arc::clone(&procedures)))
            .build()?;
        Ok(Self {
            pool,
            target: target.clone(),
            procedures,
            ready: AtomicBool::new(false),
            answered: Arc::default(),
            calls: TaskTracker::new(),
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
                bail!("cannot connect to the database {}: {}", self.target, chain(&error));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(database = %self.target, cause = chain(&error), "waiting for the database");
            }
            tokio::time::sleep(limits::DATABASE_START_PAUSE).await;
        }
    }

    /// Looks a procedure up in the catalogue.
    ///
    /// # Errors
    /// Why it cannot be granted.
    pub async fn describe(&self, name: &str) -> Result<Procedure, Unusable> {
        let client = self.acquire().await.map_err(|e| Unusable::Unknown(name.to_owned(), e.to_string()))?;
        procedure::describe(&client, name).await
    }

    /// Makes all connections and prepares the statements of these procedures on each of them. From here on the
    /// database is ready, until a probe fails.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when one of the connections cannot be made.
    pub async fn warm(&self, procedures: Vec<Arc<Procedure>>) -> Result<(), Failure> {
        *self.procedures.write().unwrap_or_else(PoisonError::into_inner) = procedures;
        self.warm_all().await
    }

    /// Whether the pool is warm and the database answers.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Probes the database and warms the pool again after it was away. Runs until it is dropped.
    pub async fn look_after(&self) {
        let mut answered = 0;
        loop {
            tokio::time::sleep(limits::POOL_PROBE_INTERVAL).await;
            let now = self.answered.load(Ordering::Relaxed);
            if now != answered && self.is_ready() {
                answered = now;
                continue;
            }
            let outcome = if self.is_ready() { self.probe().await } else { self.warm_all().await };
            match (outcome, self.is_ready()) {
                (Ok(()), false) => {
                    self.ready.store(true, Ordering::Relaxed);
                    tracing::info!(database = %self.target, "database is back, pool is warm");
                }
                (Err(failure), true) => {
                    self.ready.store(false, Ordering::Relaxed);
                    tracing::error!(database = %self.target, cause = %failure, "database is away");
                }
                _ => {}
            }
        }
    }

    /// No further call is taken, and those under way have ended, when this returns.
    pub async fn drain(&self) {
        self.calls.close();
        self.calls.wait().await;
        self.pool.close();
    }

    /// A connection of the pool.
    pub(super) async fn acquire(&self) -> Result<Client, Failure> {
        let unavailable = |cause: String| Failure::Unavailable { cause: format!("{}: {cause}", self.target) };
        match timeout(limits::ACQUIRE_TIMEOUT, self.pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Backend(error))) => Err(unavailable(chain(&error))),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable(format!("no connection within {} ms", limits::ACQUIRE_TIMEOUT.as_millis()))),
        }
    }

    async fn warm_all(&self) -> Result<(), Failure> {
        // All at once: a connection that is given back would be handed out again.
        let connections = try_join_all((0..self.pool.status().max_size).map(|_| self.acquire())).await?;
        let procedures = self.procedures.read().unwrap_or_else(PoisonError::into_inner).clone();
        for connection in &connections {
            for procedure in &procedures {
                connection
                    .prepare_cached(&procedure.sql)
                    .await
                    .map_err(|error| Failure::Unavailable { cause: chain(&error) })?;
            }
        }
        self.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn probe(&self) -> Result<(), Failure> {
        let connection = self.acquire().await?;
        match timeout(limits::CONNECT_TIMEOUT, connection.check_connection()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Unavailable { cause: chain(&error) }),
            Err(_) => Err(Failure::Unavailable { cause: "no answer to a probe".to_owned() }),
        }
    }
}

/// Prepares every statement as a connection is made, so that no request pays for it.
fn prepare_all(procedures: Arc<RwLock<Vec<Arc<Procedure>>>>) -> Hook {
    Hook::async_fn(move |connection: &mut ClientWrapper, _| {
        let procedures = procedures.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            for procedure in procedures {
                connection.prepare_cached(&procedure.sql).await.map_err(HookError::Backend)?;
            }
            Ok(())
        })
    })
}
