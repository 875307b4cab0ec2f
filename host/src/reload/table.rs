//! Puts the table of a manifest into service: the first one at a start, later ones in place of the current one. All or
//! nothing; `assembly` makes it.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::assembly::{Known, NewTable, build};
use super::change::{Change, changes};
use super::compiling::Asker;
use super::worker::{Priority, Without, Worker};
use crate::database::{Database, Procedure};
use crate::limits;
use crate::manifest::{Manifest, Refused};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::registry::{Handler, Refusal, Stage, Table};
use crate::state::State;

/// Loads everything a manifest names, and prepares its procedures on every connection of the database. `state` has what
/// an earlier run of the node served.
///
/// # Errors
/// All mistakes, each with its line in the manifest; or that the database's pool cannot be filled.
pub async fn load(
    manifest: &Manifest,
    worker: &Worker,
    database: &Database,
    metrics: &Metrics,
    state: Option<&Arc<State>>,
) -> anyhow::Result<Table> {
    let limit = limits::VERIFY_START_TIMEOUT;
    let known = Known { table: &Table::empty(), registry: None, state };
    let built = build(manifest, worker, Priority::Start, &known, database, metrics);
    let built = tokio::time::timeout(limit, built).await;
    let built = built.with_context(|| format!("the handlers are not verified within {} s", limit.as_secs()))??;
    let table = built.context("what is compiled at a start is waited for")?.table;
    database.start(procedures(&table)).await?;
    show(metrics, &table);
    Ok(table)
}

/// Replaces the current table with that of a manifest, if they differ. With `anew` the statements of its procedures are
/// prepared again in any case.
pub(super) async fn replace(
    node: &Node,
    worker: &Worker,
    manifest: &Manifest,
    anew: bool,
    state: Option<&Arc<State>>,
) -> Result<Vec<Change>, Without> {
    let old = node.registry.table();
    let known = Known { table: &old, registry: Some(&node.registry), state };
    let built =
        build(manifest, worker, Priority::Background, &known, &node.database, &node.metrics).await.map_err(refusal)?;
    let Some(NewTable { table, made_of, pins: _pins }) = built else { return Err(Without::Compiling) };
    let changes = changes(&old, &table);
    worker.retain(Asker::Component, |name| table.handler(name).is_some());
    let known = procedures(&old);
    if anew || procedures(&table).iter().any(|procedure| !known.contains(procedure)) {
        // Prepared before the table is replaced, so that the first call finds its statement.
        node.database.prepare_anew(procedures(&table)).await;
    }
    let same_order = old.handlers.iter().zip(&table.handlers).all(|(old, new)| Arc::ptr_eq(old, new));
    let same_cors = old.cors == table.cors;
    let same_messages = old.messages == table.messages;
    let same_token = old.token == table.token;
    if changes.is_empty() && same_order && same_cors && same_messages && same_token {
        return Ok(changes);
    }
    // A generation that was rolled back during the verification must not serve again with the new table.
    if !made_of.iter().all(|(handler, lineage)| handler.retire(lineage)) {
        made_of.iter().for_each(|(handler, _)| handler.stay());
        return Err(Refusal::new(Stage::Manifest, "a generation was rolled back during the reload").passing().into());
    }
    let granted = procedures(&table);
    if !same_cors {
        tracing::info!("[cors]: answers are given under the new section");
    }
    if !same_messages {
        tracing::info!("[messages]: failures are answered with the new section");
    }
    if !same_token {
        tracing::info!("[token]: tokens are verified with the new section and keys");
    }
    show(&node.metrics, &table);
    node.registry.replace(table);
    node.database.keep(&granted);
    for change in &changes {
        if let Change::Changed(name, Some(_)) = change {
            node.metrics.handler(name).swaps.inc();
        }
    }
    Ok(changes)
}

/// Exposes the metrics of the handlers that serve. Those of a rejected manifest are never exposed.
fn show(metrics: &Metrics, table: &Table) {
    let routes = |handler: &Handler| handler.routes.iter().map(|route| route.to_string()).collect();
    metrics.serve(
        table
            .handlers
            .iter()
            .map(|handler| (handler.entry.name.clone(), routes(handler), Arc::clone(&handler.metrics))),
    );
}

/// A missing procedure or privilege is not a mistake of the manifest, and may be fixed without changing it.
fn refusal(refused: Refused) -> Refusal {
    let outside = !refused.mistakes.is_empty() && refused.mistakes.iter().all(|mistake| mistake.outside);
    let stage = if outside { Stage::Procedures } else { Stage::Manifest };
    Refusal { passing: refused.may_pass(), ..Refusal::new(stage, refused.to_string()) }
}

/// Every procedure any handler may call, once for each: their statements differ in the comment.
fn procedures(table: &Table) -> Vec<Arc<Procedure>> {
    let mut granted = HashMap::new();
    for procedure in table.handlers.iter().flat_map(|handler| &handler.procedures) {
        granted.entry((procedure.comment(), procedure.batch())).or_insert_with(|| Arc::clone(procedure));
    }
    granted.into_values().collect()
}
