//! The start of a node at its database, which may be starting too: waits for it, fills the pool, and logs the first
//! cause of a wait at once. Called by `serve`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use anyhow::bail;
use tokio::time::{Instant, timeout};

use super::connect::open::Unreachable;
use super::connect::target::Target;
use super::pool::Database;
use super::procedure::Procedure;
use crate::limits;

impl Database {
    /// Waits until the database takes a connection: a node may start before it.
    ///
    /// # Errors
    /// What the database refused (a password, its name), or that it was not there in time.
    pub async fn reach(&self) -> anyhow::Result<()> {
        let mut patience = Patience::new(&self.opener.target);
        loop {
            match patience.while_waiting(self.opener.target.connect()).await {
                // The catalogue is what is asked next: one that was let go may be there for a moment still.
                Ok(client) => {
                    *self.catalogue.lock().await = Some(client);
                    return Ok(());
                }
                Err(error) if error.is_final() || patience.is_over() => {
                    bail!("cannot connect to the database {}: {error}", self.opener.target)
                }
                Err(error) => patience.pause(&error).await,
            }
        }
    }

    /// Makes all connections and prepares the statements of these procedures on each of them, or as many as the
    /// database gives. From here on it is ready, until a probe fails.
    ///
    /// # Errors
    /// When there is none in the time a node has to start.
    pub async fn start(&self, procedures: Vec<Arc<Procedure>>) -> anyhow::Result<()> {
        self.keep(&procedures);
        *self.opener.procedures.write().unwrap_or_else(PoisonError::into_inner) = procedures;
        let mut patience = Patience::new(&self.opener.target);
        while let Some(error) = patience.while_waiting(self.fill()).await {
            if self.connections.size() > 0 {
                self.short(&error);
                break;
            }
            if patience.is_over() {
                bail!("no connection to the database {}: {error}", self.opener.target);
            }
            patience.pause(&error).await;
        }
        self.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the connections that are missing; why one of them could not be made.
    async fn fill(&self) -> Option<Unreachable> {
        loop {
            let error = match self.opener.fill().await {
                Some(error) => error,
                None => self.batch_opener.fill().await?,
            };
            if !error.is_want_of_connections() || !self.spare() {
                return Some(error);
            }
        }
    }
}

/// The time a node has to start, and what it has logged of the wait.
struct Patience<'a> {
    target: &'a Target,
    deadline: Instant,
    told: bool,
}

impl<'a> Patience<'a> {
    fn new(target: &'a Target) -> Self {
        Self { target, deadline: Instant::now() + limits::DATABASE_START_TIMEOUT, told: false }
    }

    fn is_over(&self) -> bool {
        Instant::now() > self.deadline
    }

    /// Awaits a try; the log says so when it takes a while.
    async fn while_waiting<T>(&mut self, attempt: impl Future<Output = T>) -> T {
        tokio::pin!(attempt);
        match timeout(limits::CONNECT_STAGGER, &mut attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.tell(&"no answer yet");
                attempt.await
            }
        }
    }

    async fn pause(&mut self, cause: &Unreachable) {
        self.tell(cause);
        tokio::time::sleep(limits::DATABASE_START_PAUSE).await;
    }

    /// The first cause, at once.
    fn tell(&mut self, cause: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(database = %self.target, %cause, "waiting for the database");
        }
    }
}
