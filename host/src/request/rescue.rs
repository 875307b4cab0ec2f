//! Runs the two functions of a handler, and decides what happens when a generation on probation fails: the same phase
//! of the same request runs again on the previous generation, the client gets that answer, and the handler is rolled
//! back. A new generation fails when it faults. It also fails when its call is rejected or its answer is a 5xx, if the
//! previous generation would have planned something else or answered better.
//!
//! This is sound because the functions are pure: running one again changes nothing and returns the same result. A call
//! is never made twice. A failure that the previous generation shares is caused by the request, not by the new
//! generation, and rolls nothing back. Otherwise a client could undo a deployment.

use std::sync::Arc;
use std::time::Instant;

use super::decision::{Asked, Decision};
use super::functions::Functions;
use super::invoke::{self, Halt};
use super::log;
use super::trace::Trace;
use crate::contract::Rows;
use crate::failure::{Failure, Fault, FaultKind, Phase};
use crate::registry::{Generation, Handler, Lineage};
use crate::wire::Outgoing;

/// Runs `prepare`, whose time begins at `since`. Also returns the generation that decided: `respond` must run on the
/// same.
pub(super) async fn prepare<'a, F: Functions>(
    handler: &Handler,
    lineage: &'a Lineage,
    asked: &Asked<'_>,
    since: Instant,
) -> Result<(&'a Arc<Generation>, Decision), Halt> {
    let newcomer = &lineage.current;
    let halt = match invoke::prepare::<F>(handler, newcomer, &asked.request, since).await {
        Ok(decision) => return Ok((newcomer, decision)),
        Err(Halt::Fault(fault)) => Halt::Fault(count(handler, newcomer, asked, fault)),
        Err(Halt::Shed) => Halt::Shed,
    };
    let Some(previous) = handler.fallback(lineage) else { return Err(halt) };
    match Box::pin(invoke::prepare::<F>(handler, previous, &asked.request, Instant::now())).await {
        Ok(decision) => {
            // A shed call is not a reason to roll back: the slow calls that shed it fault by themselves when they pass
            // the deadline.
            if let Halt::Fault(fault) = &halt {
                roll_back(handler, newcomer, asked, fault);
            }
            Ok((previous, decision))
        }
        Err(_) => Err(halt),
    }
}

/// Runs `respond` on the generation that planned the call, with its carry and its rows. Its time begins at `since`.
pub(super) async fn respond<F: Functions>(
    handler: &Handler,
    lineage: &Lineage,
    generation: &Arc<Generation>,
    asked: &Asked<'_>,
    (carry, rows): (&[u8], &Rows),
    since: Instant,
) -> Result<Outgoing, Fault> {
    let answer = match invoke::respond::<F>(handler, generation, carry, rows, since).await {
        Ok(outgoing) if !outgoing.status().is_server_error() => return Ok(outgoing),
        answer => answer.map_err(|fault| count(handler, generation, asked, fault)),
    };
    let Some(previous) = proved(handler, lineage, generation) else { return answer };
    let instead = Box::pin(instead::<F>(handler, generation, previous, asked, rows)).await;
    match (answer, instead) {
        (Err(fault), Instead::Answer(outgoing)) => {
            roll_back(handler, generation, asked, &fault);
            Ok(outgoing)
        }
        // The previous generation planned another call, so it cannot answer this one. The new one faulted all the same.
        (Err(fault), Instead::OtherPlan) => {
            roll_back(handler, generation, asked, &fault);
            Err(fault)
        }
        (Err(fault), Instead::Nothing) => Err(fault),
        (Ok(mine), Instead::Answer(outgoing)) if !outgoing.status().is_server_error() => {
            let (status, number, its) = (mine.status(), previous.number, outgoing.status());
            let detail = format!("it answered {status}, generation {number} answers {its}");
            let fault = count(handler, generation, asked, Fault::new(Phase::Respond, FaultKind::Worse, &detail));
            roll_back(handler, generation, asked, &fault);
            Ok(outgoing)
        }
        // The previous generation answers no better, planned something else, or cannot be compared.
        (Ok(mine), _) => Ok(mine),
    }
}

/// Handles a call that failed. When its procedure rejected it, the database recorded nothing; the new generation is at
/// fault if the previous one plans something else for the same request. A reply of the previous one can be sent. A call
/// of it is not made, because a request makes only one.
pub(super) async fn rejected<F: Functions>(
    handler: &Handler,
    lineage: &Lineage,
    generation: &Arc<Generation>,
    asked: &Asked<'_>,
    failure: Failure,
) -> Result<Outgoing, Failure> {
    let Failure::Procedure { procedure, sqlstate: Some(sqlstate), .. } = &failure else { return Err(failure) };
    let Some(previous) = proved(handler, lineage, generation) else { return Err(failure) };
    // The arguments were moved into the call. `prepare` is pure, so running it again plans the same call.
    let mine = invoke::plan::<F>(handler, generation, &asked.request).await;
    let its = match (mine, invoke::plan::<F>(handler, previous, &asked.request).await) {
        (Ok(Decision::Call(mine)), Ok(Decision::Call(its))) if mine.is_same_call_as(&its) => return Err(failure),
        (Ok(_), Ok(Decision::Reply(its))) if its.status().is_server_error() => return Err(failure),
        (Ok(_), Ok(its)) => its,
        // One of them faulted or was shed: there is nothing to compare.
        _ => return Err(failure),
    };
    let number = previous.number;
    let detail = format!("`{procedure}` rejected its call with {sqlstate}, generation {number} plans something else");
    let fault = count(handler, generation, asked, Fault::new(Phase::Prepare, FaultKind::Worse, &detail));
    roll_back(handler, generation, asked, &fault);
    match its {
        Decision::Reply(outgoing) => Ok(outgoing),
        Decision::Call(_) => Err(failure),
    }
}

/// The generation that this one is compared with, if this one is on probation.
fn proved<'a>(handler: &Handler, lineage: &'a Lineage, generation: &Arc<Generation>) -> Option<&'a Arc<Generation>> {
    handler.fallback(lineage).filter(|_| Arc::ptr_eq(generation, &lineage.current))
}

/// What the previous generation does with the rows of a new generation's call.
enum Instead {
    Answer(Outgoing),
    /// It planned something else.
    OtherPlan,
    /// It fails too, or it cannot be compared.
    Nothing,
}

async fn instead<F: Functions>(
    handler: &Handler,
    generation: &Arc<Generation>,
    previous: &Arc<Generation>,
    asked: &Asked<'_>,
    rows: &Rows,
) -> Instead {
    // Each generation has its own format of the carry, so the previous one prepares again to get its own. The rows
    // answer its call only if it is the same call.
    let mine = invoke::plan::<F>(handler, generation, &asked.request).await;
    match (mine, invoke::plan::<F>(handler, previous, &asked.request).await) {
        (Ok(Decision::Call(mine)), Ok(Decision::Call(its))) if mine.is_same_call_as(&its) => {
            let answer = invoke::respond::<F>(handler, previous, &its.carry, rows, Instant::now()).await;
            answer.map_or(Instead::Nothing, Instead::Answer)
        }
        (Ok(_), Ok(_)) => Instead::OtherPlan,
        // One of them was shed or faulted: there is nothing to compare.
        _ => Instead::Nothing,
    }
}

/// Counts a fault, and logs it.
fn count(handler: &Handler, generation: &Generation, asked: &Asked<'_>, fault: Fault) -> Fault {
    generation.faulted();
    handler.metrics.faulted(fault.kind);
    log::fault(handler, generation, asked.head, &fault);
    fault
}

/// Rolls back. If many requests meet the fault at once, only one of them does, and logs it.
fn roll_back(handler: &Handler, from: &Generation, asked: &Asked<'_>, fault: &Fault) {
    let Fault { phase, kind, detail, .. } = fault;
    let (name, number) = (handler.entry.name.as_str(), from.number);
    if let Some(serving) = handler.roll_back(from, format!("{kind} in {phase}: {detail}")) {
        handler.metrics.rollbacks.inc();
        let Trace { request_id, traceparent } = Trace::of(asked.head);
        tracing::error!(
            request_id,
            traceparent,
            "{name}: ROLLED BACK to generation {}: generation {number} faulted on probation",
            serving.number
        );
    }
}
