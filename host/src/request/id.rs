//! The ids of requests that come without one. Nothing random is asked for per request: an id is the number of the
//! request behind a prefix of the process, which is random, so that two nodes and two runs of a node have no id in
//! common.

use std::fmt::{self, Write as _};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The keys of a new `RandomState` are random, and so is the hash of nothing.
static PREFIX: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The id of a request that came without one: `9f3a5c0211d0e4b7-1a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u64);

impl Id {
    /// An id that no other request has.
    pub(super) fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its text, allocated once.
    pub(super) fn text(self) -> String {
        let mut text = String::with_capacity("0123456789abcdef-0123456789abcdef".len());
        // Writing to a `String` does not fail.
        let _ = write!(text, "{self}");
        text
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}", *PREFIX, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ids_are_alike_and_they_share_the_prefix_of_the_process() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| Id::next().text()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.starts_with(&format!("{:016x}-", *PREFIX))));
        assert_ne!(RandomState::new().build_hasher().finish(), *PREFIX);
    }
}
