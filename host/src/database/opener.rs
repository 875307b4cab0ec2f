//! A connection of the pool, from nothing to its place: opened, its statements prepared, added. Called by `start`
//! before a node serves, by `filling` from then on.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::connections::{Connection, Connections};
use super::open::{Cause, Session, Unreachable};
use super::procedure::Procedure;
use super::target::{Target, Wanted, chain};
use crate::limits;

/// What a connection of the pool is made with, by a task of its own.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) target: Target,
    /// What is prepared on every connection.
    pub(super) procedures: Arc<RwLock<Vec<Arc<Procedure>>>>,
    connections: Arc<Connections>,
    /// When a connection is replaced at the latest.
    pub(super) age: Duration,
}

impl Opener {
    pub(super) fn new(target: &Target, connections: &Arc<Connections>) -> Self {
        let (target, connections) = (target.clone(), Arc::clone(connections));
        Self { target, procedures: Arc::default(), connections, age: limits::CONNECTION_AGE_MAX }
    }

    /// What the database must take, for what is called.
    pub(super) fn calls(&self) -> Wanted {
        let procedures = self.procedures.read().unwrap_or_else(PoisonError::into_inner);
        if procedures.iter().any(|procedure| procedure.writes()) { Wanted::Writable } else { Wanted::Anything }
    }

    /// Makes a connection with its statements and adds it to the pool.
    pub(super) async fn add_one(self) -> Result<(), Unreachable> {
        let epoch = self.connections.epoch();
        let connection = Connection::new(self.target.open(self.calls(), &Session::CALLS).await?, epoch, self.age);
        let procedures = self.procedures.read().unwrap_or_else(PoisonError::into_inner).clone();
        match timeout(limits::PREPARE_TIMEOUT, prepare(&connection, &procedures)).await {
            Ok(prepared) => prepared.map_err(|error| Unreachable::broken(Cause::Refused(error)))?,
            Err(_) => return Err(Unreachable::broken(Cause::Silent(limits::PREPARE_TIMEOUT))),
        }
        self.connections.add(connection);
        Ok(())
    }
}

/// Prepares what a connection has not prepared yet, so that no request pays for it: many at a time, because each is a
/// round trip. A procedure that was dropped or revoked meanwhile fails by itself when it is called; it does not take
/// the other handlers with it.
pub(super) async fn prepare(
    connection: &ClientWrapper,
    procedures: &[Arc<Procedure>],
) -> Result<(), tokio_postgres::Error> {
    let mut statements = Vec::new();
    for procedure in procedures {
        statements.extend(procedure.signatures().map(|signature| (&procedure.name, &signature.sql)));
    }
    for some in statements.chunks(limits::PREPARED_AT_ONCE_MAX) {
        let mut under_way = Vec::with_capacity(some.len());
        for (name, sql) in some {
            under_way.push(prepare_one(connection, name, sql));
        }
        try_join_all(under_way).await?;
    }
    Ok(())
}

async fn prepare_one(connection: &ClientWrapper, procedure: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    match connection.prepare_cached(sql).await {
        Err(error) if error.code().is_some() => {
            tracing::warn!(procedure, cause = chain(&error), "cannot be prepared");
            Ok(())
        }
        prepared => prepared.map(drop),
    }
}
