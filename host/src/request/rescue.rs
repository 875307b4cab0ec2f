//! Runs the two functions of a handler, and decides what happens when a generation on probation fails: the same phase
//! of the same request runs again on the previous generation, the client gets that answer, and the handler is rolled
//! back. A new generation fails when it faults. It also fails when the answer is a 5xx, by itself or by the host for an
//! error of its call, if the previous generation would have planned something else or answered better. An answer 4xx is
//! never compared: clients cause it at will, and a new generation may mean to answer so.
//!
//! This is sound because the functions are pure: running one again changes nothing and returns the same result. A call
//! is never made twice. A failure that the previous generation shares is caused by the request, not by the new
//! generation, and rolls nothing back. Otherwise a client could undo a deployment.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::decision::{Asked, Decision};
use super::functions::Functions;
use super::invoke::{self, Halt};
use super::log;
use super::trace::Trace;
use super::trail::Noted;
use crate::contract::Outcome;
use crate::database::Procedure;
use crate::failure::{Failure, Fault, FaultKind, Phase, Raised};
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
            match &halt {
                Halt::Fault(fault) => roll_back(handler, newcomer, asked, fault),
                Halt::Shed => asked.note(Noted::shed),
            }
            Ok((previous, decision))
        }
        Err(_) => Err(halt),
    }
}

/// A call that ended.
#[derive(Clone, Copy)]
pub(super) struct Called<'a> {
    pub(super) procedure: &'a Procedure,
    pub(super) carry: &'a [u8],
    pub(super) outcome: &'a Outcome,
}

/// Runs `respond` on the generation that planned the call. Its time begins at `since`.
pub(super) async fn respond<F: Functions>(
    handler: &Handler,
    lineage: &Lineage,
    generation: &Arc<Generation>,
    asked: &Asked<'_>,
    called: Called<'_>,
    since: Instant,
) -> Result<Outgoing, Failure> {
    let answer = match invoke::respond::<F>(handler, generation, called.carry, called.outcome, since).await {
        Ok(Some(outgoing)) if !outgoing.status().is_server_error() => return Ok(outgoing),
        Ok(Some(outgoing)) => Ok(outgoing),
        Ok(None) => Err(called.raised()),
        Err(fault) => Err(Failure::Fault(count(handler, generation, asked, fault))),
    };
    let status = status_of(&answer);
    if !status.is_server_error() {
        return answer;
    }
    let Some(previous) = proved(handler, lineage, generation) else { return answer };
    let instead = Box::pin(instead::<F>(handler, generation, previous, asked, called)).await;
    let number = previous.number;
    let worse = |phase, detail: &str| {
        let fault = count(handler, generation, asked, Fault::new(phase, FaultKind::Worse, detail));
        roll_back(handler, generation, asked, &fault);
    };
    match (answer, instead) {
        (Err(Failure::Fault(fault)), Instead::Answer(its)) => {
            roll_back(handler, generation, asked, &fault);
            asked.note(|noted| noted.rescued(previous));
            its
        }
        (Err(Failure::Fault(fault)), Instead::Reply(outgoing)) => {
            roll_back(handler, generation, asked, &fault);
            asked.note(|noted| noted.replied(previous));
            Ok(outgoing)
        }
        // The previous generation planned another call, so it cannot answer this one. The new one faulted all the same.
        (Err(Failure::Fault(fault)), Instead::OtherPlan) => {
            roll_back(handler, generation, asked, &fault);
            Err(Failure::Fault(fault))
        }
        (_, Instead::Answer(its)) if !status_of(&its).is_server_error() => {
            worse(Phase::Respond, &format!("it answered {status}, generation {number} answers {}", status_of(&its)));
            asked.note(|noted| noted.rescued(previous));
            its
        }
        (_, Instead::Reply(outgoing)) if !outgoing.status().is_server_error() => {
            worse(Phase::Prepare, &called.rejected(number));
            asked.note(|noted| noted.replied(previous));
            Ok(outgoing)
        }
        (answer, Instead::OtherPlan) if matches!(called.outcome, Outcome::Error(_)) => {
            worse(Phase::Prepare, &called.rejected(number));
            answer
        }
        // The previous generation answers no better, planned something else, or cannot be compared.
        (answer, _) => answer,
    }
}

fn status_of(answer: &Result<Outgoing, Failure>) -> StatusCode {
    answer.as_ref().map_or_else(Failure::status, Outgoing::status)
}

impl Called<'_> {
    /// The failure of a call whose error the handler leaves to the host.
    fn raised(&self) -> Failure {
        match self.outcome {
            Outcome::Error(error) => {
                Failure::Raised(Box::new(Raised { procedure: self.procedure.name.clone(), error: error.clone() }))
            }
            // Unreachable: `invoke` reports rows without a response as a fault.
            Outcome::Rows(_) => Failure::Panic { message: "rows without a response".to_owned() },
        }
    }

    fn rejected(&self, number: u64) -> String {
        let sqlstate = match self.outcome {
            Outcome::Error(error) => error.sqlstate.as_str(),
            Outcome::Rows(_) => "no error",
        };
        let procedure = &self.procedure.name;
        format!("`{procedure}` rejected its call with {sqlstate}, generation {number} plans something else")
    }
}

/// The generation that this one is compared with, if this one is on probation.
fn proved<'a>(handler: &Handler, lineage: &'a Lineage, generation: &Arc<Generation>) -> Option<&'a Arc<Generation>> {
    handler.fallback(lineage).filter(|_| Arc::ptr_eq(generation, &lineage.current))
}

/// What the previous generation does with the outcome of a new generation's call.
enum Instead {
    /// It plans the same call, and answers its outcome or leaves it to the host.
    Answer(Result<Outgoing, Failure>),
    /// It replies without a call. Only when the call was rolled back: its reply denies what the database then records.
    Reply(Outgoing),
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
    called: Called<'_>,
) -> Instead {
    // Each generation has its own format of the carry, so the previous one prepares again to get its own. The outcome
    // answers its call only if it is the same call.
    let mine = invoke::plan::<F>(handler, generation, &asked.request).await;
    match (mine, invoke::plan::<F>(handler, previous, &asked.request).await) {
        (Ok(Decision::Call(mine)), Ok(Decision::Call(its))) if mine.is_same_call_as(&its) => {
            match invoke::respond::<F>(handler, previous, &its.carry, called.outcome, Instant::now()).await {
                Ok(answer) => Instead::Answer(answer.ok_or_else(|| called.raised())),
                Err(_) => Instead::Nothing,
            }
        }
        (Ok(_), Ok(Decision::Reply(its))) if matches!(called.outcome, Outcome::Error(_)) => Instead::Reply(its),
        // With another config the same component plans another call. That is not evidence, and an error of the call may
        // be the client's doing, which must not undo the change.
        (Ok(_), Ok(_)) if is_same_component(generation, previous) => Instead::Nothing,
        (Ok(_), Ok(_)) => Instead::OtherPlan,
        // One of them was shed or faulted: there is nothing to compare.
        _ => Instead::Nothing,
    }
}

fn is_same_component(one: &Generation, other: &Generation) -> bool {
    one.component.compiled.digest == other.component.compiled.digest
}

/// Counts a fault, and logs it without the secrets of the handler, which the message of a panic may quote.
fn count(handler: &Handler, generation: &Generation, asked: &Asked<'_>, mut fault: Fault) -> Fault {
    if let Cow::Owned(detail) = generation.config.redacted(&fault.detail) {
        fault.detail = detail;
    }
    generation.faulted();
    asked.note(|noted| noted.faulted(&fault));
    handler.metrics.faulted(fault.kind);
    log::fault(handler, generation, asked, &fault);
    fault
}

/// Rolls back. If many requests meet the fault at once, only one of them does, and logs it.
fn roll_back(handler: &Handler, from: &Generation, asked: &Asked<'_>, fault: &Fault) {
    let Fault { phase, kind, detail, .. } = fault;
    let (name, number) = (handler.entry.name.as_str(), from.number);
    let cause = format!("{kind} in {phase}: {detail}");
    if let Some(serving) = handler.roll_back(from, cause.clone()) {
        handler.metrics.rolled_back(serving.number, &format!("generation {number} faulted on probation: {cause}"));
        let Trace { request_id, trace_id } = asked.named();
        tracing::error!(
            request_id,
            trace_id,
            "{name}: ROLLED BACK to generation {}: generation {number} faulted on probation",
            serving.number
        );
    }
}
