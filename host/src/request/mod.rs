//! One request, from head to response. Every branch of the data path is in `attempt` and `handled`; what happens when
//! a new generation fails is in `rescue`, how a guest is called in `phase`.
//!
//! Called by `listen` for every request. A guest call takes microseconds and is synchronous; what needs milliseconds is
//! moved to a thread of its own.

mod phase;
mod rescue;
mod tell;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use crate::admission::Admission;
use crate::contract::{Request, Value};
use crate::database::{Database, Procedure};
use crate::failure::{self, Failure};
use crate::limits;
use crate::metrics::{Laps, Metrics};
use crate::registry::{Handler, Lineage, Registry};
use crate::wire::{self, Incoming, Outgoing};

/// What a node holds between requests: the registry and the pool, and how many requests it admits.
pub struct Node {
    /// Its handlers.
    pub registry: Registry,
    /// Its database.
    pub database: Arc<Database>,
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
            node.metrics.unrouted(failure.status());
            let mut outgoing = wire::failed(&failure);
            if !wire::discard(&mut incoming).await {
                wire::close(&mut outgoing);
            }
            return Ok(outgoing);
        }
    };
    // Taken once: both functions must run in the same generation, whatever is swapped meanwhile.
    let lineage = handler.lineage();
    let mut laps = Laps::begin();
    let entry = &handler.entry;
    let answer = match wire::read(incoming, parameters, &entry.headers, entry.limits.body_bytes_max).await {
        Ok(request) => {
            laps.end(&handler.metrics.read);
            handled(node, &handler, &lineage, &request, &mut laps).await
        }
        Err(failure) => Err(failure),
    };
    if answer.is_err() {
        laps.skip();
    }
    // By the admission, by a lane, or by a handler whose calls are slow.
    if matches!(answer, Err(Failure::Shed)) {
        node.metrics.shed.inc();
    }
    handler.metrics.duration.took(laps.whole());
    handler.metrics.answered(answer.as_ref().map_or_else(Failure::status, Outgoing::status));
    answer.inspect_err(|failure| tell::failure(&handler, &lineage.current, failure))
}

/// The stages of a handler: prepare, call, respond.
async fn handled(
    node: &Node,
    handler: &Handler,
    lineage: &Lineage,
    request: &Request,
    laps: &mut Laps,
) -> Result<Outgoing, Failure> {
    // Only now: a client that takes its time with a body holds no place.
    let _permit = node.admission.admit()?;
    lineage.current.called();
    let (generation, decision) = rescue::prepare(handler, lineage, request, laps.last()).await?;
    laps.end(&handler.metrics.prepare);
    match decision {
        Decision::Reply(outgoing) => Ok(outgoing),
        Decision::Call(Planned { procedure, arguments, carry }) => {
            // `database` counts how long it waits and takes.
            let called = node.database.call(&procedure, arguments).await;
            let since = laps.skip();
            match called {
                Ok(rows) => {
                    let call = (carry.as_slice(), &rows);
                    let outgoing = rescue::respond(handler, lineage, generation, request, call, since).await?;
                    laps.end(&handler.metrics.respond);
                    Ok(outgoing)
                }
                Err(failure) => {
                    let answer = Box::pin(rescue::rejected(handler, lineage, generation, request, failure)).await;
                    laps.skip();
                    answer
                }
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
