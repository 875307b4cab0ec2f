//! Starts a node against its database, which may itself be starting: waits for it, fills the pool, and logs the first
//! cause of a wait at once. After a reload it prepares the statements anew.

use std::sync::Arc;

use anyhow::bail;
use tokio::time::{Instant, timeout};

use super::connect::open::Unreachable;
use super::connect::target::Target;
use super::lanes::connections_of_lanes;
use super::pool::Database;
use super::procedure::Procedure;
use crate::limits;

impl Database {
    /// The statements that give the role the timeouts that it lacks behind a pooler, if it lacks any.
    pub fn missing_timeouts(&self) -> Option<String> {
        self.opener().missing_timeouts()
    }

    /// Waits until the database accepts a connection: a node may start before it.
    ///
    /// # Errors
    /// When the database refuses the connection (the password, the name), or does not accept one in time.
    pub async fn reach(&self) -> anyhow::Result<()> {
        let mut patience = Patience::new(self.target());
        loop {
            match patience.while_waiting(self.target().connect()).await {
                // The catalogue is read next, so keep the connection: a closed one may occupy its slot on the server
                // for a moment.
                Ok(client) => {
                    self.keep_for_catalogue(client).await;
                    return Ok(());
                }
                Err(error) if error.is_final() || patience.is_over() => {
                    bail!("cannot connect to the database {}: {error}", self.target())
                }
                Err(error) => patience.pause(&error).await,
            }
        }
    }

    /// Whether a node may have a connection for each lane of these procedures: as many as there are for calls, which
    /// stand in for them.
    ///
    /// # Errors
    /// A description of how many lanes there are, and what to do.
    pub fn check_lanes<'a>(&self, procedures: impl Iterator<Item = &'a Procedure>) -> Result<(), String> {
        let (lanes, most) = (connections_of_lanes(procedures), self.lanes_max());
        if lanes <= most {
            return Ok(());
        }
        Err(format!(
            "the batch forms with `lanes` have {lanes} lanes, and each needs a database connection of its own; the node \
             has {most} for calls and opens at most as many for lanes: lower `lanes`, or start it with \
             `--pool-connections {lanes}`"
        ))
    }

    /// Opens all connections, or as many as the database allows, and prepares the statements of these procedures on
    /// each of them. The database is ready from then on, until a probe fails.
    ///
    /// # Errors
    /// When no connection can be opened in the time a node has to start.
    pub async fn start(&self, procedures: Vec<Arc<Procedure>>) -> anyhow::Result<()> {
        self.keep(&procedures);
        // No connection is open yet.
        let _ = self.opener().set_procedures(procedures);
        let mut patience = Patience::new(self.target());
        while let Some(error) = patience.while_waiting(self.fill()).await {
            if self.connections().size() > 0 {
                self.note_short(&error);
                break;
            }
            if patience.is_over() {
                bail!("no connection to the database {}: {error}", self.target());
            }
            patience.pause(&error).await;
        }
        self.health().start();
        Ok(())
    }

    /// Prepares the statements of these procedures, and drops those of others. Connections stay open, and half of the
    /// idle ones stay available to calls: these, and those in use, prepare missing statements when they are called.
    pub async fn prepare_anew(&self, procedures: Vec<Arc<Procedure>>) {
        self.open_lanes(&procedures);
        if self.opener().set_procedures(procedures.clone()) {
            // Lanes use those for calls until they are replaced.
            self.batch_connections().give_up();
        }
        // Held until all are done, because the pool would hand out the first one again. Calls get these first.
        let mut prepared = Vec::new();
        let sets = [(self.opener(), self.connections()), (self.batch_opener(), self.batch_connections())];
        for (opener, connections) in sets {
            connections.for_each_idle(|connection| connection.statement_cache.clear());
            for _ in 0..connections.idle_count() / 2 {
                let Some(connection) = connections.try_get() else { break };
                match timeout(limits::PREPARE_TIMEOUT, opener.prepare(&connection, &procedures)).await {
                    Ok(Ok(())) => prepared.push(connection),
                    // The caretaker finds the cause.
                    Ok(Err(_)) | Err(_) => return connection.discard(),
                }
            }
        }
    }

    /// Opens the missing connections. Returns why one could not be opened.
    async fn fill(&self) -> Option<Unreachable> {
        loop {
            let error = match self.opener().fill().await {
                Some(error) => error,
                None => self.batch_opener().fill().await?,
            };
            if !error.is_want_of_connections() || !self.spare() {
                return Some(error);
            }
        }
    }
}

/// The time a node has to start, and whether it has logged that it waits.
struct Patience<'a> {
    target: &'a Target,
    deadline: Instant,
    logged: bool,
}

impl<'a> Patience<'a> {
    fn new(target: &'a Target) -> Self {
        Self { target, deadline: Instant::now() + limits::DATABASE_START_TIMEOUT, logged: false }
    }

    fn is_over(&self) -> bool {
        Instant::now() > self.deadline
    }

    /// Awaits an attempt, and logs it when it takes a while.
    async fn while_waiting<T>(&mut self, attempt: impl Future<Output = T>) -> T {
        tokio::pin!(attempt);
        match timeout(limits::CONNECT_STAGGER, &mut attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.log(&"no answer yet");
                attempt.await
            }
        }
    }

    async fn pause(&mut self, cause: &Unreachable) {
        self.log(cause);
        tokio::time::sleep(limits::DATABASE_START_PAUSE).await;
    }

    /// Logs the first cause only.
    fn log(&mut self, cause: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.logged, true) {
            tracing::warn!(database = %self.target, %cause, "waiting for the database");
        }
    }
}
