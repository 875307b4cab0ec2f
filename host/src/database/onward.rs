//! The connections that PL/Proxy keeps to the shards, in each session of a router and for each of its clusters. A node
//! sees none of them; it knows over which ones it has sent a statement, and whether the shard was unavailable since.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A cluster of a router, by what is sent over it. Each has connections of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cluster {
    /// Calls that are not batched.
    Calls,
    Batches,
}

/// Those of a session.
#[derive(Default)]
pub(super) struct Onward {
    /// How often the shard of a partition had returned when the connection to it was last known to be good.
    good: Mutex<HashMap<(u32, Cluster), u64>>,
    /// The partition on whose shard it runs what any can answer.
    chosen: Mutex<Option<u32>>,
}

impl Onward {
    /// Whether the connection to a shard that has returned so many times may be dead: it was there before the last
    /// time. If there is none yet, PL/Proxy makes one.
    pub(super) fn may_be_dead(&self, partition: u32, cluster: Cluster, returns: u64) -> bool {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        *good.entry((partition, cluster)).or_insert(returns) != returns
    }

    /// It was made, or tried, since the shard had returned so many times.
    pub(super) fn is_good(&self, partition: u32, cluster: Cluster, returns: u64) {
        self.good.lock().unwrap_or_else(PoisonError::into_inner).insert((partition, cluster), returns);
    }

    /// Whether it runs what any shard can answer on that of this partition.
    pub(super) fn has_chosen(&self, partition: u32) -> bool {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) == Some(partition)
    }

    /// It does from now on.
    pub(super) fn choose(&self, partition: u32) {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_may_be_dead_from_a_return_of_its_shard_until_it_was_tried() {
        let onward = Onward::default();
        let may_be_dead = |partition, returns| onward.may_be_dead(partition, Cluster::Calls, returns);
        assert!(!may_be_dead(0, 3), "made now");
        assert!(!may_be_dead(0, 3) && may_be_dead(0, 4) && may_be_dead(0, 4));
        assert!(!may_be_dead(1, 4) && !onward.may_be_dead(0, Cluster::Batches, 4), "others, made now");
        onward.is_good(0, Cluster::Calls, 4);
        assert!(!may_be_dead(0, 4) && may_be_dead(0, 5));
    }
}
