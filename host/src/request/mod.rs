//! One request, from head to response. The stages of the data path are in `attempt` and `handled`; `rescue` decides
//! what happens when a new generation fails, and `invoke` runs the guest.
//!
//! A guest call takes microseconds and is synchronous; one that needs milliseconds is moved to a separate thread.

mod access;
mod canary;
mod claims;
mod compare;
mod decision;
mod functions;
mod id;
mod invoke;
mod label;
mod log;
mod rescue;
mod trace;
mod trail;
pub mod tries;
mod unserved;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use http::request::Parts;

use self::access::{Course, Line};
use self::decision::{Asked, Decision, Planned};
pub use self::functions::{Functions, Sandbox};
use self::label::marked;
use self::rescue::Called;
use self::trail::Trail;
use self::unserved::{failed, unread, unrouted};
use crate::contract::{Field, Request};
use crate::cors::{self, Cors};
use crate::database::Carried;
use crate::failure::{self, Failure};
use crate::manifest::Claims;
use crate::metrics::Laps;
use crate::node::Node;
use crate::record::{self, Times};
use crate::registry::{Canary, Generation, Handler, Lineage};
use crate::token::Verifier;
use crate::traces::TraceId;
use crate::wire::{self, Body, Incoming, Lines, Outgoing, Taken};

/// Answers one request, whatever happens. `checked` is the result of the listener's checks of its head.
pub async fn serve<F: Functions>(node: Arc<Node>, incoming: Incoming, checked: Result<(), Failure>) -> Outgoing {
    let mut laps = Laps::begin();
    let (mut line, body) = Line::begin(node.access_log, incoming, laps.begun());
    tries::forget(node.proxy, &mut line.head.headers);
    let Line { head, course, .. } = &mut line;
    if let Err(failure) = checked {
        course.cors.clone_from(&node.registry.table().cors);
        log::refused(head, &failure);
        node.metrics.unrouted(failure.status());
        let outgoing = failed(&node, &failure);
        trail::unhandled(&node, &mut line, &outgoing, Some(failure.code().as_str()));
        return line.end(outgoing);
    }
    // A panic of the host costs this request only, not the connection's task or the process.
    let answer = AssertUnwindSafe(attempt::<F>(&node, head, body, course, &mut laps)).catch_unwind().await;
    let answer = answer.unwrap_or_else(|payload| {
        let failure = Failure::Panic { message: invoke::panic_text(payload.as_ref()) };
        // The panic skipped the place where answers are counted.
        match &course.handler {
            Some(handler) => handler.metrics.answered(failure.status()),
            None => node.metrics.unrouted(failure.status()),
        }
        Err(failure)
    });
    let has_trail = course.has_trail;
    let (outgoing, failure) = match answer {
        Ok(outgoing) => (outgoing, None),
        Err(failure) => (failed(&node, &failure), Some(failure)),
    };
    if !has_trail {
        let code = failure.as_ref().map(|failure| failure.code().as_str());
        trail::unhandled(&node, &mut line, &outgoing, code);
    }
    if let Some(Failure::Panic { message }) = &failure {
        log::panic((&line.head, line.course.given), message);
    }
    line.end(outgoing)
}

/// Routes one request to its handler, and counts the outcome.
async fn attempt<F: Functions>(
    node: &Node,
    head: &Parts,
    body: Body,
    course: &mut Course,
    laps: &mut Laps,
) -> Result<Outgoing, Failure> {
    let found = route(node, head, &mut course.cors);
    let cors = course.cors.as_deref();
    let Routed { handler, place, parameters, verifier } = match found {
        Ok(routed) => routed,
        Err(failure) => return Ok(unrouted(node, head, body, cors, &failure).await),
    };
    course.route = place;
    let handler = &**course.handler.insert(handler);
    // Loaded once: both functions must run in the same generation, also when another one is swapped in between.
    let lineage = handler.lineage();
    course.generation = Some(lineage.current.number);
    let mut by = &lineage.current;
    let entry = &handler.entry;
    let answer = match welcome(node, (handler, verifier.as_deref()), head, &body, cors) {
        Ok(claims) => {
            let taken = Taken {
                method: entry.routes[place].method(),
                route: &handler.routes[place],
                headers: &entry.headers,
                body_bytes_max: entry.limits.body_bytes_max,
                config: lineage.current.config.fields(),
                id: trace::id(head, &mut course.given.id),
                claims,
            };
            match wire::read(head, body, parameters, taken).await {
                Ok(request) => {
                    let served = (handler, &*lineage, &mut course.generation);
                    let done = answered::<F>(node, served, head, request, laps).await;
                    (by, course.given.trace, course.has_trail) = (done.by, done.trace, done.has_trail);
                    done.answer
                }
                Err(failure) => Err(failure),
            }
        }
        Err(failure) => {
            log::failure(handler, by, (head, course.given), &failure);
            if matches!(failure, Failure::Shed) {
                node.metrics.shed.inc();
            }
            let outgoing = unread(head, body, failed(node, &failure)).await;
            laps.skip();
            Ok(outgoing)
        }
    };
    if answer.is_err() {
        laps.skip();
    }
    // Shed by admission, by a lane, or because the handler has too many slow calls.
    if matches!(answer, Err(Failure::Shed)) {
        node.metrics.shed.inc();
    }
    let status = answer.as_ref().map_or_else(Failure::status, Outgoing::status);
    handler.answered(by, place, status, laps.whole());
    let named = (head, course.given);
    let answer = answer.map(|mut outgoing| {
        if let Some(lines) = Lines::take(&mut outgoing) {
            log::lines(handler, (&lineage, by), named, &lines);
        }
        outgoing
    });
    answer.inspect_err(|failure| log::failure(handler, by, named, failure))
}

/// How a request that was read was answered.
struct Answered<'a> {
    answer: Result<Outgoing, Failure>,
    /// The generation whose answer it is; without one, the generation that was chosen.
    by: &'a Arc<Generation>,
    /// The trace that its lines of the log name.
    trace: Option<TraceId>,
    has_trail: bool,
}

/// Answers a request that was read.
async fn answered<'a, F: Functions>(
    node: &Node,
    (handler, lineage, generation): (&'a Handler, &'a Lineage, &mut Option<u64>),
    head: &Parts,
    request: Request,
    laps: &mut Laps,
) -> Answered<'a> {
    let read = laps.end(&handler.metrics.read);
    let mut asked = Asked { head, request, trail: Trail::begin(handler, &node.recorder) };
    let has_trail = asked.trail.is_some();
    asked.note(|noted| noted.times.read = Times::micros(read));
    // Chosen once, for both functions.
    let canary = lineage.canary.as_deref().filter(|canary| canary.takes(head, &asked.request));
    let chosen = canary.map_or(&lineage.current, |canary| &canary.generation);
    *generation = Some(chosen.number);
    let handled = handled::<F>(node, (handler, lineage, canary), &mut asked, laps).await;
    let (answer, by) = handled.map_or_else(|failure| (Err(failure), None), |(it, by)| (Ok(it), Some(by)));
    let (kept, trace) = trail::judge(&node.recorder, handler, (head, &mut asked.trail), &answer, laps);
    if let Some(kept) = kept {
        let done = (head, asked.request, asked.trail);
        trail::hand_over(&node.recorder, handler, lineage, done, &answer, kept);
    }
    // Not recorded: the handler did not answer it.
    let answer = answer.map(|outgoing| marked(node, outgoing, by));
    Answered { answer, by: by.unwrap_or(chosen), trace, has_trail }
}

/// What the table has for a request.
struct Routed {
    handler: Arc<Handler>,
    /// The place of the route among those of the handler.
    place: usize,
    parameters: Vec<Field>,
    /// Verifies the token, if the handler gets claims.
    verifier: Option<Arc<Verifier>>,
}

/// Finds the handler of a request. The table is loaded once: with the keys of another one, a reload in between would
/// refuse a good token.
fn route(node: &Node, head: &Parts, cors: &mut Option<Arc<Cors>>) -> Result<Routed, Failure> {
    let table = node.registry.table();
    cors.clone_from(&table.cors);
    let ((handler, place), parameters) = table.routes.find(&head.method, head.uri.path())?;
    let verifier = match handler.entry.claims {
        Claims::Never => None,
        Claims::Optional | Claims::Required => table.token.clone(),
    };
    Ok(Routed { handler: Arc::clone(handler), place: *place, parameters, verifier })
}

/// Checks whether a handler accepts a request with this head. Returns the claims of its token, if they are granted.
fn welcome(
    node: &Node,
    (handler, verifier): (&Handler, Option<&Verifier>),
    head: &Parts,
    body: &Body,
    cors: Option<&Cors>,
) -> Result<Option<String>, Failure> {
    if cors::is_uninvited(head, cors) {
        return Err(Failure::Uninvited);
    }
    tries::check(&handler.entry, &head.headers)?;
    let claims = match handler.entry.claims {
        Claims::Never => None,
        granted => claims::of(granted, verifier, &node.admission, &head.headers, now())?,
    };
    wire::check_content(&head.headers, body, handler.entry.content_type.as_ref())?;
    Ok(claims)
}

/// The moment, in microseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The stages of a handler: prepare, call, respond. Also returns the generation that answered.
async fn handled<'a, F: Functions>(
    node: &Node,
    (handler, lineage, canary): (&'a Handler, &'a Lineage, Option<&'a Canary>),
    asked: &mut Asked<'_>,
    laps: &mut Laps,
) -> Result<(Outgoing, &'a Arc<Generation>), Failure> {
    // Admitted only after the body was read: a client that sends its body slowly must not hold a place.
    let _permit = node.admission.admit()?;
    asked.request.now = now();
    let asked = &*asked;
    if let Some(canary) = canary {
        canary.generation.called();
        return Box::pin(canary::handled::<F>(node, (handler, lineage, canary), asked, laps)).await;
    }
    lineage.current.called();
    let (generation, decision) = rescue::prepare::<F>(handler, lineage, asked, laps.last()).await?;
    let prepared = laps.end(&handler.metrics.prepare);
    asked.note(|noted| {
        noted.times.prepare = Times::micros(prepared);
        noted.generation = Some(Arc::clone(generation));
    });
    match decision {
        Decision::Reply(outgoing) => {
            asked.note(|noted| noted.planned = Some(record::Planned::Reply));
            Ok((outgoing, generation))
        }
        Decision::Call(Planned { procedure, arguments, carry }) => {
            // `database` counts how long it waits and takes.
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
            let (answer, by) = rescue::respond::<F>(handler, lineage, generation, asked, called, since).await;
            let responded = laps.end(&handler.metrics.respond);
            asked.note(|noted| noted.times.respond = Times::micros(responded));
            let arguments = arguments.unwrap_or_default();
            asked.called(Planned { procedure, arguments, carry }, passage, Some(outcome));
            answer.map(|outgoing| (outgoing, by))
        }
    }
}
