//! The end of a node: one signal that every long-running task watches, and the connections that are still open. Before
//! the drain a node may linger: it reports that it is not ready, but serves as before.
//!
//! `listen` watches the signal and counts connections, `serve` sends the signal and waits, `admin` shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The signal, and the connections that must end before the node does. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    lingering: Arc<AtomicBool>,
    signal: CancellationToken,
    connections: TaskTracker,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything in flight was answered.
    Graceful,
    /// The grace period ended first.
    Cut {
        /// Connections that were still answering.
        connections: usize,
    },
    /// Everything in flight was answered, but the state could not be written to disk, so a restart does not know
    /// which generations served.
    Unrecorded,
}

impl Drain {
    /// From now on the node is not ready, and every answer has `Connection: close`, so that clients reconnect through
    /// their load balancer. New connections are still served.
    pub fn linger(&self) {
        self.lingering.store(true, Ordering::Relaxed);
    }

    /// Whether the node lingers or has lingered.
    pub fn lingers(&self) -> bool {
        self.lingering.load(Ordering::Relaxed)
    }

    /// Begins the drain: no new connections, `Connection: close` on every answer, and idle connections end.
    pub fn begin(&self) {
        self.signal.cancel();
        self.connections.close();
    }

    /// Whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Resolves when the drain begins.
    pub async fn begun(&self) {
        self.signal.cancelled().await;
    }

    /// Runs a connection that the drain waits for.
    pub fn track(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.connections.spawn(connection);
    }

    /// Connections that are still open.
    pub fn open(&self) -> usize {
        self.connections.len()
    }

    /// Waits until every connection has ended or the grace period is over.
    pub async fn ended(&self, grace: Duration) -> Outcome {
        match tokio::time::timeout(grace, self.connections.wait()).await {
            Ok(()) => Outcome::Graceful,
            Err(_) => Outcome::Cut { connections: self.open() },
        }
    }
}
