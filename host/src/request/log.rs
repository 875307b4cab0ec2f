//! Logs requests that failed: the first failure of a kind at once, later ones as a count. Each line names its request.

use http::request::Parts;

use super::decision::Asked;
use super::trace::{Given, Trace};
use crate::contract::{Level, Line};
use crate::failure::{self, Code, Failure, Fault, Raised};
use crate::limits;
use crate::registry::{Generation, Handler, Lineage};
use crate::wire::Lines;

/// Logs a fault of a guest.
pub(super) fn fault(handler: &Handler, generation: &Generation, asked: &Asked<'_>, fault: &Fault) {
    let (name, number) = (handler.entry.name.clone(), generation.number);
    let Fault { phase, kind, detail, backtrace } = fault;
    let again = move |what: &str, times| {
        tracing::error!(handler = name, generation = number, what, times, "guest faulted again");
    };
    if generation.repeats.is_first(&format!("{kind} in {phase}"), again) {
        let (name, backtrace) = (handler.entry.name.as_str(), backtrace.as_deref());
        let Trace { request_id, trace_id } = asked.named();
        tracing::error!(
            handler = name,
            generation = number,
            request_id,
            trace_id,
            %phase,
            %kind,
            detail,
            backtrace,
            "guest faulted"
        );
    }
}

/// The head of a request, and the ids that the node gave it.
pub(super) type Named<'a> = (&'a Parts, Given);

/// Logs any other failure. An outage is logged by `database`, once, not by every request.
pub(super) fn failure(handler: &Handler, generation: &Generation, (head, given): Named<'_>, failure: &Failure) {
    let (name, number) = (handler.entry.name.as_str(), generation.number);
    match failure {
        // Logged by `rescue`, which knows which generation faulted.
        Failure::Fault(_) => {}
        // What a procedure chose is not its failure.
        Failure::Raised(raised) if raised.chosen().is_none() => match failure.code() {
            // 42501 is a 403, but the operator's mistake: the role lacks a privilege.
            Code::InternalError | Code::Forbidden => {
                let Raised { procedure, error } = &**raised;
                let cause = format!("{}: {}", error.sqlstate, error.message);
                procedure_failed(handler, generation, (head, given), (procedure, &error.sqlstate), &cause);
            }
            code => left_to_the_host(handler, generation, (head, given), (raised, code)),
        },
        Failure::Procedure { procedure, cause } => {
            procedure_failed(handler, generation, (head, given), (procedure, ""), cause);
        }
        Failure::Unauthorized { cause, is_notable: true, .. } => {
            let handler = handler.entry.name.clone();
            let again = move |what: &str, times| tracing::warn!(handler, what, times, "tokens refused again");
            if generation.repeats.is_first(cause, again) {
                let Trace { request_id, trace_id } = Trace::of(head, given);
                tracing::warn!(handler = name, request_id, trace_id, cause, "token refused");
            }
        }
        Failure::Repeatable { cause } => {
            let handler = handler.entry.name.clone();
            let again = move |what: &str, times| {
                tracing::error!(handler, what, times, "request of a proxy that may repeat it refused again");
            };
            if generation.repeats.is_first(cause, again) {
                let remedy = "write the proxy's configuration again, from this manifest: galo proxy nginx";
                let Trace { request_id, trace_id } = Trace::of(head, given);
                let what = "request of a proxy that may repeat it refused";
                tracing::error!(handler = name, request_id, trace_id, cause, remedy, "{what}");
            }
        }
        _ if tracing::enabled!(tracing::Level::DEBUG) => {
            let Trace { request_id, trace_id } = Trace::of(head, given);
            tracing::debug!(handler = name, generation = number, request_id, trace_id, %failure, "request failed");
        }
        _ => {}
    }
}

/// Logs an error that a client's data caused and that the handler left to the host, once for each SQLSTATE and
/// constraint of a procedure: it may be what the handler means to do, or a constraint that nobody thought of. The
/// texts of such an error quote the client's data, so that they are not logged.
fn left_to_the_host(
    handler: &Handler,
    generation: &Generation,
    (head, given): Named<'_>,
    (raised, code): (&Raised, Code),
) {
    let Raised { procedure, error } = raised;
    let (sqlstate, constraint) = (failure::shown(&error.sqlstate), error.constraint.as_deref().map(failure::shown));
    let kind = format!("left: {procedure} {sqlstate} {}", constraint.as_deref().unwrap_or_default());
    if !generation.repeats.is_new(&kind) {
        return;
    }
    let (handler, generation) = (handler.entry.name.as_str(), generation.number);
    let (code, status) = (code.as_str(), code.status().as_u16());
    let Trace { request_id, trace_id } = Trace::of(head, given);
    tracing::warn!(
        handler,
        generation,
        request_id,
        trace_id,
        procedure,
        sqlstate,
        constraint,
        code,
        status,
        "the handler leaves an error of its procedure to the host, which answers by the SQLSTATE; logged once"
    );
}

/// Logs that a procedure failed; the name and the SQLSTATE say which failures are the same.
fn procedure_failed(
    handler: &Handler,
    generation: &Generation,
    (head, given): Named<'_>,
    (procedure, sqlstate): (&str, &str),
    cause: &str,
) {
    let (name, number) = (handler.entry.name.as_str(), generation.number);
    let again = {
        let handler = name.to_owned();
        move |what: &str, times| {
            tracing::error!(handler, generation = number, what, times, "procedure failed again");
        }
    };
    if generation.repeats.is_first(&format!("{procedure} {sqlstate}"), again) {
        // Cut, because it may quote an argument.
        let cause = failure::cut(generation.config.redacted(cause), limits::FAULT_BYTES_MAX);
        let Trace { request_id, trace_id } = Trace::of(head, given);
        let handler = name;
        tracing::error!(handler, generation = number, request_id, trace_id, procedure, cause, "procedure failed");
    }
}

/// A text without the secrets of the generations that may have answered.
fn redacted(lineage: &Lineage, text: &str) -> String {
    let own = lineage.current.config.redacted(text);
    lineage.previous.as_ref().map_or_else(|| own.to_string(), |previous| previous.config.redacted(&own).into_owned())
}

/// Logs what a handler handed back for the log, within bounds.
/// When the previous generation answered, its lines have its secrets.
pub(super) fn lines(handler: &Handler, lineage: &Lineage, (head, given): Named<'_>, lines: &Lines) {
    let (handler, generation) = (handler.entry.name.as_str(), lineage.current.number);
    let Trace { request_id, trace_id } = Trace::of(head, given);
    for Line { level, text } in &lines.kept {
        let text = redacted(lineage, text);
        match level {
            Level::Debug => tracing::debug!(handler, generation, request_id, trace_id, "{text}"),
            Level::Info => tracing::info!(handler, generation, request_id, trace_id, "{text}"),
            Level::Warning => tracing::warn!(handler, generation, request_id, trace_id, "{text}"),
            Level::Error => tracing::error!(handler, generation, request_id, trace_id, "{text}"),
        }
    }
    if lines.dropped > 0 {
        let (lines, bytes) = (limits::RESPONSE_LINES_MAX, limits::RESPONSE_LINES_BYTES_MAX);
        let dropped = "lines of the handler dropped: a response may have so many lines and bytes";
        tracing::warn!(handler, generation, request_id, trace_id, lines, bytes, "{dropped}");
    }
}

/// Logs a request that was refused because of its head.
pub(super) fn refused(head: &Parts, failure: &Failure) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let Trace { request_id, trace_id } = Trace::of(head, Given::default());
        tracing::debug!(request_id, trace_id, %failure, "request refused");
    }
}

/// Logs a panic of the host itself.
pub(super) fn panic((head, given): Named<'_>, message: &str) {
    let Trace { request_id, trace_id } = Trace::of(head, given);
    tracing::error!(message, request_id, trace_id, "panic in the host");
}
