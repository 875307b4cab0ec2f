//! One span: its ids, its flags, and what the span of a statement shows. `spans` makes those of a request, `batches`
//! those of batches.

use crate::database::Peer;
use crate::traces::otlp::{KeyValue, Link, Span, SpanKind};
use crate::traces::{SpanId, TraceId};

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE`: whether the parent is of another process is known.
pub(super) const KNOWN: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE`: it is.
pub(super) const REMOTE: u32 = 0x200;
/// The trace is recorded, since this span is.
pub(super) const SAMPLED: u32 = 1;

/// The span of a statement that carried several calls. It has a trace of its own: each of its calls belongs to another.
pub(super) fn of_batch((trace, span): (TraceId, SpanId), procedure: &str, calls: u32, peer: &Peer) -> Span {
    let mut attributes = database(procedure, "BATCH SELECT", peer);
    attributes.push(KeyValue::number("db.operation.batch.size", calls));
    Span {
        trace_id: trace.bytes(),
        span_id: span.bytes(),
        name: format!("BATCH SELECT {procedure}"),
        kind: SpanKind::Client as i32,
        attributes,
        flags: SAMPLED | KNOWN,
        ..Span::default()
    }
}

/// What points to a span.
pub(super) fn link(span: &Span) -> Link {
    Link { trace_id: span.trace_id.clone(), span_id: span.span_id.clone(), flags: SAMPLED | KNOWN }
}

/// A span within another one, or a root.
pub(super) fn child(trace: TraceId, parent: &[u8], begun: u64, ended: u64) -> Span {
    Span {
        trace_id: trace.bytes(),
        span_id: SpanId::random().bytes(),
        parent_span_id: parent.to_owned(),
        start_time_unix_nano: begun,
        end_time_unix_nano: ended,
        flags: SAMPLED | KNOWN,
        ..Span::default()
    }
}

/// What the span of a statement shows.
pub(super) fn database(procedure: &str, operation: &str, Peer { namespace, address, port }: &Peer) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::text("db.system.name", "postgresql"),
        KeyValue::text("db.namespace", namespace.as_str()),
        KeyValue::text("db.operation.name", operation),
        KeyValue::text("db.query.summary", format!("{operation} {procedure}")),
        KeyValue::text("db.stored_procedure.name", procedure),
        KeyValue::text("server.address", address.as_str()),
    ];
    attributes.extend(port.map(|port| KeyValue::number("server.port", port)));
    attributes
}

/// Microseconds as OTLP has them.
pub(super) fn nanos(micros: u32) -> u64 {
    u64::from(micros) * 1000
}
