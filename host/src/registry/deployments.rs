//! What operators ask for that takes a while, because a component has to be verified first: orders from the admin
//! address to the task of `reload` that carries them out. They wait in a queue that outlives that task.

use tokio::sync::{Mutex, mpsc, oneshot};

use super::audit::Who;
use super::canary::{Differences, Share};
use crate::limits;

/// The queue.
pub struct Deployments {
    orders: mpsc::Sender<Order>,
    queue: Mutex<mpsc::Receiver<Order>>,
}

/// An order.
pub struct Order {
    /// The handler.
    pub handler: String,
    /// What is to be done.
    pub what: What,
    /// Who asks for it.
    pub who: Who,
    /// Why.
    pub why: String,
    /// Where the outcome is sent to.
    pub done: oneshot::Sender<Result<(), Denied>>,
}

/// What is to be done.
pub enum What {
    /// Have a component answer a share of the requests.
    Canary {
        /// Its bytes.
        component: Vec<u8>,
        /// Its signature, if it has one.
        signature: Option<String>,
        /// The requests that it answers.
        share: Share,
        /// What an answer that differs means, if not what the manifest says.
        differences: Option<Differences>,
        /// The id of the deployment, if it has one.
        deployment: Option<String>,
    },
    /// Have a generation serve again that was kept in the state folder.
    Restore {
        /// How its digest begins.
        digest: String,
    },
}

/// Why an order is not carried out.
#[derive(Debug)]
pub enum Denied {
    /// There is no such handler, generation or file.
    Absent(String),
    /// It does not fit what serves now.
    Conflict(String),
    /// The component was refused.
    Refused(String),
    /// Too many orders wait, or the node ends.
    Busy,
}

impl Default for Deployments {
    fn default() -> Self {
        let (orders, queue) = mpsc::channel(limits::DEPLOYMENTS_MAX);
        Self { orders, queue: Mutex::new(queue) }
    }
}

impl Deployments {
    /// Hands an order over, and waits until it was carried out.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn order(&self, handler: String, what: What, who: Who, why: String) -> Result<(), Denied> {
        let (done, outcome) = oneshot::channel();
        self.orders.try_send(Order { handler, what, who, why, done }).map_err(|_| Denied::Busy)?;
        outcome.await.unwrap_or(Err(Denied::Busy))
    }

    /// The next order. There is always a sender, so it waits for as long as there is none.
    pub async fn next(&self) -> Option<Order> {
        self.queue.lock().await.recv().await
    }
}
