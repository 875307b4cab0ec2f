//! From a manifest to the table that serves it: what is new is loaded, what changed is proved again under its new
//! terms, what is the same is the same handler. All or nothing: one mistake, and there is no table.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rayon::prelude::*;

use super::change::{Change, added, changes};
use super::order::{Before, Made, Order};
use super::same_terms;
use super::verify::{Haste, Workbench};
use crate::database::{Database, Procedure, Unusable};
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
    let known = Known { table: &Table::empty(), registry: None, state };
    let table = build(manifest, bench, Haste::Start, &known, database, metrics).await?.table;
    database.start(procedures(&table)).await?;
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
) -> Result<Vec<Change>, Refusal> {
    let old = node.registry.table();
    let known = Known { table: &old, registry: Some(&node.registry), state };
    let built = build(manifest, bench, Haste::Aside, &known, &node.database, &node.metrics).await.map_err(refusal)?;
    let Built { table, made_of } = built;
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
        added(&changes).for_each(|name| node.metrics.forget(name));
        return Err(Refusal::new(Stage::Manifest, "a generation was taken back meanwhile").passing());
    }
    node.registry.replace(table);
    for change in &changes {
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
) -> Result<Built, Refused> {
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
    let mut good = Vec::new();
    for (order, made) in carried_out(orders, bench, haste, &mut mistakes).await {
        match made {
            Ok((lineage, refusal)) => good.push((order, lineage, refusal)),
            Err(refusal) => mistakes.push(mistake(Some(order.entry.line), &order.entry.name, refusal)),
        }
    }
    ambiguity(manifest, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Refused { path: manifest.path.clone(), mistakes });
    }
    // Only now: what is refused has no counters.
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
    Ok(Built { table: Table { routes, handlers, loaded: Timestamp::now() }, made_of })
}

/// Carries out all orders: at a start side by side, beside requests one after the other.
async fn carried_out(
    orders: Vec<Order>,
    bench: &Workbench,
    haste: Haste,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(Order, Made)> {
    if haste == Haste::Start {
        let all = move |bench: &Workbench| orders.into_par_iter().map(|order| order.carry_out(bench)).collect();
        return bench.run(haste, all).await.unwrap_or_else(|refusal| {
            mistakes.push(Mistake::new(None, refusal.message));
            Vec::new()
        });
    }
    let mut made = Vec::with_capacity(orders.len());
    // Each with the time that one may take.
    for order in orders {
        let (line, name) = (Some(order.entry.line), order.entry.name.clone());
        match bench.run(haste, move |bench| order.carry_out(bench)).await {
            Ok(one) => made.push(one),
            Err(refusal) => mistakes.push(mistake(line, &name, refusal)),
        }
    }
    made
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
                let procedure = database.describe(&granted.name, granted.batch.as_deref()).await;
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
        granted.entry((procedure.name.as_str(), procedure.batch_form())).or_insert_with(|| Arc::clone(procedure));
    }
    granted.into_values().collect()
}
