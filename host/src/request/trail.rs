//! What is noted of a request for its record, while it is answered. Only when its handler is recorded: otherwise there
//! is no trail, and noting is a branch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::contract::{Outcome, Request};
use crate::failure::{Failure, Fault};
use crate::metrics::Laps;
use crate::record::{self, Answer, Draft, Ended, Recorder, Ring, Times};
use crate::registry::{Generation, Handler, Lineage};
use crate::wire::{self, Outgoing};

/// What is known so far.
pub(super) struct Trail {
    ring: Arc<Ring>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
pub(super) struct Noted {
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) planned: Option<record::Planned>,
    pub(super) ended: Option<Ended>,
    pub(super) fault: Option<String>,
    pub(super) times: Times,
}

impl Trail {
    /// Begins the trail of a request, if its handler is recorded.
    pub(super) fn begin(handler: &Handler) -> Option<Box<Self>> {
        let ring = handler.ring.get().filter(|ring| ring.is_on())?;
        Some(Box::new(Self { ring: Arc::clone(ring), noted: Mutex::default() }))
    }

    /// Notes something.
    pub(super) fn note(&self, note: impl FnOnce(&mut Noted)) {
        note(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes a fault of a guest. The first one counts.
    pub(super) fn fault(&self, fault: &Fault) {
        self.note(|noted| {
            noted.fault.get_or_insert_with(|| record::fault_text(fault));
        });
    }

    /// Notes which generation decided, and what.
    pub(super) fn planned(&self, generation: &Arc<Generation>, planned: record::Planned) {
        self.note(|noted| {
            noted.generation = Some(Arc::clone(generation));
            noted.planned = Some(planned);
        });
    }

    /// Notes how the call ended.
    pub(super) fn ended(&self, outcome: Option<&Outcome>, took: Duration) {
        self.note(|noted| {
            noted.times.database = Times::micros(took);
            noted.ended = Some(Ended { outcome: outcome.cloned(), batch: None });
        });
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
    let Some(trail) = trail else { return };
    let Trail { ring, noted } = *trail;
    let mut noted = noted.into_inner().unwrap_or_else(PoisonError::into_inner);
    noted.times.whole = Times::micros(laps.whole());
    let status = answer.as_ref().map_or_else(Failure::status, Outgoing::status);
    let Some(why) = ring.wants(noted.fault.is_some(), status.is_server_error(), noted.times.whole) else { return };
    let generation = noted.generation.as_ref().unwrap_or(&lineage.current);
    let answer = match answer {
        Ok(outgoing) => Answer { response: wire::sent(outgoing), failure: None },
        Err(failure) => Answer { response: wire::status_only(status), failure: Some(failure.code().as_str()) },
    };
    let draft = Draft {
        handler: Arc::clone(&ring.handler),
        generation: generation.number,
        digest: generation.component.compiled.digest,
        why,
        redaction: Arc::clone(&handler.redaction),
        trace: None,
        request,
        planned: noted.planned,
        ended: noted.ended,
        fault: noted.fault,
        answer,
        times: noted.times,
    };
    recorder.hand_over(&ring, Box::new(draft));
}
