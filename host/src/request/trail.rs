//! What is noted of a request for its record and its trace, while it is answered. Only when its handler is recorded, or
//! traces are exported: otherwise there is no trail, and noting is a branch. No span is made here: `record` does that in
//! a thread of its own, of the few requests that are kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::request::Parts;

use super::access::Line;
use crate::contract::{Outcome, Request};
use crate::database::Passage;
use crate::failure::{Failure, Fault};
use crate::metrics::Laps;
use crate::record::{self, Answer, Draft, Ended, Recorder, Ring, Times, Traced, Unhandled, Why};
use crate::registry::{Generation, Handler, Lineage};
use crate::traces::{self, Place, TraceId};
use crate::wire::{self, Outgoing};

/// What is known so far.
pub(super) struct Trail {
    ring: Arc<Ring>,
    /// Whether it is recorded, not only traced: what a trace does not show is then noted too.
    records: bool,
    noted: Mutex<Noted>,
}

#[derive(Default)]
pub(super) struct Noted {
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) planned: Option<record::Planned>,
    pub(super) ended: Option<Ended>,
    pub(super) fault: Option<String>,
    /// Its place in its trace, once that is needed.
    place: Option<Place>,
    pub(super) times: Times,
}

impl Trail {
    /// Begins the trail of a request, if its handler is recorded or traces are exported.
    pub(super) fn begin(handler: &Handler, recorder: &Recorder) -> Option<Box<Self>> {
        let ring = handler.ring.get()?;
        let records = ring.is_on();
        let is_wanted = records || recorder.sampler().is_some();
        is_wanted.then(|| Box::new(Self { ring: Arc::clone(ring), records, noted: Mutex::default() }))
    }

    /// The trace that the request belongs to, for a line of the log before it is answered.
    pub(super) fn trace(&self, head: &Parts) -> TraceId {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.place.get_or_insert_with(|| Place::of(&head.headers)).trace
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
    pub(super) fn ended(&self, outcome: Result<&Outcome, &Failure>, passage: &Passage) {
        self.note(|noted| {
            noted.times.wait = Times::micros(passage.waited);
            noted.times.database = Times::micros(passage.took.unwrap_or_default());
            // The SQLSTATE of an error is in its span.
            let is_noted = |outcome: &&Outcome| self.records || matches!(outcome, Outcome::Error(_));
            noted.ended = Some(Ended {
                outcome: outcome.ok().filter(is_noted).cloned(),
                failure: outcome.err().map(|failure| failure.code().as_str()),
                was_sent: passage.took.is_some(),
                batch: passage.batch,
            });
        });
    }
}

/// Hands the record and the trace of a request over, if they are kept. Returns the trace that its lines of the log name.
pub(super) fn keep(
    recorder: &Recorder,
    handler: &Handler,
    lineage: &Lineage,
    (request, trail): (Request, Option<Box<Trail>>),
    answer: &Result<Outgoing, Failure>,
    laps: &Laps,
    (head, (request, trail)): (&Parts, Asked),
    answer: &Result<Outgoing, Failure>,
    laps: &Laps,
) -> Option<TraceId> {
    let Trail { ring, records, noted } = *trail?;
    let mut noted = noted.into_inner().unwrap_or_else(PoisonError::into_inner);
    noted.times.whole = Times::micros(laps.whole());
    let status = answer.as_ref().map_or_else(Failure::status, Outgoing::status);
    let notable = ring.notable(noted.fault.is_some(), status.is_server_error(), noted.times.whole);
    let recorded = if records { ring.wants(notable) } else { None };
    let headers = &asked.head.headers;
    let exported = is_exported(recorder, notable.is_some(), || *noted.place.get_or_insert_with(|| Place::of(headers)));
    if recorded.is_none() && !exported {
        return noted.place.map(|place| place.trace);
    }
    let place = noted.place.unwrap_or_else(|| Place::of(headers));
    let generation = noted.generation.as_ref().unwrap_or(&lineage.current);
    let answer = match answer {
        Ok(outgoing) if recorded.is_some() => Answer { response: wire::sent(outgoing), failure: None },
        Ok(_) => Answer { response: wire::status_only(status), failure: None },
        Err(failure) => Answer { response: wire::status_only(status), failure: Some(failure.code().as_str()) },
    };
    let draft = Draft {
        handler: Arc::clone(&ring.handler),
        generation: generation.number,
        digest: generation.component.compiled.digest,
        why: recorded.or(notable).unwrap_or(Why::Sampled),
        recorded: recorded.is_some(),
        redaction: Arc::clone(&handler.redaction),
        trace: traced(place, head, exported, laps.whole()),
        request,
        planned: noted.planned,
        ended: noted.ended,
        fault: noted.fault,
        answer,
        times: noted.times,
    };
    recorder.hand_over(&ring, Box::new(draft));
    Some(place.trace)
}

/// Hands the trace of a request over that no handler answered: its path or its head was refused, or the host panicked.
pub(super) fn unhandled(recorder: &Recorder, line: &mut Line, outgoing: &Outgoing, failure: Option<&'static str>) {
    if recorder.sampler().is_none() {
        return;
    }
    let Line { head, course, begun, .. } = line;
    let (place, status) = (Place::of(&head.headers), outgoing.status());
    if !is_exported(recorder, status.is_server_error(), || place) {
        return;
    }
    course.given.trace = Some(place.trace);
    let whole = begun.elapsed();
    let handler = course.handler.as_deref();
    recorder.trace(Box::new(Unhandled {
        trace: traced(place, head, true, whole),
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        route: handler.and_then(|handler| handler.routes.get(course.route).cloned()),
        handler: handler.map(|handler| handler.entry.name.as_str().into()),
        status: status.as_u16(),
        failure,
        whole: Times::micros(whole),
    }));
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
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let begun = u64::try_from(now.saturating_sub(whole).as_nanos()).unwrap_or_default();
    // Only that of a valid traceparent counts.
    let state = if exported && place.parent.is_some() { traces::state(&head.headers) } else { String::new() };
    Traced { place, state, exported, begun }
}
