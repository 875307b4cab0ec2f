//! The two functions of a handler, and what happens when a generation on probation faults in one of them: the same
//! phase of the same request runs again on the previous generation, the client gets that answer, and the handler goes
//! back.
//!
//! This is sound because the functions are pure: running one again changes nothing and gives what it would have given.
//! A call is never made twice. A fault that the previous generation shares is the request's, not the newcomer's, and
//! rolls nothing back: else a client could undo a deployment.

use std::sync::Arc;

use super::{Decision, Planned};
use crate::contract::{Call, Plan, Request, Rows};
use crate::failure::{Fault, Phase};
use crate::registry::{Generation, Handler, Lineage};
use crate::wire::{self, Outgoing};

/// `prepare`. Also returns the generation that decided: its `respond` must follow.
pub(super) fn prepare<'a>(
    handler: &Handler,
    lineage: &'a Lineage,
    request: &Request,
) -> Result<(&'a Arc<Generation>, Decision), Fault> {
    let newcomer = &lineage.current;
    let fault = match decide(handler, newcomer, request) {
        Ok(decision) => return Ok((newcomer, decision)),
        Err(fault) => count(handler, newcomer, fault),
    };
    let Some(previous) = handler.fallback(lineage) else { return Err(fault) };
    match decide(handler, previous, request) {
        Ok(decision) => {
            roll_back(handler, newcomer, &fault);
            Ok((previous, decision))
        }
        Err(_) => Err(fault),
    }
}

/// `respond`, on the generation that planned the call.
pub(super) fn respond(
    handler: &Handler,
    lineage: &Lineage,
    generation: &Arc<Generation>,
    request: &Request,
    carry: &[u8],
    rows: &Rows,
) -> Result<Outgoing, Fault> {
    let fault = match build(generation, carry, rows) {
        Ok(outgoing) => return Ok(outgoing),
        Err(fault) => count(handler, generation, fault),
    };
    let newcomer = Arc::ptr_eq(generation, &lineage.current);
    let Some(previous) = handler.fallback(lineage).filter(|_| newcomer) else { return Err(fault) };
    // A carry is each generation's own format: the previous one prepares again, for its own. The rows that are there
    // answer its call only if it is the same one.
    let answer = match (decide(handler, generation, request), decide(handler, previous, request)) {
        (Ok(Decision::Call(mine)), Ok(Decision::Call(its))) if mine.is_same_call_as(&its) => {
            build(previous, &its.carry, rows).map_err(|_| Unanswered::Both)
        }
        // It would have done something else, and cannot answer for what was done. The newcomer is no better for that.
        (_, Ok(_)) => Err(Unanswered::Newcomer),
        (_, Err(_)) => Err(Unanswered::Both),
    };
    if !matches!(answer, Err(Unanswered::Both)) {
        roll_back(handler, generation, &fault);
    }
    answer.map_err(|_| fault)
}

/// Who failed a request that has no answer.
enum Unanswered {
    Newcomer,
    Both,
}

impl Planned {
    fn is_same_call_as(&self, other: &Self) -> bool {
        self.procedure.name == other.procedure.name && self.arguments == other.arguments
    }
}

/// Runs `prepare` and checks what it decided: a grant that is missing or an argument that does not fit is a fault too.
fn decide(handler: &Handler, generation: &Generation, request: &Request) -> Result<Decision, Fault> {
    match generation.component.prepare(request)? {
        Plan::Reply(response) => Ok(Decision::Reply(wire::respond(response, Phase::Prepare)?)),
        Plan::Call(Call { procedure, arguments, carry }) => {
            let granted = handler.procedure(&procedure).ok_or_else(|| {
                let shown = procedure.escape_default();
                Fault::malformed(Phase::Prepare, format!("the procedure `{shown}` is not granted"))
            })?;
            granted.check(&arguments).map_err(|mismatch| Fault::malformed(Phase::Prepare, mismatch))?;
            Ok(Decision::Call(Planned { procedure: Arc::clone(granted), arguments, carry }))
        }
    }
}

fn build(generation: &Generation, carry: &[u8], rows: &Rows) -> Result<Outgoing, Fault> {
    wire::respond(generation.component.respond(carry, rows)?, Phase::Respond)
}

/// Counts a fault, and tells it.
fn count(handler: &Handler, generation: &Generation, fault: Fault) -> Fault {
    generation.faulted();
    handler.metrics.faulted(fault.kind);
    let (name, number) = (handler.entry.name.as_str(), generation.number);
    let Fault { phase, kind, detail } = &fault;
    tracing::error!(handler = name, generation = number, %phase, %kind, detail, "guest faulted");
    fault
}

/// Of many requests that meet the fault at once, one rolls back.
fn roll_back(handler: &Handler, from: &Generation, fault: &Fault) {
    let Fault { phase, kind, detail } = fault;
    let (name, number) = (handler.entry.name.as_str(), from.number);
    if let Some(serving) = handler.roll_back(from, format!("{kind} in {phase}: {detail}")) {
        handler.metrics.rollbacks.inc();
        tracing::error!(
            "{name}: ROLLED BACK to generation {}: generation {number} faulted on probation",
            serving.number
        );
    }
}
