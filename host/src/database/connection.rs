//! A connection of the pool, with what has been prepared on it, and its age. Kept in `connections`.

use std::ops::Deref;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::time::Instant;

use super::connect::open::{Opened, random};
use super::connect::pooler::Way;
use super::onward::Onward;

/// A connection of the pool.
pub(super) struct Connection {
    client: ClientWrapper,
    /// How calls are sent on it.
    way: Way,
    /// Where it leads, if to a router.
    onward: Onward,
    epoch: u64,
    end: Instant,
}

impl Connection {
    /// Creates a connection of `epoch`. It is too old after `age`, or up to a quarter sooner, so that connections that
    /// were opened together are not replaced together.
    pub(super) fn new(opened: Opened, epoch: u64, age: Duration) -> Self {
        let jitter = age / 4 * u32::from(random()) / 256;
        let client = ClientWrapper::new(opened.client, opened.task);
        Self { client, way: opened.way, onward: Onward::default(), epoch, end: Instant::now() + age - jitter }
    }

    /// How calls are sent on it.
    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    /// The connections behind it, if it leads to a router.
    pub(super) fn onward(&self) -> &Onward {
        &self.onward
    }

    /// The epoch in which opening it began.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When it becomes too old.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// Whether it is too old and is to be replaced.
    pub(super) fn is_old(&self) -> bool {
        self.end <= Instant::now()
    }
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}
