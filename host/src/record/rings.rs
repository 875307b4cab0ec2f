//! The rings of a node, by the names of their handlers, and where the numbers of those go on that have left: who
//! follows records by their numbers misses and repeats none when a handler returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ring::Ring;
use crate::limits;

#[derive(Default)]
pub(super) struct Rings {
    pub(super) of: BTreeMap<String, Arc<Ring>>,
    /// One request in so many of every handler, as the operator said while the node ran.
    pub(super) switched: Option<usize>,
    /// The numbers of the last records of handlers that have left.
    left: BTreeMap<String, u64>,
    /// The highest number of those that are forgotten: the ring of a handler that is not among `left` begins after it.
    forgotten: u64,
}

impl Rings {
    /// The number of the last record that an earlier ring of a handler kept.
    pub(super) fn goes_on_after(&mut self, handler: &str) -> u64 {
        self.left.remove(handler).unwrap_or(self.forgotten)
    }

    /// Drops the rings of handlers that no longer serve, and gives their memory back.
    pub(super) fn retain(&mut self, serves: impl Fn(&str) -> bool) {
        let Self { of, left, forgotten, .. } = self;
        of.retain(|handler, ring| {
            let stays = serves(handler);
            if !stays {
                ring.sample(0);
                ring.clear();
                left.insert(handler.clone(), ring.last_number());
            }
            stays
        });
        while left.len() > limits::HANDLERS_MAX {
            let Some((_, last)) = left.pop_first() else { break };
            *forgotten = last.max(*forgotten);
        }
    }
}
