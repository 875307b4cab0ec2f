//! The spans of a request, made from what was noted of it when it has been answered: the request, and in it `prepare`,
//! the wait, the call of the database and `respond`, one after the other. Names and attributes are those of the
//! semantic conventions for HTTP and databases; what they lack begins with `galo.`.
//!
//! Nothing of the body, the headers, the query or the arguments is in a span. The path and the message of a fault are
//! taken from the record, without what the manifest redacts.

use super::batches::Batches;
use super::draft::{Draft, Planned, Traced, Unhandled};
use super::format::{Outcome, Plan, Record};
use super::span::{KNOWN, REMOTE, SAMPLED, child, database, link, nanos};
use crate::database::{Passage, Peer};
use crate::failure::cut;
use crate::limits;
use crate::traces::SpanId;
use crate::traces::otlp::{Event, KeyValue, Span, SpanKind, Status};

/// The methods of the semantic conventions; any other is `_OTHER`, so that clients cannot make up names of spans.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What the spans of a request show beside its record.
pub(super) struct Seen {
    pub(super) trace: Traced,
    /// How its call went, and whether it waited for a lane.
    pub(super) call: Option<(Passage, bool)>,
}

impl Seen {
    /// What is seen of a request whose trace is exported.
    pub(super) fn of(draft: &Draft) -> Option<Self> {
        let call = match (&draft.planned, &draft.ended) {
            (Some(Planned::Call { procedure, .. }), Some(ended)) => Some((ended.passage, procedure.batch().is_some())),
            _ => None,
        };
        draft.trace.exported.then(|| Self { trace: draft.trace.clone(), call })
    }
}

/// The spans of a request that a handler answered.
pub(super) fn of_record(record: &Record, seen: &Seen, peer: &Peer, batches: &mut Batches) -> Vec<Span> {
    let (Record { times, plan, .. }, Seen { trace, call }) = (record, seen);
    let server = answered(record, trace);
    let parent = server.span_id.clone();
    let mut at = trace.begun + nanos(times.read);
    let mut spans = vec![server];
    let phase = |name: &str, kind: SpanKind, micros: u32, at: &mut u64| {
        let begun = *at;
        *at += nanos(micros);
        Span { name: name.to_owned(), kind: kind as i32, ..child(trace.place.trace, &parent, begun, *at) }
    };
    spans.push(phase("prepare", SpanKind::Internal, times.prepare, &mut at));
    let (Some(Plan::Call(called)), Some((passage, lane))) = (plan, call) else { return spans };
    let wait = if *lane { "wait for the lane" } else { "wait for a connection" };
    spans.push(phase(wait, SpanKind::Internal, times.wait, &mut at));
    if passage.took.is_some() {
        let procedure = called.procedure.as_str();
        let mut span = phase(&format!("SELECT {procedure}"), SpanKind::Client, times.database, &mut at);
        span.attributes = database(procedure, "SELECT", peer);
        let state = match &record.outcome {
            Some(Outcome::Error(error)) => Some(error.sqlstate.as_str()),
            _ => None,
        };
        span.attributes.extend(state.map(|state| KeyValue::text("db.response.status_code", state)));
        // Without an outcome the call has failed, and with it the request.
        let failure = if record.outcome.is_none() { record.failure.as_deref() } else { None };
        if let Some(error) = state.or(failure) {
            span.attributes.push(KeyValue::text("error.type", error));
            span.status = Some(Status { code: Status::ERROR, message: String::new() });
        }
        if let Some(batch) = passage.batch {
            span.attributes.push(KeyValue::number("galo.batch.calls", batch.calls));
            span.links.push(batches.note(batch, procedure, at, link(&span)));
        }
        spans.push(span);
    }
    if times.respond > 0 {
        spans.push(phase("respond", SpanKind::Internal, times.respond, &mut at));
    }
    spans
}

/// The span of a request that a handler answered.
fn answered(record: &Record, trace: &Traced) -> Span {
    let Record { request, response, .. } = record;
    let error = if record.fault.is_some() { Some("fault") } else { record.failure.as_deref() };
    let mut span = server(trace, &request.method, Some(&request.route), response.status, error);
    span.end_time_unix_nano = trace.begun + nanos(record.times.whole);
    let texts = [
        ("url.path", &request.path),
        ("galo.handler", &record.handler),
        ("galo.sha256", &record.sha256),
        ("galo.request.id", &request.id),
    ];
    let text = |(name, text): (&str, &String)| KeyValue::text(name, cut(text.as_str(), limits::SPAN_TEXT_BYTES_MAX));
    span.attributes.extend(texts.map(text));
    let generation = i64::try_from(record.generation).unwrap_or(i64::MAX);
    span.attributes.push(KeyValue::number("galo.generation", generation));
    if let Some(fault) = &record.fault {
        let text = cut(fault.as_str(), limits::SPAN_TEXT_BYTES_MAX);
        let attributes = vec![KeyValue::text("exception.type", "fault"), KeyValue::text("exception.message", &*text)];
        let time_unix_nano = span.end_time_unix_nano;
        span.events.push(Event { time_unix_nano, name: "exception".to_owned(), attributes });
        // A fault that another generation made good is none of the request.
        if let Some(status) = &mut span.status {
            status.message = text;
        }
    }
    span
}

/// The span of a request that no handler answered.
pub(super) fn of_unhandled(unhandled: &Unhandled) -> Vec<Span> {
    let Unhandled { trace, method, route, path, status, failure, whole, .. } = unhandled;
    let mut server = server(trace, method, route.as_deref(), *status, *failure);
    server.end_time_unix_nano = trace.begun + nanos(*whole);
    let path = path.as_deref().map(|path| KeyValue::text("url.path", cut(path, limits::SPAN_TEXT_BYTES_MAX)));
    server.attributes.extend(path);
    let handler = unhandled.handler.as_deref();
    server.attributes.extend(handler.map(|handler| KeyValue::text("galo.handler", handler)));
    vec![server]
}

/// The span of the request, without its end.
fn server(trace: &Traced, method: &str, route: Option<&str>, status: u16, error: Option<&str>) -> Span {
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER");
    // `POST /orders/{id}`, as the manifest writes it.
    let template = route.map(|route| route.split_once(' ').map_or(route, |(_, path)| path));
    let name = match (template, method) {
        (Some(template), method) => format!("{method} {template}"),
        (None, "_OTHER") => "HTTP".to_owned(),
        (None, method) => method.to_owned(),
    };
    let mut attributes = vec![
        KeyValue::text("http.request.method", method),
        KeyValue::text("url.scheme", "http"),
        KeyValue::number("http.response.status_code", status),
    ];
    attributes.extend(template.map(|template| KeyValue::text("http.route", template)));
    let failed = status >= 500;
    // Not an error of the server; without an answer only this says what it was.
    if failed || error == Some("client_left") {
        attributes.push(KeyValue::text("error.type", error.map_or_else(|| status.to_string(), str::to_owned)));
    }
    let remote = if trace.place.parent.is_some() { REMOTE } else { 0 };
    Span {
        trace_state: trace.state.clone(),
        parent_span_id: trace.place.parent.map(SpanId::bytes).unwrap_or_default(),
        name,
        kind: SpanKind::Server as i32,
        attributes,
        status: failed.then(|| Status { code: Status::ERROR, message: String::new() }),
        flags: SAMPLED | KNOWN | remote,
        ..child(trace.place.trace, &[], trace.begun, trace.begun)
    }
}
