//! Traces: what identifies the trace of a request (W3C Trace Context), and how spans get to a collector (OTLP over
//! HTTP).
//!
//! No request makes a span. `record` makes the spans of a request that was answered, in the recorder's thread, and
//! hands them to the [`Exporter`], which has a thread of its own. Its queue is bounded: while the collector is slow or
//! dead, spans are dropped and counted, and nothing else happens.

mod exporter;
pub mod otlp;
mod post;
mod tls;
mod traceparent;

pub use self::exporter::Exporter;
pub use self::traceparent::{Place, SpanId, TraceId, state};
