//! What became of the spans of traces.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of the spans of traces; `traces` counts.
#[derive(Debug, Clone, Default)]
pub struct SpanMetrics {
    exported: Counter,
    dropped: Family<Reason, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl SpanMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("spans_exported", "Spans that the collector took", self.exported.clone());
        let dropped = "Spans that were dropped: the queue was full, the collector did not take them, or rejected them";
        registry.register("spans_dropped", dropped, self.dropped.clone());
        // Shown from the start, so that the first drop is an increase.
        ["queue_full", "not_sent", "rejected"].into_iter().for_each(|reason| self.dropped(reason, 0));
    }

    /// Counts spans that the collector took.
    pub fn exported(&self, spans: u64) {
        self.exported.inc_by(spans);
    }

    /// Counts spans that were dropped: `queue_full`, `not_sent` or `rejected`.
    pub fn dropped(&self, reason: &'static str, spans: u64) {
        self.dropped.get_or_create(&Reason { reason }).inc_by(spans);
    }
}
