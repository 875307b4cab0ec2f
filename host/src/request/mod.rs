//! One request, from head to response. Every branch of the data path is in `attempt` and `handled`; what happens when
//! a new generation fails is in `rescue`, how a guest is called in `phase`.
//!
//! Called by `listen` for every request. A guest call takes microseconds and is synchronous; what needs milliseconds is
//! moved to a thread of its own.

mod phase;
mod rescue;
mod tell;
pub mod tries;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;

use crate::admission::Admission;
use crate::config::Proxy;
use crate::contract::{Request, Value};
use crate::database::{Database, Procedure};
use crate::failure::{self, Failure};
use crate::limits;
use crate::metrics::Metrics;
use crate::registry::{Handler, Lineage, Registry};
use crate::wire::{self, Incoming, Outgoing};

/// What a node holds between requests: the registry and the pool, and how many requests it admits.
pub struct Node {
    /// Its handlers.
    pub registry: Registry,
    /// Its database.
    pub database: Arc<Database>,
    /// What stands in front.
    pub proxy: Proxy,
    /// How many requests may be in flight.
    pub admission: Admission,
    /// Its counters.
    pub metrics: Arc<Metrics>,
}

/// Answers one request, whatever happens.
pub async fn serve(node: Arc<Node>, incoming: Incoming) -> Outgoing {
    // A panic of ours costs the request that met it, not the connection's task nor the process.
    let answer = AssertUnwindSafe(attempt(&node, incoming)).catch_unwind().await;
    let answer = answer.unwrap_or_else(|payload| Err(Failure::Panic { message: said(payload.as_ref()) }));
    answer.unwrap_or_else(|failure| {
        if let Failure::Panic { message } = &failure {
            tracing::error!(message, "panic in the host");
        }
        wire::failed(&failure)
    })
}

/// Carries one request to its handler, and counts what became of it.
async fn attempt(node: &Node, mut incoming: Incoming) -> Result<Outgoing, Failure> {
    let found = {
        let table = node.registry.table();
        let found = table.routes.find(incoming.method(), incoming.uri().path());
        found.map(|(handler, parameters)| (Arc::clone(handler), parameters))
    };
    let (handler, parameters) = match found {
        Ok(found) => found,
        Err(failure) => {
            node.metrics.unrouted.inc();
            let mut outgoing = wire::failed(&failure);
            if !wire::discard(&mut incoming).await {
                wire::close(&mut outgoing);
            }
            return Ok(outgoing);
        }
    };
    // Taken once: both functions must run in the same generation, whatever is swapped meanwhile.
    let lineage = handler.lineage();
    let begun = Instant::now();
    let entry = &handler.entry;
    let read = match tries::check(node.proxy, entry, incoming.headers_mut()) {
        Ok(()) => wire::read(incoming, parameters, &entry.headers, entry.limits.body_bytes_max).await,
        Err(failure) => {
            wire::discard(&mut incoming).await;
            Err(failure)
        }
    };
    let answer = match read {
        Ok(request) => handled(node, &handler, &lineage, &request).await,
        Err(failure) => Err(failure),
    };
    // By the admission, by a lane, or by a handler whose calls are slow.
    if matches!(answer, Err(Failure::Shed)) {
        node.metrics.shed.inc();
    }
    handler.metrics.seconds.observe(begun.elapsed().as_secs_f64());
    handler.metrics.answered(answer.as_ref().map_or_else(Failure::status, Outgoing::status));
    answer.inspect_err(|failure| tell::failure(&handler, &lineage.current, failure))
}

/// The stages of a handler: prepare, call, respond.
async fn handled(node: &Node, handler: &Handler, lineage: &Lineage, request: &Request) -> Result<Outgoing, Failure> {
    // Only now: a client that takes its time with a body holds no place.
    let _permit = node.admission.admit()?;
    lineage.current.called();
    let (generation, decision) = rescue::prepare(handler, lineage, request).await?;
    match decision {
        Decision::Reply(outgoing) => Ok(outgoing),
        Decision::Call(Planned { procedure, arguments, carry }) => {
            match node.database.call(&procedure, arguments).await {
                Ok(rows) => Ok(rescue::respond(handler, lineage, generation, request, &carry, &rows).await?),
                Err(failure) => Box::pin(rescue::rejected(handler, lineage, generation, request, failure)).await,
            }
        }
    }
}

/// What `prepare` decided, checked: a response that can be sent, or a call that can be made.
enum Decision {
    Reply(Outgoing),
    Call(Planned),
}

/// A call of a granted procedure with arguments that fit it.
struct Planned {
    procedure: Arc<Procedure>,
    arguments: Vec<Value>,
    carry: Vec<u8>,
}

fn said(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
    // It may quote what a guest handed over.
    failure::cut(text, limits::FAULT_BYTES_MAX)
}
