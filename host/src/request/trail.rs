//! What is noted of a request for its record, while it is answered. Only when its handler is recorded: otherwise there
//! is no trail, and noting is a branch. Nothing is copied that the request does not need any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::contract::Request;
use crate::database::Passage;
use crate::failure::{Failure, Fault};
use crate::metrics::Laps;
use crate::record::{self, Answer, Draft, Ended, Planned, Recorder, Ring, Times, Why};
use crate::registry::{Generation, Handler, Lineage};
use crate::wire::{self, Outgoing};

/// What is known so far.
#[derive(Default)]
pub(super) struct Trail(Mutex<Noted>);

#[derive(Default)]
pub(super) struct Noted {
    /// The generation whose answer is sent.
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) planned: Option<Planned>,
    pub(super) ended: Option<Ended>,
    pub(super) fault: Option<String>,
    pub(super) times: Times,
}

impl Trail {
    /// Begins the trail of a request, if its handler is recorded.
    pub(super) fn begin(handler: &Handler) -> Option<Box<Self>> {
        handler.ring.get().filter(|ring| ring.is_on()).map(|_| Box::default())
    }

    /// Notes something.
    pub(super) fn note(&self, note: impl FnOnce(&mut Noted)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Noted {
    /// Notes a fault of a guest. The first one counts.
    pub(super) fn faulted(&mut self, fault: &Fault) {
        self.fault.get_or_insert_with(|| record::fault_text(fault));
    }

    /// Notes that the previous generation planned, because the new one has too many slow calls.
    pub(super) fn shed(&mut self) {
        self.fault.get_or_insert_with(|| "shed in prepare: the generation has as many slow calls as it may".to_owned());
    }

    /// Notes that the previous generation answered the same call.
    pub(super) fn rescued(&mut self, previous: &Arc<Generation>) {
        self.generation = Some(Arc::clone(previous));
    }

    /// Notes that the previous generation replied. It would not have made the call, which was rolled back.
    pub(super) fn replied(&mut self, previous: &Arc<Generation>) {
        self.rescued(previous);
        self.planned = Some(Planned::Reply);
    }

    /// Notes a call and how it ended, unless a reply of the previous generation has replaced it.
    pub(super) fn called(&mut self, planned: Planned, ended: Ended) {
        if self.planned.is_none() {
            self.planned = Some(planned);
            self.ended = Some(ended);
        }
    }

    /// Notes how a call went.
    pub(super) fn passed(&mut self, passage: Passage) {
        self.times.wait = Times::micros(passage.waited);
        self.times.database = passage.took.map_or(0, Times::micros);
    }
}

/// Hands the record of a request over, if it is one that is kept.
pub(super) fn keep(
    recorder: &Recorder,
    handler: &Handler,
    lineage: &Lineage,
    (request, trail): (Request, Option<Box<Trail>>),
    answer: &Result<Outgoing, Failure>,
    laps: &Laps,
) {
    let (Some(trail), Some(ring)) = (trail, handler.ring.get()) else { return };
    let mut noted = trail.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    noted.times.whole = Times::micros(laps.whole());
    let status = answer.as_ref().map_or_else(Failure::status, Outgoing::status);
    let Some(why) = ring.wants(noted.fault.is_some(), status.is_server_error(), noted.times.whole) else { return };
    // A panic costs the record, not the answer. Unwind safe: what is worked on is dropped.
    let handed = catch_unwind(AssertUnwindSafe(|| hand_over(recorder, ring, lineage, (request, noted), answer, why)));
    if handed.is_err() {
        recorder.lost();
    }
}

fn hand_over(
    recorder: &Recorder,
    ring: &Arc<Ring>,
    lineage: &Lineage,
    (request, noted): (Request, Noted),
    answer: &Result<Outgoing, Failure>,
    why: Why,
) {
    let generation = noted.generation.as_ref().unwrap_or(&lineage.current);
    // Each of them may have answered, or its fault is quoted.
    let generations = [generation, &lineage.current].into_iter().chain(&lineage.previous);
    let answer = match answer {
        Ok(outgoing) => Answer { response: wire::sent(outgoing), failure: None },
        Err(failure) => {
            Answer { response: wire::status_only(failure.status()), failure: Some(failure.code().as_str()) }
        }
    };
    let draft = Draft {
        handler: Arc::clone(&ring.handler),
        generation: generation.number,
        digest: generation.component.compiled.digest,
        why,
        secrets: generations.map(|generation| generation.config.secrets().clone()).collect(),
        trace: None,
        request,
        planned: noted.planned,
        ended: noted.ended,
        fault: noted.fault,
        answer,
        times: noted.times,
    };
    recorder.hand_over(ring, Box::new(draft));
}
