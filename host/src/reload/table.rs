//! From a manifest to the table that serves it: what is new is loaded, what changed is proved again under its new
//! terms, what is the same is the same handler. All or nothing: one mistake, and there is no table.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::order::{Candidate, Order};
use super::same_terms;
use super::workbench::{Haste, Without, Workbench};
use crate::database::{Database, Procedure, Unusable};
use crate::limits;
use crate::manifest::{GrantedProcedure, Manifest, Mistake, Refused};
use crate::metrics::Metrics;
use crate::registry::{Handler, Lineage, Refusal, Stage, Table};
use crate::request::Node;
use crate::route::Routes;

/// Loads everything a manifest names, and prepares its procedures on every connection of the database.
///
/// # Errors
/// Everything that is wrong, each with its line in the manifest; that the database's pool cannot be filled.
pub async fn load(
    manifest: &Manifest,
    bench: &Workbench,
    database: &Database,
    metrics: &Metrics,
) -> anyhow::Result<Table> {
    let limit = limits::VERIFY_START_TIMEOUT;
    let nothing = Table::empty();
    let built = build(manifest, bench, Haste::Start, &nothing, database, metrics);
    let built = tokio::time::timeout(limit, built).await;
    let built = built.with_context(|| format!("the handlers are not verified within {} s", limit.as_secs()))??;
    let table = built.context("what is compiled at a start is waited for")?.table;
    database.start(procedures(&table)).await?;
    Ok(table)
}

/// What became of a handler with another manifest.
pub(super) enum Change {
    Added(String, String),
    /// With the number of its generation when that is a new one.
    Changed(String, Option<u64>),
    Removed(String),
}

/// Puts the table of a manifest in the place of the one that serves, if it is another one. With `anew` the statements
/// of its procedures are prepared again in any case.
pub(super) async fn replace(
    node: &Node,
    bench: &Workbench,
    manifest: &Manifest,
    anew: bool,
) -> Result<Vec<Change>, Without> {
    let old = node.registry.table();
    // What an earlier manifest named may still be compiled.
    bench.retain(|name| manifest.handlers.iter().any(|entry| entry.name == name));
    let built = build(manifest, bench, Haste::Aside, &old, &node.database, &node.metrics).await.map_err(refusal)?;
    let Some(Built { table, made_of }) = built else { return Err(Without::Compiling) };
    let changes = changes(&old, &table);
    let known = procedures(&old);
    if anew || procedures(&table).iter().any(|procedure| !known.contains(procedure)) {
        // Before the table: its first call finds its statement.
        node.database.prepare_anew(procedures(&table)).await;
    }
    let same_order = old.handlers.iter().zip(&table.handlers).all(|(old, new)| Arc::ptr_eq(old, new));
    if changes.is_empty() && same_order {
        return Ok(changes);
    }
    // What was taken back while this was verified must not come again with the new table.
    if !made_of.iter().all(|(handler, lineage)| handler.retire(lineage)) {
        made_of.iter().for_each(|(handler, _)| handler.stay());
        return Err(Refusal::new(Stage::Manifest, "a generation was taken back meanwhile").passing().into());
    }
    let granted = procedures(&table);
    node.registry.replace(table);
    node.database.keep(&granted);
    for change in &changes {
        bench.settle(change.name());
        match change {
            Change::Removed(name) => node.metrics.forget(name),
            Change::Changed(name, Some(_)) => {
                node.metrics.handler(name).swaps.inc();
            }
            Change::Changed(_, None) | Change::Added(..) => {}
        }
    }
    Ok(changes)
}

/// A missing right is not the manifest's fault, and may come without its being touched.
fn refusal(refused: Refused) -> Refusal {
    let outside = !refused.mistakes.is_empty() && refused.mistakes.iter().all(|mistake| mistake.outside);
    let stage = if outside { Stage::Procedures } else { Stage::Manifest };
    Refusal {
        passing: refused.mistakes.iter().any(|mistake| mistake.outside),
        ..Refusal::new(stage, refused.to_string())
    }
}

async fn build(
    manifest: &Manifest,
    bench: &Workbench,
    haste: Haste,
    old: &Table,
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
        let before = old.handler(&entry.name).map(Arc::clone);
        match before {
            Some(handler) if same_terms(&handler.entry, entry) && handler.procedures == procedures => {
                kept.insert(index, handler);
            }
            // What cannot have its procedures is not tried without them.
            _ if procedures.len() < entry.procedures.len() => {}
            before => {
                let before = before.map(|handler| (Arc::clone(&handler), handler.lineage()));
                orders.push(Order { index, entry: entry.clone(), procedures, before });
            }
        }
    }
    let Some(made) = make(orders, bench, haste).await else { return Ok(None) };
    let mut made_of = Vec::new();
    for made in made {
        let (Order { index, entry, procedures, before }, lineage) = match made {
            Ok(made) => made,
            Err(late) => {
                mistakes.push(late);
                continue;
            }
        };
        match lineage {
            Ok(lineage) => {
                let counters = metrics.handler(&entry.name);
                kept.insert(index, Arc::new(Handler::new(entry, procedures, counters, lineage)));
                made_of.extend(before);
            }
            Err(refusal) => {
                mistakes.push(mistake(Some(entry.line), &entry.name, refusal));
            }
        }
    }
    let handlers: Vec<_> = (0..manifest.handlers.len()).filter_map(|index| kept.remove(&index)).collect();
    match routes(manifest, &handlers, &mut mistakes) {
        Some(routes) if mistakes.is_empty() => {
            Ok(Some(Built { table: Table { routes, handlers, loaded: Timestamp::now() }, made_of }))
        }
        _ => Err(Refused { path: manifest.path.clone(), mistakes }),
    }
}

/// An order that was carried out; or why it could not be.
type Made = Result<(Order, Result<Lineage, Refusal>), Mistake>;

/// Compiles what was ordered and then verifies it: at a start on all cores, later one after the other. Nothing while
/// one of them is still being compiled.
async fn make(orders: Vec<Order>, bench: &Workbench, haste: Haste) -> Option<Vec<Made>> {
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
    let verify = async |(order, candidate): (Order, Candidate)| {
        let (line, name) = (Some(order.entry.line), order.entry.name.clone());
        let made = bench.run(haste, move || order.carry_out(candidate)).await;
        made.map_err(|refusal| mistake(line, &name, refusal))
    };
    Some(stream::iter(compiled?).map(verify).buffered(at_once).collect().await)
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

fn routes(manifest: &Manifest, handlers: &[Arc<Handler>], mistakes: &mut Vec<Mistake>) -> Option<Routes<Arc<Handler>>> {
    // Ambiguity is looked for among all entries, also those whose component was refused.
    let all = manifest.handlers.iter().map(|entry| (entry.route.clone(), ()));
    if let Err(ambiguous) = Routes::new(all) {
        let (first, second) = (&manifest.handlers[ambiguous.first], &manifest.handlers[ambiguous.second]);
        let text = format!(
            "{}: the route `{}` is ambiguous: `{}` of line {} matches the same paths",
            second.name, second.route, first.route, first.line
        );
        mistakes.push(Mistake::new(Some(second.line), text));
        return None;
    }
    Routes::new(handlers.iter().map(|handler| (handler.entry.route.clone(), Arc::clone(handler)))).ok()
}

/// Every procedure any handler may call, once.
fn procedures(table: &Table) -> Vec<Arc<Procedure>> {
    let mut granted = HashMap::new();
    for procedure in table.handlers.iter().flat_map(|handler| &handler.procedures) {
        granted.entry((procedure.name.as_str(), procedure.batch())).or_insert_with(|| Arc::clone(procedure));
    }
    granted.into_values().collect()
}

fn changes(old: &Table, new: &Table) -> Vec<Change> {
    let by_name = |table: &Table| -> HashMap<String, Arc<Handler>> {
        table.handlers.iter().map(|handler| (handler.entry.name.clone(), Arc::clone(handler))).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    let changed = new.handlers.iter().filter_map(|handler| {
        let name = handler.entry.name.clone();
        match before.get(&name) {
            None => Some(Change::Added(name, handler.entry.route.to_string())),
            Some(old) if !Arc::ptr_eq(old, handler) => {
                let (was, is) = (old.lineage().current.number, handler.lineage().current.number);
                Some(Change::Changed(name, (was != is).then_some(is)))
            }
            Some(_) => None,
        }
    });
    let gone = old.handlers.iter().filter(|handler| !after.contains_key(&handler.entry.name));
    changed.chain(gone.map(|handler| Change::Removed(handler.entry.name.clone()))).collect()
}

impl Change {
    /// The handler.
    pub(super) fn name(&self) -> &str {
        let (Self::Added(name, _) | Self::Changed(name, _) | Self::Removed(name)) = self;
        name
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(name, route) => write!(f, "{name}: generation 1 live — added to the manifest, {route}"),
            Self::Changed(name, None) => write!(f, "{name}: serves under what the manifest and the database say now"),
            Self::Changed(name, Some(number)) => write!(f, "{name}: generation {number} live — with its new manifest"),
            Self::Removed(name) => write!(f, "{name}: removed from the manifest"),
        }
    }
}
