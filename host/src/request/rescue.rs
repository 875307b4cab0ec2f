//! The two functions of a handler, and what happens when a generation on probation fails in one of them: the same
//! phase of the same request runs again on the previous generation, the client gets that answer, and the handler goes
//! back. A newcomer fails when it faults; and when its call is rejected or its answer is a 5xx, and the previous
//! generation would have done another thing or answered better.
//!
//! This is sound because the functions are pure: running one again changes nothing and gives what it would have given.
//! A call is never made twice. What the previous generation shares is the request's failure, not the newcomer's, and
//! rolls nothing back: else a client could undo a deployment.

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

/// `prepare`, whose time begins at `since`. Also returns the generation that decided: its `respond` must follow.
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
            // A newcomer that is too slow for more of its calls has its deadline to show what becomes of the others.
            if let Halt::Fault(fault) = &halt {
                roll_back(handler, newcomer, asked, fault);
            }
            Ok((previous, decision))
        }
        Err(_) => Err(halt),
    }
}

/// `respond`, on the generation that planned the call, with its carry and its rows. Its time begins at `since`.
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
        // It cannot answer for what was done. The newcomer is no better for that.
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
        // The same call and no better answer, or nothing to compare it with.
        (Ok(mine), _) => Ok(mine),
    }
}

/// A call failed. When its procedure rejected it, nothing is recorded; a newcomer is at fault when the previous
/// generation plans something else for the same request. Its reply can be sent. Its call is not made: a request makes
/// one.
pub(super) async fn rejected<F: Functions>(
    handler: &Handler,
    lineage: &Lineage,
    generation: &Arc<Generation>,
    asked: &Asked<'_>,
    failure: Failure,
) -> Result<Outgoing, Failure> {
    let Failure::Procedure { procedure, sqlstate: Some(sqlstate), .. } = &failure else { return Err(failure) };
    let Some(previous) = proved(handler, lineage, generation) else { return Err(failure) };
    // The arguments went with the call, and what is pure plans it again.
    let mine = invoke::plan::<F>(handler, generation, &asked.request).await;
    let its = match (mine, invoke::plan::<F>(handler, previous, &asked.request).await) {
        (Ok(Decision::Call(mine)), Ok(Decision::Call(its))) if mine.is_same_call_as(&its) => return Err(failure),
        (Ok(_), Ok(Decision::Reply(its))) if its.status().is_server_error() => return Err(failure),
        (Ok(_), Ok(its)) => its,
        // Nothing to compare it with.
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

/// The generation that a newcomer is compared with, if this is one.
fn proved<'a>(handler: &Handler, lineage: &'a Lineage, generation: &Arc<Generation>) -> Option<&'a Arc<Generation>> {
    handler.fallback(lineage).filter(|_| Arc::ptr_eq(generation, &lineage.current))
}

/// What the previous generation makes of the rows of a newcomer's call.
enum Instead {
    Answer(Outgoing),
    /// It would have done something else.
    OtherPlan,
    /// It fails too, or nothing is known of it.
    Nothing,
}

async fn instead<F: Functions>(
    handler: &Handler,
    generation: &Arc<Generation>,
    previous: &Arc<Generation>,
    asked: &Asked<'_>,
    rows: &Rows,
) -> Instead {
    // A carry is each generation's own format: the previous one prepares again, for its own. The rows that are there
    // answer its call only if it is the same one.
    let mine = invoke::plan::<F>(handler, generation, &asked.request).await;
    match (mine, invoke::plan::<F>(handler, previous, &asked.request).await) {
        (Ok(Decision::Call(mine)), Ok(Decision::Call(its))) if mine.is_same_call_as(&its) => {
            let answer = invoke::respond::<F>(handler, previous, &its.carry, rows, Instant::now()).await;
            answer.map_or(Instead::Nothing, Instead::Answer)
        }
        (Ok(_), Ok(_)) => Instead::OtherPlan,
        // One of them was too slow for it, or faults: nothing to compare.
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

/// Of many requests that meet the fault at once, one rolls back.
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
