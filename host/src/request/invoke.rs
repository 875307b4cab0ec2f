//! Runs one of the two functions of one generation and checks its result. The call gets a slice of the thread that
//! serves the request; nearly every call needs a thousandth of it. A call that needs more is run again on a separate
//! thread, for the rest of its deadline.
//!
//! Everything that the guest returns is checked here, so that no other code has to. A forbidden result, or one that
//! makes the host panic, is a fault of the guest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decision::{Decision, Planned};
use super::functions::Functions;
use crate::contract::{Call, Outcome, Plan, Request};
use crate::failure::{self, Failure, Fault, FaultKind, Phase, shown};
use crate::guest::{Allowance, Room, Slot};
use crate::limits;
use crate::registry::{Generation, Handler};
use crate::wire::{self, Outgoing};

/// Why a function returned no result.
pub(super) enum Halt {
    /// The guest faulted.
    Fault(Fault),
    /// The handler has as many slow calls as it may have, so this one was not run to its end.
    Shed,
}

/// Runs `prepare`, and checks what it decided. Its time begins at `since`, which is now, or when its turn comes.
pub(super) async fn prepare<F: Functions>(
    handler: &Handler,
    generation: &Arc<Generation>,
    request: &Request,
    mut since: Instant,
) -> Result<Decision, Halt> {
    if generation.aside.room() != Room::Open {
        generation.aside.turn().await;
        if generation.aside.room() == Room::Closed {
            return Err(Halt::Shed);
        }
        since = Instant::now();
    }
    decided::<F>(handler, generation, request, since).await
}

/// Runs `prepare` for a comparison of generations: also for a handler that refuses new requests because it has too many
/// slow calls.
pub(super) async fn plan<F: Functions>(
    handler: &Handler,
    generation: &Arc<Generation>,
    request: &Request,
) -> Result<Decision, Halt> {
    if generation.aside.room() != Room::Open {
        generation.aside.turn().await;
    }
    decided::<F>(handler, generation, request, Instant::now()).await
}

async fn decided<F: Functions>(
    handler: &Handler,
    generation: &Arc<Generation>,
    request: &Request,
    since: Instant,
) -> Result<Decision, Halt> {
    let time = Time::begin(handler, since);
    // Copied only for a previous generation that had another config.
    let request = &*request.under(generation.config.fields());
    let plan = match time.slice(PREPARE, |time| F::prepare(&generation.component, time, request)) {
        Some(plan) => plan?,
        None => {
            let slot = generation.aside.enter().ok_or(Halt::Shed)?;
            let (generation, request) = (Arc::clone(generation), request.clone());
            let work = move |time| F::prepare(&generation.component, time, &request);
            Box::pin(time.rest(PREPARE, slot, work)).await.ok_or(Halt::Shed)??
        }
    };
    Ok(guarded(PREPARE, || decide(handler, plan))?)
}

/// Runs `respond`, and checks what it built: `None` leaves an error of the procedure to the host. The database has
/// already executed the call, so the request is not shed: it waits for a thread. Its time begins as that of `prepare`
/// does.
pub(super) async fn respond<F: Functions>(
    handler: &Handler,
    generation: &Arc<Generation>,
    carry: &[u8],
    outcome: &Outcome,
    mut since: Instant,
) -> Result<Option<Outgoing>, Fault> {
    if generation.aside.room() != Room::Open {
        generation.aside.turn().await;
        since = Instant::now();
    }
    let time = Time::begin(handler, since);
    let response = match time.slice(RESPOND, |time| F::respond(&generation.component, time, carry, outcome)) {
        Some(response) => response?,
        None => {
            let no_thread = || Fault::new(RESPOND, FaultKind::Deadline, "no thread for slow calls was free in time");
            let slot = Box::pin(generation.aside.wait(time.until)).await.ok_or_else(no_thread)?;
            let (generation, carry, ended) = (Arc::clone(generation), carry.to_owned(), outcome.clone());
            let work = move |time| F::respond(&generation.component, time, &carry, &ended);
            Box::pin(time.rest(RESPOND, slot, work)).await.ok_or_else(no_thread)??
        }
    };
    match (response, outcome) {
        (Some(response), _) => guarded(RESPOND, || wire::respond(response, RESPOND)).map(Some),
        (None, Outcome::Error(_)) => Ok(None),
        (None, Outcome::Rows(_)) => Err(Fault::malformed(RESPOND, "no response to rows: only an error may be left")),
    }
}

const PREPARE: Phase = Phase::Prepare;
const RESPOND: Phase = Phase::Respond;

/// The time of one call, slice and rest together.
struct Time {
    deadline: Duration,
    until: Instant,
}

impl Time {
    fn begin(handler: &Handler, since: Instant) -> Self {
        let deadline = handler.entry.limits.deadline;
        Self { deadline, until: since + deadline }
    }

    /// Runs a call on this thread for its slice. Returns `None` when it needs more time and its deadline allows it.
    fn slice<T>(&self, phase: Phase, call: impl FnOnce(Allowance) -> Result<T, Fault>) -> Option<Result<T, Fault>> {
        if self.deadline <= limits::EPOCH_TICK {
            return Some(guarded(phase, || call(Allowance::Whole(self.deadline))));
        }
        match guarded(phase, || call(Allowance::Slice(self.deadline))) {
            Err(Fault { kind: FaultKind::Deadline, .. }) => None,
            ended => Some(ended),
        }
    }

    /// Runs the call again on a separate thread, for the rest of its deadline. Returns `None` when it could not be
    /// started.
    async fn rest<T: Send + 'static>(
        self,
        phase: Phase,
        slot: Slot,
        call: impl FnOnce(Allowance) -> Result<T, Fault> + Send + 'static,
    ) -> Option<Result<T, Fault>> {
        let left = move || Allowance::Whole(self.until.saturating_duration_since(Instant::now()));
        slot.run(move || guarded(phase, || call(left()))).await
    }
}

/// Checks a plan: a call must name a granted procedure, and its arguments must fit it.
fn decide(handler: &Handler, plan: Plan) -> Result<Decision, Fault> {
    match plan {
        Plan::Reply(response) => Ok(Decision::Reply(wire::respond(response, PREPARE)?)),
        Plan::Call(Call { procedure, arguments, carry }) => {
            let granted = handler.procedure(&procedure).ok_or_else(|| {
                Fault::malformed(PREPARE, format!("the procedure `{}` is not granted", shown(&procedure)))
            })?;
            granted.check(&arguments).map_err(|mismatch| Fault::malformed(PREPARE, mismatch))?;
            Ok(Decision::Call(Planned { procedure: Arc::clone(granted), arguments, carry }))
        }
    }
}

/// Runs code that handles a guest's data. If the host panics on it, that is a fault of the guest.
fn guarded<T>(phase: Phase, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Unwind safe: what the work holds is dropped with it, or is not changed by it.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let message = panic_text(payload.as_ref());
        Err(Fault::malformed(phase, format!("the host panicked on what the guest handed over: {message}")))
    })
}

/// The message of a panic.
pub(super) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
    // Cut, because it may quote data of the guest.
    failure::cut(text, limits::FAULT_BYTES_MAX)
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Fault(fault) => Self::Fault(fault),
            Halt::Shed => Self::Shed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_host_on_a_guests_data_is_the_guests_fault() {
        let fault = guarded(RESPOND, || -> Result<(), Fault> { panic!("size overflows MAX_SIZE") }).unwrap_err();
        assert_eq!((fault.phase, fault.kind), (Phase::Respond, FaultKind::Malformed));
        assert!(fault.detail.ends_with("handed over: size overflows MAX_SIZE"), "{}", fault.detail);
    }
}
