//! The end of a node: one signal that everything long-running watches, and the connections that are still open. Before
//! it a node may linger: it says that it is not ready, and serves as before.
//!
//! `listen` watches and counts, `serve` pulls the signal and waits, `admin` shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The signal, and what must end before the node may. Cheap to clone.
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
    /// The grace period was over first.
    Cut {
        /// Connections that were still answering.
        connections: usize,
    },
    /// Everything in flight was answered, but a restart would not know what was served: the disk did not take it.
    Unrecorded,
}

impl Drain {
    /// From now on: not ready, and every answer has `Connection: close`, so that clients come back by way of whatever
    /// balances them. New connections are served.
    pub fn linger(&self) {
        self.lingering.store(true, Ordering::Relaxed);
    }

    /// Whether it lingers, or has.
    pub fn lingers(&self) -> bool {
        self.lingering.load(Ordering::Relaxed)
    }

    /// From now on: no new connection, `Connection: close` on every answer, idle connections end.
    pub fn begin(&self) {
        self.signal.cancel();
        self.connections.close();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Resolves when it begins.
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

    /// Waits until every connection has ended, or the grace period is over.
    pub async fn ended(&self, grace: Duration) -> Outcome {
        match tokio::time::timeout(grace, self.connections.wait()).await {
            Ok(()) => Outcome::Graceful,
            Err(_) => Outcome::Cut { connections: self.open() },
        }
    }
}
