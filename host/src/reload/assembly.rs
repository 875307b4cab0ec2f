//! Makes the table of a manifest: new handlers are loaded, those whose entry changed are proved again under the new
//! entry, and unchanged ones are reused. All or nothing: one mistake, and there is no table. It puts nothing into
//! service.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::compiling::Asker;
use super::explaining;
use super::order::{Before, Candidate, Order, is_same_entry};
use super::resume::Made;
use super::worker::{Priority, Worker};
use crate::database::{Database, GrantedProcedure, Procedure, Unusable};
use crate::manifest::{Manifest, Mistake, Refused};
use crate::metrics::Metrics;
use crate::registry::{Handler, Lineage, Refusal, Registry, Table};
use crate::route::Routes;
use crate::state::{Pin, State};

/// What is known when a new table is made.
pub(super) struct Known<'a> {
    /// The one that serves.
    pub(super) table: &'a Table,
    /// The registry, which keeps handlers that have left the manifest; `None` at a start.
    pub(super) registry: Option<&'a Registry>,
    /// What an earlier run of the node recorded.
    pub(super) state: Option<&'a Arc<State>>,
}

impl Known<'_> {
    fn before(&self, name: &str) -> Before {
        let gone = || self.registry.and_then(|registry| registry.gone(name));
        if let Some(handler) = self.table.handler(name).cloned().or_else(gone) {
            let lineage = handler.lineage();
            return Before::Lineage(handler, lineage);
        }
        let past = self.state.and_then(|state| Some((Arc::clone(state), state.past(name)?)));
        past.map_or(Before::Nothing, |(state, past)| Before::State(state, Box::new(past)))
    }
}

/// Makes the table of a manifest. `None` while one of its components is still being compiled.
pub(super) async fn build(
    manifest: &Manifest,
    worker: &Worker,
    priority: Priority,
    known: &Known<'_>,
    database: &Database,
    metrics: &Metrics,
) -> Result<Option<NewTable>, Refused> {
    let mut mistakes = Vec::new();
    let described = describe(manifest, database, &mut mistakes).await;
    if let Err(text) = database.check_lanes(described.values().map(|procedure| &**procedure)) {
        mistakes.push(Mistake::new(None, text));
    }
    let shards = manifest.shards.as_ref();
    if let Err(text) = database.check_partitions(shards.map(|shards| shards.partitions)) {
        mistakes.push(Mistake::new(shards.map(|shards| shards.line), text));
    }
    explaining::check(manifest, database, &described, &mut mistakes).await;
    let (kept, orders) = sort(manifest, known, &described);
    // Components of an earlier manifest may still be compiling; end those that are not needed any more.
    for asker in [Asker::Manifest, Asker::Kept] {
        worker.retain(asker, |name| orders.iter().any(|order| order.entry.name == name));
    }
    let token = match &manifest.token {
        Some(entry) => worker.token(priority, entry).await.map_err(|mistake| mistakes.push(mistake)).ok().flatten(),
        None => None,
    };
    let Some(made) = make(orders, worker, priority).await else { return Ok(None) };
    let made = succeeded(made, &mut mistakes);
    ambiguity(manifest, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Refused { path: manifest.path.clone(), mistakes });
    }
    let mut new = assemble(manifest, kept, made, metrics)?;
    new.table.token = token.map(Arc::new);
    Ok(Some(new))
}

/// Handlers by their place in the manifest.
type ByPlace = HashMap<usize, Arc<Handler>>;

/// Separates the handlers that stay as they are from those that have to be made.
fn sort(
    manifest: &Manifest,
    known: &Known<'_>,
    described: &HashMap<GrantedProcedure, Arc<Procedure>>,
) -> (ByPlace, Vec<Order>) {
    let mut kept = ByPlace::new();
    let mut orders = Vec::new();
    for (index, entry) in manifest.handlers.iter().enumerate() {
        let described = entry.procedures.iter().filter_map(|granted| described.get(granted));
        let procedures: Vec<_> = described.map(|procedure| Arc::new(procedure.called_by(&entry.name))).collect();
        match known.table.handler(&entry.name) {
            Some(handler) if is_same_entry(&handler.entry, entry) && handler.procedures == procedures => {
                kept.insert(index, Arc::clone(handler));
            }
            // A handler whose procedures cannot be described is not tried without them.
            _ if procedures.len() < entry.procedures.len() => {}
            _ => {
                let (before, state) = (known.before(&entry.name), known.state.cloned());
                orders.push(Order { index, entry: entry.clone(), procedures, before, state, handed: None });
            }
        }
    }
    (kept, orders)
}

/// A handler that was made: the order, the lineage that is to serve, and why it differs from the folder, if it does.
type Success = (Order, Lineage, Option<Refusal>);

/// The handlers that could be made. The reasons for the others are added to the mistakes.
fn succeeded(made: Vec<CarriedOut>, mistakes: &mut Vec<Mistake>) -> Vec<Success> {
    let mut good = Vec::new();
    for made in made {
        match made {
            Ok((order, Ok((lineage, refusal)))) => good.push((order, lineage, refusal)),
            Ok((order, Err(refusal))) => mistakes.push(mistake(Some(order.entry.line), &order.entry.name, refusal)),
            Err(late) => mistakes.push(late),
        }
    }
    good
}

/// Combines the reused and the new handlers, in the order of the manifest.
fn assemble(
    manifest: &Manifest,
    mut kept: ByPlace,
    made: Vec<Success>,
    metrics: &Metrics,
) -> Result<NewTable, Refused> {
    let (mut made_of, mut pins) = (Vec::new(), Vec::new());
    for (order, lineage, refusal) in made {
        let Order { index, entry, procedures, before, handed, .. } = order;
        pins.extend(handed);
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
    let routes = handlers.iter().flat_map(|handler| {
        handler.entry.routes.iter().zip(0..).map(|(route, place)| (route.clone(), (Arc::clone(handler), place)))
    });
    let refused = |_| Refused { path: manifest.path.clone(), mistakes: Vec::new() };
    let routes = Routes::new(routes).map_err(refused)?;
    let cors = manifest.cors.clone().map(Arc::new);
    let messages = manifest.messages.clone();
    let table = Table { cors, messages, token: None, routes, handlers, loaded: Timestamp::now() };
    Ok(NewTable { table, made_of, pins })
}

/// Logs that a start uses another component than it should, because that was rejected or is missing.
fn resumed_without(handler: &Handler, refusal: Refusal) {
    let (name, number) = (&handler.entry.name, handler.lineage().current.number);
    let sha256 = refusal.digest.map(|digest| digest.to_string()).unwrap_or_default();
    let Refusal { stage, message, .. } = &refusal;
    tracing::error!(%stage, sha256, "{name}: candidate rejected; serving generation {number}: {message}");
    handler.metrics.refused(number, stage.as_str(), message);
    handler.note_refusal(refusal);
}

/// An order that was carried out; or why it could not be.
type CarriedOut = Result<(Order, Made), Mistake>;

/// Compiles what was ordered and then verifies it: at a start on all cores, later one after the other. `None` while one
/// of them is still being compiled.
async fn make(orders: Vec<Order>, worker: &Worker, priority: Priority) -> Option<Vec<CarriedOut>> {
    let at_once = match priority {
        // `available_parallelism` respects the CPU quota of a container.
        Priority::Start => std::thread::available_parallelism().map_or(1, usize::from),
        Priority::Background => 1,
    };
    let compile = async |mut order: Order| {
        let candidate = order.candidate(worker, priority).await;
        (order, candidate)
    };
    let mut compiled: Vec<_> = stream::iter(orders).map(compile).buffer_unordered(at_once).collect().await;
    // Mistakes are reported in the order of the manifest, not in the order in which compilers ended.
    compiled.sort_by_key(|(order, _)| order.index);
    let done = |(order, candidate): (Order, Result<Option<Candidate>, Refusal>)| Some((order, candidate.transpose()?));
    let compiled: Option<Vec<_>> = compiled.into_iter().map(done).collect();
    let compiled = compiled?;
    // Only after all of them have ended: otherwise one that was rejected would be compiled again.
    [Asker::Manifest, Asker::Kept].into_iter().for_each(|asker| worker.retain(asker, |_| false));
    let verify = async |(order, candidate): (Order, Result<Candidate, Refusal>)| {
        let (line, name) = (Some(order.entry.line), order.entry.name.clone());
        let candidate = candidate.map_err(|refusal| mistake(line, &name, refusal))?;
        let made = worker.run(priority, move || order.carry_out(candidate)).await;
        made.map_err(|refusal| mistake(line, &name, refusal))
    };
    Some(stream::iter(compiled).map(verify).buffered(at_once).collect().await)
}

/// A table, and the handlers that it replaces, each with the lineage that the replacement was made from.
pub(super) struct NewTable {
    pub(super) table: Table,
    pub(super) made_of: Vec<(Arc<Handler>, Arc<Lineage>)>,
    /// Held until the table serves: its components may be on their way into the state folder.
    pub(super) pins: Vec<Pin>,
}

fn mistake(line: Option<usize>, handler: &str, refusal: Refusal) -> Mistake {
    Mistake { outside: refusal.passing, ..Mistake::new(line, format!("{handler}: {}", refusal.message)) }
}

/// Looks up every granted procedure once.
async fn describe(
    manifest: &Manifest,
    database: &Database,
    mistakes: &mut Vec<Mistake>,
) -> HashMap<GrantedProcedure, Arc<Procedure>> {
    let mut described: HashMap<GrantedProcedure, Result<Arc<Procedure>, Unusable>> = HashMap::new();
    for entry in &manifest.handlers {
        for granted in &entry.procedures {
            if !described.contains_key(granted) {
                let procedure = database.describe(granted).await;
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

/// Reports two routes that match the same paths, also if the component of one of them was rejected.
fn ambiguity(manifest: &Manifest, mistakes: &mut Vec<Mistake>) {
    if let Some([(first, same), (second, route)]) = manifest.ambiguity() {
        let text = format!(
            "{}: the route `{route}` is ambiguous: `{same}` of line {} matches the same paths",
            second.name, first.line
        );
        mistakes.push(Mistake::new(Some(second.line), text));
    }
}
