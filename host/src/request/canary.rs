//! Answers a request that a canary was chosen for. Both generations run on it: the old one changes nothing by it,
//! because the functions are pure, and the call is made once. So a canary is found out before its client is harmed:
//! when it faults, or decides otherwise and neither the deployment nor a changed example announced that, the client
//! gets what the old generation decides, and the canary is rolled back on this node. When its guest calls have been
//! shown to take longer, it is rolled back too.
//!
//! A request that the old generation fails at proves nothing: it gets what the canary decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compare::{answered, differs, is_same_answer, is_same_decision, shown};
use super::decision::{Asked, Decision, Planned};
use super::functions::Functions;
use super::invoke::{self, Halt};
use super::rescue::{self, Called};
use super::trace::Trace;
use super::trail::Noted;
use crate::contract::Outcome;
use crate::database::Carried;
use crate::failure::{self, Failure, Fault, FaultKind, Phase};
use crate::metrics::Laps;
use crate::node::Node;
use crate::record::{self, Times};
use crate::registry::{Canary, Differences, Generation, Handler, Lineage, Who};
use crate::replay;
use crate::wire::Outgoing;

/// What is asked of whom.
struct Trial<'a, 'b> {
    handler: &'a Handler,
    lineage: &'a Lineage,
    canary: &'a Canary,
    asked: &'b Asked<'b>,
}

/// What `prepare` came to.
struct Chosen<'a> {
    /// The generation that goes on with the request.
    generation: &'a Arc<Generation>,
    decision: Decision,
    /// What the old generation decided, if that can be compared.
    old: Old,
    /// How long `prepare` took on the old one and on the canary.
    took: (Duration, Duration),
}

/// What the old generation decided, where the canary goes on.
enum Old {
    /// The same; for a call, its own carry.
    Same(Vec<u8>),
    /// Something else, as announced.
    Other,
    /// Nothing that can be compared.
    Nothing,
}

/// Answers a request. Also returns the generation that did.
pub(super) async fn handled<'a, F: Functions>(
    node: &Node,
    (handler, lineage, canary): (&'a Handler, &'a Lineage, &'a Canary),
    asked: &Asked<'_>,
    laps: &mut Laps,
) -> Result<(Outgoing, &'a Arc<Generation>), Failure> {
    let trial = Trial { handler, lineage, canary, asked };
    let Chosen { generation, decision, old, took } = trial.prepare::<F>().await?;
    let prepared = laps.end(&handler.metrics.prepare);
    asked.note(|noted| {
        noted.times.prepare = Times::micros(prepared);
        noted.generation = Some(Arc::clone(generation));
    });
    let Planned { procedure, arguments, carry } = match decision {
        Decision::Reply(outgoing) => {
            if let Old::Same(_) = old {
                trial.compared(took);
            }
            asked.note(|noted| noted.planned = Some(record::Planned::Reply));
            return Ok((outgoing, generation));
        }
        Decision::Call(planned) => planned,
    };
    let Carried { outcome, passage, arguments } = node.database.carry_out(&procedure, arguments).await;
    let since = laps.skip();
    asked.note(|noted| noted.passed(passage));
    let outcome = match failure::outcome_of(outcome) {
        Ok(outcome) => outcome,
        Err(failure) => {
            if let Some(arguments) = arguments {
                asked.called(Planned { procedure, arguments, carry }, passage, None);
            }
            return Err(failure);
        }
    };
    let called = Called { procedure: &procedure, carry: &carry, outcome: &outcome };
    let (answer, by) = if Arc::ptr_eq(generation, &canary.generation) {
        trial.respond::<F>(called, &old, took).await
    } else {
        rescue::respond::<F>(handler, lineage, generation, asked, called, since).await
    };
    let responded = laps.end(&handler.metrics.respond);
    // The record is of the generation whose answer is sent, and so is the carry.
    let carry = match old {
        Old::Same(its) if !Arc::ptr_eq(generation, by) => its,
        _ => carry,
    };
    asked.note(|noted| {
        noted.times.respond = Times::micros(responded);
        noted.generation = Some(Arc::clone(by));
    });
    asked.called(Planned { procedure, arguments: arguments.unwrap_or_default(), carry }, passage, Some(outcome));
    answer.map(|outgoing| (outgoing, by))
}

impl<'a> Trial<'a, '_> {
    async fn prepare<F: Functions>(&self) -> Result<Chosen<'a>, Halt> {
        let Self { lineage, canary, .. } = *self;
        let (old, new) = if canary.old_first() {
            let old = self.prepared::<F>(&canary.baseline).await;
            (old, self.prepared::<F>(&canary.generation).await)
        } else {
            let new = self.prepared::<F>(&canary.generation).await;
            (self.prepared::<F>(&canary.baseline).await, new)
        };
        let (generation, took) = (&canary.generation, (old.1, new.1));
        let instead = |decision| Chosen { generation: &lineage.current, decision, old: Old::Nothing, took };
        match (old.0, new.0) {
            (Ok(old), Ok(new)) if is_same_decision(&old, &new) => {
                let carry = match old {
                    Decision::Call(planned) => planned.carry,
                    Decision::Reply(_) => Vec::new(),
                };
                Ok(Chosen { generation, decision: new, old: Old::Same(carry), took })
            }
            (Ok(old), Ok(new)) => {
                let fails =
                    |decision: &Decision| matches!(decision, Decision::Reply(it) if it.status().is_server_error());
                if self.refuses(Phase::Prepare, (&old, &new), shown, fails(&new) && !fails(&old)) {
                    return Ok(instead(old));
                }
                Ok(Chosen { generation, decision: new, old: Old::Other, took })
            }
            (Ok(old), Err(Halt::Fault(fault))) => {
                self.faulted(fault);
                Ok(instead(old))
            }
            // A shed call is not a reason to roll back: the slow calls that shed it fault by themselves.
            (Ok(old), Err(Halt::Shed)) => {
                self.asked.note(Noted::shed);
                Ok(instead(old))
            }
            (Err(_), Ok(new)) => Ok(Chosen { generation, decision: new, old: Old::Nothing, took }),
            (Err(_), Err(Halt::Fault(fault))) => {
                Err(Halt::Fault(rescue::count(self.handler, generation, self.asked, fault)))
            }
            (Err(_), Err(Halt::Shed)) => Err(Halt::Shed),
        }
    }

    async fn prepared<F: Functions>(&self, generation: &Arc<Generation>) -> (Result<Decision, Halt>, Duration) {
        let begun = Instant::now();
        let decision = invoke::prepare::<F>(self.handler, generation, &self.asked.request, begun).await;
        (decision, begun.elapsed())
    }

    /// Runs `respond` on the canary, whose call it was, and on the old generation if that planned the same call.
    async fn respond<F: Functions>(
        &self,
        called: Called<'_>,
        old: &Old,
        took: (Duration, Duration),
    ) -> (Result<Outgoing, Failure>, &'a Arc<Generation>) {
        let Self { handler, lineage, canary, asked } = *self;
        let generation = &canary.generation;
        let mine = |answer: Result<Outgoing, Failure>| (answer, generation);
        let Old::Same(carry) = old else {
            let new = self.responded::<F>(generation, called).await.0;
            return mine(match new {
                Err(fault) if matches!(old, Old::Other) => Err(Failure::Fault(self.faulted(fault))),
                Err(fault) => Err(Failure::Fault(rescue::count(handler, generation, asked, fault))),
                Ok(new) => {
                    // The old generation planned something else, and the database rejected what the canary planned.
                    let rejected = matches!(old, Old::Other) && matches!(called.outcome, Outcome::Error(_));
                    if rejected && rescue::status_of(&new).is_server_error() {
                        self.worse(Phase::Prepare, &called.rejected(lineage.current.number));
                    }
                    new
                }
            });
        };
        let its = Called { carry, ..called };
        let (old, new) = if canary.old_first() {
            let old = self.responded::<F>(&canary.baseline, its).await;
            (old, self.responded::<F>(generation, called).await)
        } else {
            let new = self.responded::<F>(generation, called).await;
            (self.responded::<F>(&canary.baseline, its).await, new)
        };
        let took = (took.0 + old.1, took.1 + new.1);
        match (old.0, new.0) {
            (Ok(old), Ok(new)) if is_same_answer(&old, &new) => {
                self.compared(took);
                mine(new)
            }
            (Ok(old), Ok(new)) => {
                let worse = rescue::status_of(&new).is_server_error() && !rescue::status_of(&old).is_server_error();
                match self.refuses(Phase::Respond, (&old, &new), answered, worse) {
                    true => (old, &lineage.current),
                    false => mine(new),
                }
            }
            (Ok(old), Err(fault)) => {
                self.faulted(fault);
                (old, &lineage.current)
            }
            (Err(_), Ok(new)) => mine(new),
            (Err(_), Err(fault)) => mine(Err(Failure::Fault(rescue::count(handler, generation, asked, fault)))),
        }
    }

    async fn responded<F: Functions>(
        &self,
        generation: &Arc<Generation>,
        called: Called<'_>,
    ) -> (Result<Result<Outgoing, Failure>, Fault>, Duration) {
        let begun = Instant::now();
        let answer = invoke::respond::<F>(self.handler, generation, called.carry, called.outcome, begun).await;
        let took = begun.elapsed();
        (answer.map(|answer| answer.ok_or_else(|| called.raised())), took)
    }

    /// Notes a request that both decided alike, and how long it took them.
    fn compared(&self, (old, new): (Duration, Duration)) {
        self.canary.compared(false);
        if let Some((ratio, requests)) = self.canary.took(old, new) {
            let number = self.lineage.current.number;
            let longer = format!("its guest calls take {ratio:.1} times as long as those of generation {number}");
            self.worse(Phase::Prepare, &format!("{longer}, over {requests} requests"));
        }
    }

    /// Notes a request that both decided otherwise. Returns whether the canary was rolled back for it: it fails where
    /// the old generation does not (`worse`), or differences are refused and no changed example states this one.
    fn refuses<D>(&self, phase: Phase, (old, new): (&D, &D), shown: fn(&D) -> replay::Decision, worse: bool) -> bool {
        let Self { lineage, canary, asked, .. } = *self;
        canary.compared(true);
        if canary.differences == Differences::Report && !worse {
            return false;
        }
        let (old, new) = (shown(old), shown(new));
        let intended = !worse && canary.intended.states(&asked.request.route, &old, &new);
        match intended {
            true => canary.differed_as_intended(),
            false => self.worse(phase, &differs(lineage, &old, &new)),
        }
        !intended
    }

    fn worse(&self, phase: Phase, detail: &str) {
        self.faulted(Fault::new(phase, FaultKind::Worse, detail));
    }

    /// Counts a fault of the canary, and rolls it back. If many requests meet it at once, only one of them does.
    fn faulted(&self, fault: Fault) -> Fault {
        let Self { handler, canary, asked, .. } = *self;
        let fault = rescue::count(handler, &canary.generation, asked, fault);
        let Fault { phase, kind, detail, .. } = &fault;
        let cause = format!("{kind} in {phase}: {detail}");
        if let Some(serving) = handler.roll_back(&canary.generation, &Who::node(), cause.clone()) {
            let (name, number, serving) = (&handler.entry.name, canary.generation.number, serving.number);
            handler.metrics.rolled_back(serving, &format!("the canary, generation {number}: {cause}"));
            let Trace { request_id, trace_id } = asked.named();
            tracing::error!(
                request_id,
                trace_id,
                "{name}: CANARY ROLLED BACK: generation {serving} answers every request again, not generation {number}: {cause}"
            );
        }
        fault
    }
}
