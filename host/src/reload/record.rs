//! Records in the state folder which generation of each handler serves, the last one that was proved, and those that
//! were rolled back. It is a task beside the reloader, so that a request that rolls a generation back does not wait for
//! a disk, and a long compilation does not delay the record.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;

use super::verify::read;
use crate::guest::Digest;
use crate::limits;
use crate::node::Node;
use crate::registry::{Generation, Handler, Lineage, Registry, RolledBack};
use crate::state::{Barred, Found, Mark, Record, State};

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
    let mut failed = write_audit(&node.registry, state);
    state.update(|| {
        let mut serving = HashSet::new();
        let mut look_at = |handler: &Arc<Handler>| {
            let (name, lineage) = (handler.entry.name.clone(), handler.lineage());
            for generation in generations(&lineage) {
                // A failure for one does not keep the others from being recorded.
                if let Err(error) = keep_component(handler, generation, &lineage, state) {
                    failed = Err(error);
                }
                serving.insert(sha256_of(generation));
            }
            let accepted = node.gates.accepted(&name);
            (name, Record { accepted, ..recorded(handler, &lineage, state) })
        };
        let handlers: BTreeMap<_, _> = node.registry.table().handlers.iter().map(&mut look_at).collect();
        // What became of them before they left the manifest may not be recorded yet.
        let gone = node.registry.all_gone();
        let gone = gone.iter().filter(|handler| !handlers.contains_key(&handler.entry.name)).map(look_at).collect();
        Found { handlers, gone, serving }
    })?;
    failed
}

/// Appends what is new in the audit log. An entry that was written twice after a failure is better than one that is
/// lost.
fn write_audit(registry: &Registry, state: &State) -> anyhow::Result<()> {
    let entries = registry.audit.unwritten();
    state.append(&entries).context("the audit log cannot be written")?;
    registry.audit.written(entries.len());
    Ok(())
}

/// Those that serve, or would after a rollback.
fn generations(lineage: &Lineage) -> impl Iterator<Item = &Arc<Generation>> {
    let canary = lineage.canary.as_ref().map(|canary| &canary.generation);
    canary.into_iter().chain([&lineage.current]).chain(&lineage.previous)
}

fn sha256_of(generation: &Generation) -> String {
    generation.component.compiled.digest.to_string()
}

/// Stores the bytes of a component that were handed over when it went live, and the signature with which it serves.
fn keep_component(handler: &Handler, generation: &Generation, lineage: &Lineage, state: &State) -> anyhow::Result<()> {
    let (sha256, signature) = (sha256_of(generation), generation.signature());
    let signature = signature.as_ref().map(|signature| signature.as_str());
    if state.has(&sha256) {
        // It may have been signed again, for other grants or with another key.
        return signature.map_or(Ok(()), |signature| state.keep_signature(&sha256, signature));
    }
    if let Some(bytes) = state.handed(&sha256) {
        return state.keep(&sha256, &bytes, signature);
    }
    // There was no room for it, or the folder has lost it since. Only what serves may still be in its file.
    if !std::ptr::eq(generation, &*lineage.current) {
        return Ok(());
    }
    match read(&handler.entry) {
        Ok(bytes) if Digest::of(&bytes) == generation.component.compiled.digest => {
            state.keep(&sha256, &bytes, signature)
        }
        // The file is newer than the component that serves: the one stored before stays.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn recorded(handler: &Handler, lineage: &Lineage, state: &State) -> Record {
    let mark = |generation: &Generation| Mark {
        sha256: sha256_of(generation),
        generation: generation.number,
        over: generation.over.map(|over| over.to_string()),
    };
    let proved = Some(mark(handler.proved(lineage))).filter(|proved| state.has(&proved.sha256));
    let current = &lineage.current.component.compiled;
    let past = state.past(&handler.entry.name).unwrap_or_default();
    // What came and was replaced between two records is in none of them yet.
    let is_new = |mark: &Mark| past.components().all(|known| known != mark.sha256);
    let unrecorded = lineage.previous.as_deref().map(mark).filter(is_new);
    let canary = lineage.canary.as_ref().map(|canary| mark(&canary.generation));
    let served = canary.into_iter().chain([mark(&lineage.current)]).chain(unrecorded);
    let history = history(served.chain(past.history), state);
    // A component that serves again with an earlier config is not barred: configs are not kept across restarts.
    let is_barred = |back: &&RolledBack| back.digest != current.digest;
    let bars: Vec<_> = lineage.bars.iter().filter(is_barred).map(barred).collect();
    // One that was proved before may have been rolled back since.
    let proved_before = past.proved.filter(|mark| bars.iter().all(|barred| barred.sha256 != mark.sha256));
    Record {
        history,
        last: lineage.last_number(),
        current: Some(mark(&lineage.current)),
        proved: proved.or(proved_before),
        barred: lineage.rolled_back.as_ref().filter(is_barred).map(barred),
        bars,
        accepted: Vec::new(),
        left: None,
    }
}

fn barred(back: &RolledBack) -> Barred {
    Barred {
        sha256: back.digest.to_string(),
        generation: back.number,
        cause: back.cause.clone(),
        at: back.at.to_string(),
        over: back.over.map(|over| over.to_string()),
    }
}

/// The generations that have served, the newest first. One whose component is lost is left out.
fn history(marks: impl Iterator<Item = Mark>, state: &State) -> Vec<Mark> {
    let mut history: Vec<Mark> = Vec::new();
    for mark in marks {
        if history.len() < limits::HISTORY_MAX
            && history.iter().all(|kept| kept.sha256 != mark.sha256)
            && state.has(&mark.sha256)
        {
            // Over what it was deployed matters only while it serves.
            history.push(Mark { over: None, ..mark });
        }
    }
    history
}
