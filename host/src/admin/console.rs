//! What the page and the API need besides the node itself, and the bound on their work: making a page reads files and
//! runs guests, so it runs on a thread of its own, and few at once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::Admin;
use super::api::denied::Denied;
use super::api::traffic::Traffic;
use crate::config::Address;
use crate::limits;
use crate::node::Node;

/// The part of the admin address that is for people.
pub struct Console {
    /// Where the node answers requests, once it listens.
    pub listen: OnceLock<Address>,
    /// When the process began.
    pub(super) began: Timestamp,
    traffic: Mutex<Traffic>,
    work: Arc<Semaphore>,
}

impl Default for Console {
    fn default() -> Self {
        let work = Arc::new(Semaphore::new(limits::ADMIN_WORK_MAX));
        Self { listen: OnceLock::new(), began: Timestamp::now(), traffic: Mutex::default(), work }
    }
}

impl Console {
    /// The traffic of the last minute.
    pub(super) fn traffic<T>(&self, look: impl FnOnce(&mut Traffic) -> T) -> T {
        look(&mut self.traffic.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Admin {
    /// Samples the traffic. Runs until it is dropped.
    pub async fn sample(self: Arc<Self>) {
        let mut turn = tokio::time::interval(limits::TRAFFIC_INTERVAL);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            if let Some(node) = self.node.get() {
                self.console.traffic(|traffic| traffic.sample(&node.registry.table()));
            }
        }
    }

    /// The node.
    ///
    /// # Errors
    /// While it starts.
    pub(super) fn started(&self) -> Result<&Arc<Node>, Denied> {
        self.node.get().ok_or_else(|| Denied::new(StatusCode::SERVICE_UNAVAILABLE, "the node is starting"))
    }

    /// Runs work that takes a while, off the threads that serve.
    pub(super) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Denied> {
        let broken = |_| Denied::new(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made; see the log");
        // Held by the work, which goes on when the client has gone. The semaphore is never closed.
        let turn = Arc::clone(&self.console.work).acquire_owned().await;
        let admin = Arc::clone(self);
        let done = move || {
            let done = work(&admin);
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(done).await.map_err(broken)
    }
}
