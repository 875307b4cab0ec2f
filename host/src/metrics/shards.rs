//! The metrics of partitions: whether the shard of each is available, and the calls that went to it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of all partitions. Without shards there is none.
#[derive(Debug, Clone, Default)]
pub struct ShardMetrics {
    up: Family<Labels, Gauge>,
    calls: Family<Labels, Counter>,
    failed: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
}

/// The metrics of one partition.
#[derive(Debug, Clone)]
pub struct ShardCounters {
    /// Whether calls are sent to its shard.
    pub up: Gauge,
    /// Statements that were sent and ended, whatever their outcome.
    pub calls: Counter,
    /// Those that failed because the shard was unavailable.
    pub failed: Counter,
    /// Calls that were refused because its shard is unavailable.
    pub refused: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    partition: u32,
}

impl ShardMetrics {
    /// Those of a partition, which counts as available.
    pub fn of(&self, partition: u32) -> ShardCounters {
        let labels = Labels { partition };
        let counters = ShardCounters {
            up: self.up.get_or_create(&labels).clone(),
            calls: self.calls.get_or_create(&labels).clone(),
            failed: self.failed.get_or_create(&labels).clone(),
            refused: self.refused.get_or_create(&labels).clone(),
        };
        counters.up.set(1);
        counters
    }

    pub(super) fn register(&self, galo: &mut Registry) {
        galo.register("shard_up", "Whether calls are sent to the shard of a partition", self.up.clone());
        let calls = "Statements that were sent to the shard of a partition";
        galo.register("shard_statements", calls, self.calls.clone());
        let failed = "Statements that failed because the shard of a partition was unavailable";
        galo.register("shard_statements_failed", failed, self.failed.clone());
        let refused = "Calls that were refused while the shard of their partition was unavailable";
        galo.register("shard_calls_refused", refused, self.refused.clone());
    }
}
