//! From a manifest to the table that serves it: what is new is loaded, what changed is proved again under its new
//! terms, what is the same is the same handler. All or nothing: one mistake, and there is no table.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::change::{Change, changes};
use super::compiling::Asker;
use super::order::{Before, Candidate, Made, Order};
use super::same_terms;
use super::workbench::{Haste, Without, Workbench};
use crate::database::{Database, Procedure, Unusable};
use crate::limits;
use crate::manifest::{GrantedProcedure, Manifest, Mistake, Refused};
use crate::metrics::Metrics;
use crate::registry::{Handler, Lineage, Refusal, Registry, Stage, Table};
use crate::request::Node;
use crate::route::Routes;
use crate::state::State;

/// Loads everything a manifest names, and prepares its procedures on every connection of the database. `state` says
/// what an earlier run of the node served.
///
/// # Errors
/// Everything that is wrong, each with its line in the manifest; that the database's pool cannot be filled.
pub async fn load(
    manifest: &Manifest,
    bench: &Workbench,
    database: &Database,
    metrics: &Metrics,
    state: Option<&Arc<State>>,
) -> anyhow::Result<Table> {
    let limit = limits::VERIFY_START_TIMEOUT;
    let known = Known { table: &Table::empty(), registry: None, state };
    let built = build(manifest, bench, Haste::Start, &known, database, metrics);
    let built = tokio::time::timeout(limit, built).await;
    let built = built.with_context(|| format!("the handlers are not verified within {} s", limit.as_secs()))??;
    let table = built.context("what is compiled at a start is waited for")?.table;
    database.start(procedures(&table)).await?;
    show(metrics, &table);
    Ok(table)
}

/// Puts the table of a manifest in the place of the one that serves, if it is another one. With `anew` the statements
/// of its procedures are prepared again in any case.
pub(super) async fn replace(
    node: &Node,
    bench: &Workbench,
    manifest: &Manifest,
    anew: bool,
    state: Option<&Arc<State>>,
) -> Result<Vec<Change>, Without> {
    let old = node.registry.table();
    let known = Known { table: &old, registry: Some(&node.registry), state };
    let built = build(manifest, bench, Haste::Aside, &known, &node.database, &node.metrics).await.map_err(refusal)?;
    let Some(Built { table, made_of }) = built else { return Err(Without::Compiling) };
    let changes = changes(&old, &table);
    bench.retain(Asker::Component, |name| table.handler(name).is_some());
    let known = procedures(&old);
    if anew || procedures(&table).iter().any(|procedure| !known.contains(procedure)) {
        // Before the table: its first call finds its statement.
        node.database.prepare_anew(procedures(&table)).await;
    }
    let same_order = old.handlers.iter().zip(&table.handlers).all(|(old, new)| Arc::ptr_eq(old, new));
    let same_cors = old.cors == table.cors;
    let same_messages = old.messages == table.messages;
    if changes.is_empty() && same_order && same_cors && same_messages {
        return Ok(changes);
    }
    // What was taken back while this was verified must not come again with the new table.
    if !made_of.iter().all(|(handler, lineage)| handler.retire(lineage)) {
        made_of.iter().for_each(|(handler, _)| handler.stay());
        return Err(Refusal::new(Stage::Manifest, "a generation was taken back meanwhile").passing().into());
    }
    let granted = procedures(&table);
    if !same_cors {
        tracing::info!("[cors]: answers are given under the new section");
    }
    if !same_messages {
        tracing::info!("[messages]: failures are answered with the new section");
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

/// Shows the metrics of the handlers that serve. Those of a manifest that was refused are never shown.
fn show(metrics: &Metrics, table: &Table) {
    metrics.serve(
        table
            .handlers
            .iter()
            .map(|handler| (handler.entry.name.clone(), handler.entry.route.to_string(), Arc::clone(&handler.metrics))),
    );
}

/// A missing right is not the manifest's fault, and may come without its being touched.
fn refusal(refused: Refused) -> Refusal {
    let outside = !refused.mistakes.is_empty() && refused.mistakes.iter().all(|mistake| mistake.outside);
    let stage = if outside { Stage::Procedures } else { Stage::Manifest };
    Refusal { passing: refused.may_pass(), ..Refusal::new(stage, refused.to_string()) }
}

/// What a new table is made with.
struct Known<'a> {
    /// The one that serves.
    table: &'a Table,
    /// Where the handlers are that have left it, once there is one.
    registry: Option<&'a Registry>,
    /// What an earlier run of the node recorded.
    state: Option<&'a Arc<State>>,
}

impl Known<'_> {
    fn before(&self, name: &str) -> Before {
        let gone = || self.registry.and_then(|registry| registry.gone(name));
        if let Some(handler) = self.table.handler(name).cloned().or_else(gone) {
            let lineage = handler.lineage();
            return Before::Lineage(handler, lineage);
        }
        let past = self.state.and_then(|state| Some((Arc::clone(state), state.past(name)?)));
        past.map_or(Before::Nothing, |(state, past)| Before::State(state, past))
    }
}

async fn build(
    manifest: &Manifest,
    bench: &Workbench,
    haste: Haste,
    known: &Known<'_>,
    database: &Database,
    metrics: &Metrics,
) -> Result<Option<Built>, Refused> {
    let mut mistakes = Vec::new();
    let described = describe(manifest, database, &mut mistakes).await;
    let mut kept: HashMap<usize, Arc<Handler>> = HashMap::new();
    let mut orders = Vec::new();
    for (index, entry) in manifest.handlers.iter().enumerate() {
        let procedures: Vec<_> =
            entry.procedures.iter().filter_map(|granted| described.get(granted).cloned()).collect();
        match known.table.handler(&entry.name) {
            Some(handler) if same_terms(&handler.entry, entry) && handler.procedures == procedures => {
                kept.insert(index, Arc::clone(handler));
            }
            // What cannot have its procedures is not tried without them.
            _ if procedures.len() < entry.procedures.len() => {}
            _ => orders.push(Order { index, entry: entry.clone(), procedures, before: known.before(&entry.name) }),
        }
    }
    // What an earlier manifest ordered may still be compiled.
    for asker in [Asker::Manifest, Asker::Kept] {
        bench.retain(asker, |name| orders.iter().any(|order| order.entry.name == name));
    }
    let Some(made) = make(orders, bench, haste).await else { return Ok(None) };
    let mut good = Vec::new();
    for made in made {
        match made {
            Ok((order, Ok((lineage, refusal)))) => good.push((order, lineage, refusal)),
            Ok((order, Err(refusal))) => mistakes.push(mistake(Some(order.entry.line), &order.entry.name, refusal)),
            Err(late) => mistakes.push(late),
        }
    }
    ambiguity(manifest, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Refused { path: manifest.path.clone(), mistakes });
    }
    let mut made_of = Vec::new();
    for (order, lineage, refusal) in good {
        let Order { index, entry, procedures, before } = order;
        let counters = metrics.handler(&entry.name);
        let handler = Handler::new(entry, procedures, counters, lineage);
        if let Some(refusal) = refusal {
            resumed_without(&handler, refusal);
        }
        kept.insert(index, Arc::new(handler));
        if let Before::Lineage(handler, lineage) = before {
            made_of.push((handler, lineage));
        }
    }
    let handlers: Vec<_> = (0..manifest.handlers.len()).filter_map(|index| kept.remove(&index)).collect();
    let routes = handlers.iter().map(|handler| (handler.entry.route.clone(), Arc::clone(handler)));
    let refused = |_| Refused { path: manifest.path.clone(), mistakes: Vec::new() };
    let routes = Routes::new(routes).map_err(refused)?;
    let cors = manifest.cors.clone().map(Arc::new);
    let messages = manifest.messages.clone();
    Ok(Some(Built { table: Table { cors, messages, routes, handlers, loaded: Timestamp::now() }, made_of }))
}

/// Reports that a start took what the state has, because the folder's component is refused.
fn resumed_without(handler: &Handler, refusal: Refusal) {
    let (name, number) = (&handler.entry.name, handler.lineage().current.number);
    let sha256 = refusal.digest.map(|digest| digest.to_string()).unwrap_or_default();
    let Refusal { stage, message, .. } = &refusal;
    tracing::error!(%stage, sha256, "{name}: candidate REFUSED, generation {number} of the state serves: {message}");
    handler.metrics.refusals.inc();
    handler.note(Some(refusal));
}

/// An order that was carried out; or why it could not be.
type CarriedOut = Result<(Order, Made), Mistake>;

/// Compiles what was ordered and then verifies it: at a start on all cores, later one after the other. Nothing while
/// one of them is still being compiled.
async fn make(orders: Vec<Order>, bench: &Workbench, haste: Haste) -> Option<Vec<CarriedOut>> {
    let at_once = match haste {
        // It counts the CPU quota of a container.
        Haste::Start => std::thread::available_parallelism().map_or(1, usize::from),
        Haste::Aside => 1,
    };
    let compile = async |order: Order| {
        let candidate = order.candidate(bench, haste).await;
        (order, candidate)
    };
    let mut compiled: Vec<_> = stream::iter(orders).map(compile).buffer_unordered(at_once).collect().await;
    // What is wrong is reported in the order of the manifest, whatever took longest.
    compiled.sort_by_key(|(order, _)| order.index);
    let compiled: Option<Vec<_>> = compiled.into_iter().map(|(order, candidate)| Some((order, candidate?))).collect();
    let compiled = compiled?;
    // Not before all of them are there: what was refused meanwhile would be compiled again.
    [Asker::Manifest, Asker::Kept].into_iter().for_each(|asker| bench.retain(asker, |_| false));
    let verify = async |(order, candidate): (Order, Candidate)| {
        let (line, name) = (Some(order.entry.line), order.entry.name.clone());
        let made = bench.run(haste, move || order.carry_out(candidate)).await;
        made.map_err(|refusal| mistake(line, &name, refusal))
    };
    Some(stream::iter(compiled).map(verify).buffered(at_once).collect().await)
}

/// A table, and the handlers whose places it takes, each with the lineage it was made of.
struct Built {
    table: Table,
    made_of: Vec<(Arc<Handler>, Arc<Lineage>)>,
}

fn mistake(line: Option<usize>, handler: &str, refusal: Refusal) -> Mistake {
    Mistake { outside: refusal.passing, ..Mistake::new(line, format!("{handler}: {}", refusal.message)) }
}

/// Looks every granted procedure up, once.
async fn describe(
    manifest: &Manifest,
    database: &Database,
    mistakes: &mut Vec<Mistake>,
) -> HashMap<GrantedProcedure, Arc<Procedure>> {
    let mut described: HashMap<GrantedProcedure, Result<Arc<Procedure>, Unusable>> = HashMap::new();
    for entry in &manifest.handlers {
        for granted in &entry.procedures {
            if !described.contains_key(granted) {
                let procedure = database.describe(&granted.name, granted.batch.as_ref()).await;
                described.insert(granted.clone(), procedure.map(Arc::new));
            }
            if let Some(Err(unusable)) = described.get(granted) {
                let mistake = Mistake::new(Some(entry.line), format!("{}: {unusable}", entry.name));
                mistakes.push(Mistake { outside: true, ..mistake });
            }
        }
    }
    described.into_iter().filter_map(|(granted, procedure)| Some((granted, procedure.ok()?))).collect()
}

/// Two routes that match the same paths, also those of a handler whose component was refused.
fn ambiguity(manifest: &Manifest, mistakes: &mut Vec<Mistake>) {
    let all = manifest.handlers.iter().map(|entry| (entry.route.clone(), ()));
    if let Err(ambiguous) = Routes::new(all) {
        let (first, second) = (&manifest.handlers[ambiguous.first], &manifest.handlers[ambiguous.second]);
        let text = format!(
            "{}: the route `{}` is ambiguous: `{}` of line {} matches the same paths",
            second.name, second.route, first.route, first.line
        );
        mistakes.push(Mistake::new(Some(second.line), text));
    }
}

/// Every procedure any handler may call, once.
fn procedures(table: &Table) -> Vec<Arc<Procedure>> {
    let mut granted = HashMap::new();
    for procedure in table.handlers.iter().flat_map(|handler| &handler.procedures) {
        granted.entry((procedure.name.as_str(), procedure.batch())).or_insert_with(|| Arc::clone(procedure));
    }
    granted.into_values().collect()
}
