//! The record and the trace of a request on which no handler has decided: its path or its head was refused, its body
//! did not arrive, the host panicked, or its client left before its answer. They are made from its head, when it has
//! ended: nothing is noted for them before.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{is_exported, moment, path, traced};
use crate::config::AccessLog;
use crate::contract::{Field, Request, Response};
use crate::node::Node;
use crate::record::{Answer, Draft, Recorder, Times, Unhandled, Why};
use crate::registry::{Handler, Registry};
use crate::request::access::Line;
use crate::request::trace::{self, Trace};
use crate::route::{Route, Segment};
use crate::traces::Place;
use crate::wire::Outgoing;

/// The status in the record of a request that was not answered, because its client had left; nginx logs the same.
const STATUS_LEFT: u16 = 499;

/// What records and traces call that.
const FAILURE_LEFT: &str = "client_left";

/// Hands over the trace of a request that no handler answered: its path or its head was refused, its body did not
/// arrive, or the host panicked. What failed after it had a handler is recorded as well.
pub(in crate::request) fn unhandled(node: &Node, line: &mut Line, outgoing: &Outgoing, failure: Option<&'static str>) {
    unanswered(&node.recorder, Some(&node.registry), line, (outgoing.status().as_u16(), failure));
}

/// The same of a request whose client left before its answer.
#[cold]
fn left(line: &mut Line) {
    let recorder = line.course.handler.as_ref().and_then(|handler| handler.recorder.get()).cloned();
    if let Some(recorder) = recorder {
        unanswered(&recorder, None, line, (STATUS_LEFT, Some(FAILURE_LEFT)));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        left(self);
        if self.log != AccessLog::Off {
            self.write("the client left before its answer", None);
        }
    }
}

/// `registry` has the routes, for the path of a request that has none.
fn unanswered(recorder: &Recorder, registry: Option<&Registry>, line: &mut Line, ended: (u16, Option<&'static str>)) {
    let (status, failure) = ended;
    // Of a request that was answered without a trail, there is nothing to do.
    if failure.is_none() && recorder.sampler().is_none() {
        return;
    }
    let is_error = status >= 500;
    let handler = line.course.handler.clone();
    let ring = handler.as_ref().and_then(|handler| handler.ring.get()).filter(|ring| failure.is_some() && ring.is_on());
    if ring.is_none() && recorder.sampler().is_none() {
        return;
    }
    let place = Place::of(&line.head.headers);
    if is_exported(recorder, is_error, || place) {
        line.course.given.trace = Some(place.trace);
        export(recorder, registry, line, (place, ended));
    }
    let Some((handler, ring)) = handler.as_deref().zip(ring) else { return };
    if let Some(why) = ring.wants(is_error.then_some(Why::Error)) {
        line.course.given.trace = Some(place.trace);
        // A panic costs the record, not the answer. Unwind safe: what is worked on is dropped.
        let draft = catch_unwind(AssertUnwindSafe(|| undecided(line, handler, (why, place), ended)));
        match draft {
            Ok(draft) => recorder.hand_over(ring, Box::new(draft)),
            Err(_) => recorder.lost(),
        }
    }
}

fn export(
    recorder: &Recorder,
    registry: Option<&Registry>,
    line: &Line,
    (place, (status, failure)): (Place, (u16, Option<&'static str>)),
) {
    let Line { head, course, begun, .. } = line;
    let (handler, whole) = (course.handler.as_deref(), begun.elapsed());
    recorder.trace(Box::new(Unhandled {
        trace: traced(place, head, true, whole),
        method: head.method.as_str().to_owned(),
        path: registry.filter(|_| handler.is_none()).map(|registry| path::shown(&registry.table(), head.uri.path())),
        route: handler.and_then(|handler| handler.routes.get(course.route).cloned()),
        handler: handler.map(|handler| handler.entry.name.as_str().into()),
        status,
        failure,
        whole: Times::micros(whole),
    }));
}

/// The record of a request that the guest never saw, or whose client did not wait for what became of it.
fn undecided(
    line: &mut Line,
    handler: &Handler,
    (why, place): (Why, Place),
    (status, failure): (u16, Option<&'static str>),
) -> Draft {
    let Line { head, course, begun, .. } = line;
    let (lineage, whole) = (handler.lineage(), begun.elapsed());
    let canary = lineage.canary.as_ref().map(|canary| &canary.generation);
    let chosen = canary.filter(|canary| Some(canary.number) == course.generation).unwrap_or(&lineage.current);
    let route = &handler.entry.routes[course.route];
    let id = Trace::of(head, course.given).request_id.unwrap_or_else(|| trace::id(head, &mut course.given.id));
    let request = Request {
        method: route.method().as_str().to_owned(),
        path: head.uri.path().to_owned(),
        route: Arc::clone(&handler.routes[course.route]),
        parameters: parameters(route, head.uri.path()),
        query: head.uri.query().map(str::to_owned),
        headers: Vec::new(),
        body: Vec::new(),
        id,
        now: i64::try_from(moment(whole) / 1000).unwrap_or(i64::MAX),
        config: Arc::from([]),
        claims: None,
    };
    Draft {
        handler: Arc::from(handler.entry.name.as_str()),
        generation: chosen.number,
        digest: chosen.component.compiled.digest,
        why,
        recorded: true,
        observed: None,
        members: Arc::clone(&lineage.current.component.members),
        secrets: vec![chosen.config.secrets().clone()],
        trace: traced(place, head, false, whole),
        request,
        planned: None,
        ended: None,
        fault: None,
        answer: Answer {
            response: Response { status, headers: Vec::new(), body: Vec::new(), log: Vec::new() },
            failure,
        },
        is_shed: false,
        times: Times { whole: Times::micros(whole), ..Times::default() },
    }
}

/// The parameters of a path on its route.
fn parameters(route: &Route, path: &str) -> Vec<Field> {
    let segments = route.segments().iter().zip(path.split('/').skip(1));
    let parameter = |(segment, text): (&Segment, &str)| match segment {
        Segment::Literal(_) => None,
        Segment::Parameter(name) => {
            let value = percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            Some(Field { name: name.clone(), value })
        }
    };
    segments.filter_map(parameter).collect()
}
