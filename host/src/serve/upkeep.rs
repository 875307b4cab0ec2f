//! The tasks that keep a node in order while it serves.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::node::Node;
use crate::reload::{self, Orders, Reloader, Worker};
use crate::state::State;
use crate::supervise::Supervisor;

/// The maintenance tasks of a node. All their state is in the node, so each can be restarted.
pub(super) fn upkeep(
    supervisor: &Supervisor,
    node: &Arc<Node>,
    settings: &Settings,
    worker: Worker,
    orders: &Arc<Orders>,
    state: Option<&Arc<State>>,
) -> Vec<JoinHandle<()>> {
    let caretaker = supervisor.renewed("caretaker", {
        let node = Arc::clone(node);
        move || {
            let node = Arc::clone(&node);
            async move { node.database.look_after().await }
        }
    });
    let shards = supervisor.renewed("shards", {
        let node = Arc::clone(node);
        move || Arc::clone(&node.database).watch_shards()
    });
    let deployer = supervisor.renewed("deployer", {
        let (node, worker, state) = (Arc::clone(node), worker.clone(), state.cloned());
        move || reload::deploy(Arc::clone(&node), worker.clone(), state.clone())
    });
    let shadow = supervisor.renewed("shadow", {
        let (node, worker) = (Arc::clone(node), worker.clone());
        move || reload::shadow(Arc::clone(&node), worker.clone())
    });
    let reloader = supervisor.renewed("reloader", {
        let (node, folder, orders) = (Arc::clone(node), settings.handlers.clone(), Arc::clone(orders));
        let state = state.cloned();
        move || {
            let (node, state, orders) = (Arc::clone(&node), state.clone(), Arc::clone(&orders));
            Reloader::new(node, folder.clone(), worker.clone(), state, orders).run()
        }
    });
    let keeper = state.map(|state| {
        let (node, state) = (Arc::clone(node), Arc::clone(state));
        supervisor.renewed("state", move || reload::keep(Arc::clone(&node), Arc::clone(&state)))
    });
    [caretaker, shards, deployer, shadow, reloader].into_iter().chain(keeper).collect()
}
