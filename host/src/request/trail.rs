//! What is noted of a request for its record and its trace, while it is answered. Only when its handler is recorded, or
//! traces are exported: otherwise there is no trail, and noting is a branch. Nothing is copied that the request does
//! not need any more, and no span is made: `record` does that, in a thread of its own, of the few requests that are
//! kept.

mod path;
mod undecided;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::request::Parts;

pub(super) use self::undecided::unhandled;
use crate::contract::Request;
use crate::database::Passage;
use crate::failure::{Failure, Fault};
use crate::metrics::Laps;
use crate::record::{self, Answer, Draft, Ended, Observed, Planned, Recorder, Ring, Times, Traced, Why};
use crate::registry::{Generation, Handler, Lineage};
use crate::traces::{self, Place, TraceId};
use crate::wire::{self, Outgoing};

/// What is known so far.
#[derive(Default)]
pub(super) struct Trail {
    /// Who gets the record beside the ring.
    observed: Option<Observed>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
pub(super) struct Noted {
    /// The generation whose answer is sent.
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) planned: Option<Planned>,
    pub(super) ended: Option<Ended>,
    pub(super) fault: Option<String>,
    /// Its place in its trace, once that is needed.
    place: Option<Place>,
    pub(super) times: Times,
}

impl Trail {
    /// Begins the trail of a request, if its handler is recorded or observed, or traces are exported.
    pub(super) fn begin(handler: &Handler, recorder: &Recorder) -> Option<Box<Self>> {
        let ring = handler.ring.get()?;
        let observed = ring.observer.turn();
        let wanted = ring.is_on() || observed.is_some() || recorder.sampler().is_some();
        wanted.then(|| Box::new(Self { observed, noted: Mutex::default() }))
    }

    /// The trace that the request belongs to, for a line of the log before it is answered.
    pub(super) fn trace(&self, head: &Parts) -> TraceId {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).place(head).trace
    }

    /// Notes something.
    pub(super) fn note(&self, note: impl FnOnce(&mut Noted)) {
        note(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Noted {
    /// Its place in its trace: that of its `traceparent`, or a new one.
    fn place(&mut self, head: &Parts) -> Place {
        *self.place.get_or_insert_with(|| Place::of(&head.headers))
    }

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

/// Why an answered request is kept.
pub(super) struct Kept {
    recorded: Option<Why>,
    exported: bool,
    notable: Option<Why>,
    observed: Option<Observed>,
    whole: Duration,
}

/// Decides whether the record or the trace of a request is kept. Also returns the trace that its lines of the log name.
/// Nothing is moved: it is asked of every request, and nearly none is kept.
pub(super) fn judge(
    recorder: &Recorder,
    handler: &Handler,
    (head, trail): (&Parts, &mut Option<Box<Trail>>),
    answer: &Result<Outgoing, Failure>,
    laps: &Laps,
) -> (Option<Kept>, Option<TraceId>) {
    let (Some(trail), Some(ring)) = (trail, handler.ring.get()) else { return (None, None) };
    let (noted, whole) = (trail.noted.get_mut().unwrap_or_else(PoisonError::into_inner), laps.whole());
    noted.times.whole = Times::micros(whole);
    let status = answer.as_ref().map_or_else(Failure::status, Outgoing::status);
    // A shed request is sampled like any other: under overload there are thousands.
    let is_shed = matches!(answer, Err(Failure::Shed));
    let is_error = status.is_server_error() && !is_shed;
    let notable = ring.notable(noted.fault.is_some(), is_error, noted.times.whole);
    let kept = Kept {
        recorded: ring.wants(notable),
        exported: is_exported(recorder, notable.is_some(), || noted.place(head)),
        notable,
        observed: trail.observed.take(),
        whole,
    };
    if kept.recorded.is_none() && !kept.exported && kept.observed.is_none() {
        return (None, noted.place.map(|place| place.trace));
    }
    let trace = noted.place(head).trace;
    (Some(kept), Some(trace))
}

/// Hands over the record and the trace of a request that are kept.
pub(super) fn hand_over(
    recorder: &Recorder,
    handler: &Handler,
    lineage: &Lineage,
    (head, request, trail): (&Parts, Request, Option<Box<Trail>>),
    answer: &Result<Outgoing, Failure>,
    kept: Kept,
) {
    let (Some(trail), Some(ring)) = (trail, handler.ring.get()) else { return };
    let noted = trail.noted.into_inner().unwrap_or_else(PoisonError::into_inner);
    // A panic costs the record, not the answer. Unwind safe: what is worked on is dropped.
    let handed = catch_unwind(AssertUnwindSafe(|| {
        recorder.hand_over(ring, Box::new(draft(ring, lineage, (head, request, noted), answer, kept)));
    }));
    if handed.is_err() {
        recorder.lost();
    }
}

fn draft(
    ring: &Ring,
    lineage: &Lineage,
    (head, request, mut noted): (&Parts, Request, Noted),
    answer: &Result<Outgoing, Failure>,
    kept: Kept,
) -> Draft {
    let trace = traced(noted.place(head), head, kept.exported, kept.whole);
    let generation = noted.generation.as_ref().unwrap_or(&lineage.current);
    // Each of them may have answered, or its fault is quoted.
    let generations = [generation, &lineage.current].into_iter().chain(&lineage.previous);
    let is_shed = matches!(answer, Err(Failure::Shed));
    let answer = match answer {
        // A shadow's answer is compared with the whole one, whether or not it is kept as a record.
        Ok(outgoing) if kept.recorded.is_some() || kept.observed.is_some() => {
            Answer { response: wire::sent(outgoing), failure: None }
        }
        Ok(outgoing) => Answer { response: wire::status_only(outgoing.status()), failure: None },
        Err(failure) => Answer { response: wire::status_only(failure.status()), failure: Some(failure.label()) },
    };
    Draft {
        handler: Arc::clone(&ring.handler),
        generation: generation.number,
        digest: generation.component.compiled.digest,
        why: kept.recorded.or(kept.notable).unwrap_or(Why::Sampled),
        recorded: kept.recorded.is_some(),
        observed: kept.observed,
        members: Arc::clone(&lineage.current.component.members),
        secrets: generations.map(|generation| generation.config.secrets().clone()).collect(),
        trace,
        request,
        planned: noted.planned,
        ended: noted.ended,
        fault: noted.fault,
        answer,
        is_shed,
        times: noted.times,
    }
}

/// Whether the trace of a request is exported: what went wrong always is.
fn is_exported(recorder: &Recorder, notable: bool, place: impl FnOnce() -> Place) -> bool {
    recorder.sampler().is_some_and(|sampler| {
        notable || {
            let Place { trace, decided, .. } = place();
            sampler.samples(trace.low(), decided)
        }
    })
}

fn traced(place: Place, head: &Parts, exported: bool, whole: Duration) -> Traced {
    // Only that of a valid traceparent counts.
    let state = if exported && place.parent.is_some() { traces::state(&head.headers) } else { String::new() };
    Traced { place, state, exported, begun: moment(whole) }
}

/// When a request began that has taken so long, in nanoseconds since 1970.
fn moment(whole: Duration) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(whole).as_nanos()).unwrap_or_default()
}
