//! A connection of the pool: how long its session lets a statement wait, by what it is for, and the statements that are
//! prepared as it is made. Called by `pool`, which says when.

use std::sync::{Arc, PoisonError, RwLock};

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime,
};
use tokio_postgres::NoTls;

use super::procedure::{Procedure, Signature};
use super::target::{Target, chain};
use crate::limits;

/// What is prepared on every connection.
pub(super) type Procedures = Arc<RwLock<Vec<Arc<Procedure>>>>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Calls by themselves.
    Calls,
    /// What goes on a lane: batches, and what comes alone.
    Batches,
}

impl Use {
    /// What is prepared for a procedure.
    fn signatures(self, procedure: &Procedure) -> impl Iterator<Item = &Signature> {
        let form = procedure.batch.as_ref().filter(|_| matches!(self, Self::Batches)).map(|form| &form.signature);
        let alone = matches!(self, Self::Calls) || form.is_some();
        alone.then_some(&procedure.signature).into_iter().chain(form)
    }
}

/// A pool of at most so many connections; none is made yet.
///
/// # Errors
/// Never in practice: the builder only refuses timeouts without a runtime.
pub(super) fn pool(target: &Target, of: Use, connections: usize, procedures: &Procedures) -> anyhow::Result<Pool> {
    let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let config = match of {
        Use::Calls => target.serving(),
        Use::Batches => target.serving_batches(),
    };
    let pool = Pool::builder(Manager::from_config(config, NoTls, manager_config))
        .max_size(connections)
        // The connection that was used last: its backend has its plans and caches at hand. In turn, eight backends of a
        // node would each find theirs cold.
        .queue_mode(QueueMode::Lifo)
        .wait_timeout(Some(limits::ACQUIRE_TIMEOUT))
        .create_timeout(Some(limits::CONNECT_TIMEOUT))
        .recycle_timeout(Some(limits::CONNECT_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .post_create(prepare_all(Arc::clone(procedures), of))
        .build()?;
    Ok(pool)
}

/// Prepares every statement as a connection is made, so that no request pays for it.
fn prepare_all(procedures: Procedures, of: Use) -> Hook {
    Hook::async_fn(move |connection: &mut ClientWrapper, _| {
        let procedures = procedures.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { prepare(connection, &procedures, of).await.map_err(HookError::Backend) })
    })
}

/// Prepares what a connection has not prepared yet. A procedure that was dropped or revoked meanwhile fails by itself
/// when it is called; it does not take the other handlers with it.
pub(super) async fn prepare(
    connection: &ClientWrapper,
    procedures: &[Arc<Procedure>],
    of: Use,
) -> Result<(), tokio_postgres::Error> {
    for procedure in procedures {
        for signature in of.signatures(procedure) {
            match connection.prepare_cached(&signature.sql).await {
                Ok(_) => {}
                Err(error) if error.code().is_some() => {
                    tracing::warn!(procedure = procedure.name, cause = chain(&error), "cannot be prepared");
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
