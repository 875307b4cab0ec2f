//! Opens a connection, prepares its statements, and adds it to the pool.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use futures_util::future::{join_all, try_join_all};
use tokio::time::timeout;

use super::connect::open::{Cause, Unreachable};
use super::connect::pooler::{Notice, Way};
use super::connect::session::Session;
use super::connect::target::{Target, Wanted, chain};
use super::connection::Connection;
use super::connections::Connections;
use super::procedure::Procedure;
use super::signature::Signature;
use crate::limits;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Calls that are not batched.
    Calls,
    /// Calls on lanes: batches, and calls that are sent alone.
    Batches,
}

impl Use {
    /// The timeouts of a connection on which these procedures are called.
    fn session(self, is_router: bool, procedures: &[Arc<Procedure>]) -> &'static Session {
        let is_remote = |procedure: &Arc<Procedure>| procedure.batch.is_some() && !procedure.is_local();
        match self {
            Self::Calls if is_router => &Session::ROUTER,
            Self::Batches if is_router => &Session::ROUTER_BATCHES,
            Self::Calls => &Session::CALLS,
            Self::Batches if procedures.iter().any(is_remote) => &Session::REMOTE_BATCHES,
            Self::Batches => &Session::BATCHES,
        }
    }

    /// The signatures to prepare for a procedure.
    fn signatures(self, procedure: &Procedure) -> impl Iterator<Item = &Signature> {
        let form = procedure.batch.as_ref().filter(|_| matches!(self, Self::Batches)).map(|form| &form.signature);
        let alone = matches!(self, Self::Calls) || form.is_some();
        procedure.signatures().filter(move |_| alone).chain(form)
    }
}

/// Opens connections of the pool; cloned into a task for each.
#[derive(Clone)]
pub(super) struct Opener {
    target: Target,
    /// The procedures whose statements are prepared on every connection that keeps prepared statements.
    procedures: Arc<RwLock<Vec<Arc<Procedure>>>>,
    connections: Arc<Connections>,
    of: Use,
    /// What connections found out about a pooler.
    notice: Arc<Notice>,
    /// The age at which a connection is replaced at the latest.
    age: Duration,
    /// Whether the database is a router in front of shards.
    is_router: Arc<AtomicBool>,
}

impl Opener {
    pub(super) fn new(target: &Target, connections: &Arc<Connections>) -> Self {
        let (target, connections) = (target.clone(), Arc::clone(connections));
        Self {
            target,
            procedures: Arc::default(),
            connections,
            of: Use::Calls,
            notice: Arc::default(),
            age: limits::CONNECTION_AGE_MAX,
            is_router: Arc::default(),
        }
    }

    /// An opener that fills another set, for calls on lanes, with the same procedures.
    pub(super) fn for_batches(&self, connections: &Arc<Connections>) -> Self {
        Self { connections: Arc::clone(connections), of: Use::Batches, ..self.clone() }
    }

    /// The database.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Sets the procedures whose statements new connections prepare. Shared with [`Self::for_batches`]. Returns whether
    /// those for batches have other timeouts from now on.
    pub(super) fn set_procedures(&self, procedures: Vec<Arc<Procedure>>) -> bool {
        let session = Use::Batches.session(self.is_router(), &procedures);
        let before =
            std::mem::replace(&mut *self.procedures.write().unwrap_or_else(PoisonError::into_inner), procedures);
        Use::Batches.session(self.is_router(), &before) != session
    }

    /// The database is a router. Shared with [`Self::for_batches`].
    pub(super) fn is_of_router(&self) {
        self.is_router.store(true, Ordering::Relaxed);
    }

    fn is_router(&self) -> bool {
        self.is_router.load(Ordering::Relaxed)
    }

    /// Sets the age at which new connections are replaced.
    pub(super) fn renew_after(&mut self, age: Duration) {
        self.age = age;
    }

    /// The statements that give the role the timeouts that it lacks behind a pooler, if it lacks any.
    pub(super) fn missing_timeouts(&self) -> Option<String> {
        self.notice.missing()
    }

    /// What the procedures require of the database: writes, if any of them writes.
    pub(super) fn calls(&self) -> Wanted {
        let procedures = self.procedures.read().unwrap_or_else(PoisonError::into_inner);
        if procedures.iter().any(|procedure| procedure.writes()) { Wanted::Writable } else { Wanted::Anything }
    }

    /// Opens the missing connections. Returns why one could not be opened.
    pub(super) async fn fill(&self) -> Option<Unreachable> {
        let tries = join_all((0..self.connections.missing()).map(|_| self.clone().add_one())).await;
        tries.into_iter().find_map(Result::err)
    }

    /// Opens a connection, prepares its statements and adds it to the pool.
    pub(super) async fn add_one(self) -> Result<(), Unreachable> {
        let epoch = self.connections.epoch();
        let procedures = self.procedures.read().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = self.target.open(self.calls(), self.of.session(self.is_router(), &procedures)).await?;
        self.notice.note(&opened.survey);
        let connection = Connection::new(opened, epoch, self.age);
        match timeout(limits::PREPARE_TIMEOUT, self.prepare(&connection, &procedures)).await {
            Ok(prepared) => prepared.map_err(|error| Unreachable::broken(Cause::Refused(error)))?,
            Err(_) => return Err(Unreachable::broken(Cause::Silent(limits::PREPARE_TIMEOUT))),
        }
        self.connections.add(connection);
        Ok(())
    }

    /// Prepares the statements that a connection has not prepared yet, so that no request pays for it: many at a time,
    /// because each is a round trip. A procedure that was dropped or revoked in the meantime fails only when it is
    /// called, and other handlers are not affected. Nothing is prepared through a pooler.
    pub(super) async fn prepare(
        &self,
        connection: &Connection,
        procedures: &[Arc<Procedure>],
    ) -> Result<(), tokio_postgres::Error> {
        if *connection.way() != Way::Direct {
            return Ok(());
        }
        let mut statements = Vec::new();
        for procedure in procedures {
            statements.extend(self.of.signatures(procedure).map(|signature| (&procedure.name, &signature.sql)));
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
}

async fn prepare_one(connection: &ClientWrapper, procedure: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    match connection.prepare_cached(sql).await {
        Err(error) if error.code().is_some() => {
            tracing::warn!(procedure, cause = chain(&error), "cannot prepare a call of the procedure");
            Ok(())
        }
        prepared => prepared.map(drop),
    }
}
