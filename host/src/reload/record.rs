//! Records in the state folder which generation of each handler serves, the last one that was proved, and the one that
//! was rolled back. It is a task beside the reloader, so that a request that rolls a generation back does not wait for
//! a disk, and a long compilation does not delay the record.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::verify::read;
use crate::guest::Digest;
use crate::limits;
use crate::node::Node;
use crate::registry::{Generation, Handler};
use crate::state::{Barred, Mark, Record, State};

/// Records whenever something changed. The end of a probation sends no event, so it also checks from time to time. Runs
/// until it is dropped.
pub async fn keep(node: Arc<Node>, state: Arc<State>) {
    let mut failing = false;
    loop {
        let recorded = {
            let (node, state) = (Arc::clone(&node), Arc::clone(&state));
            tokio::task::spawn_blocking(move || record(&node, &state)).await
        };
        match recorded.map_err(anyhow::Error::from).and_then(|recorded| recorded) {
            Ok(()) if std::mem::take(&mut failing) => tracing::info!("the state is recorded again"),
            Ok(()) => {}
            Err(error) => {
                // Logged once, not with every attempt.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(
                        "cannot record the state; after a restart the node would not know what it serves now: {error:#}"
                    );
                }
            }
        }
        let _ = tokio::time::timeout(limits::WATCH_INTERVAL, node.registry.changed()).await;
    }
}

/// Records what is served now. Blocks on the disk.
///
/// # Errors
/// When it cannot be written.
pub fn record(node: &Node, state: &State) -> anyhow::Result<()> {
    let table = node.registry.table();
    let mut records = BTreeMap::new();
    let mut failed = Ok(());
    for handler in &table.handlers {
        // A failure for one handler does not keep the others from being recorded.
        if let Err(error) = keep_component(handler, state) {
            failed = Err(error);
        }
        let accepted = node.gates.accepted(&handler.entry.name);
        records.insert(handler.entry.name.clone(), Record { accepted, ..recorded(handler, state) });
    }
    if state.is_news(&records) {
        state.record(records)?;
    }
    failed
}

/// Stores the bytes of the component that serves, if its file still holds them.
fn keep_component(handler: &Handler, state: &State) -> anyhow::Result<()> {
    let digest = handler.lineage().current.component.compiled.digest;
    let sha256 = digest.to_string();
    if state.has(&sha256) {
        return Ok(());
    }
    match read(&handler.entry) {
        Ok(bytes) if Digest::of(&bytes) == digest => state.keep(&sha256, &bytes),
        // The file is newer than the component that serves: the one stored before stays.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn recorded(handler: &Handler, state: &State) -> Record {
    let lineage = handler.lineage();
    let mark = |generation: &Generation| Mark {
        sha256: generation.component.compiled.digest.to_string(),
        generation: generation.number,
    };
    let proved = Some(mark(handler.proved(&lineage))).filter(|proved| state.has(&proved.sha256));
    let current = &lineage.current.component.compiled;
    let before = || state.past(&handler.entry.name).and_then(|past| past.proved);
    Record {
        last: lineage.last_number(),
        current: Some(mark(&lineage.current)),
        proved: proved.or_else(before),
        // A component that serves again with an earlier config is not barred: configs are not kept across restarts.
        barred: lineage.rolled_back.as_ref().filter(|back| back.digest != current.digest).map(|back| Barred {
            sha256: back.digest.to_string(),
            generation: back.number,
            cause: back.cause.clone(),
            at: back.at.to_string(),
        }),
        accepted: Vec::new(),
        left: None,
    }
}
