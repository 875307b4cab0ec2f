//! The handlers of a node: each loaded from the manifest, verified, and reachable by its route. A snapshot: nothing in
//! it changes while requests use it.
//!
//! Built by `serve`, used by `request`, shown by `admin`.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;

use crate::database::{Database, Procedure, Unusable};
use crate::guest::{self, Cache, Component, Engine, Grants};
use crate::limits::HandlerLimits;
use crate::manifest::{Entry, Manifest, Mistake, Refused};
use crate::metrics::{HandlerMetrics, Metrics};
use crate::route::{Route, Routes};

/// All handlers of a node.
pub struct Registry {
    /// What answers a request.
    pub routes: Routes<Arc<Handler>>,
    /// In the order of the manifest.
    pub handlers: Vec<Arc<Handler>>,
}

/// A named unit of guest code with its route.
pub struct Handler {
    /// Its name in the manifest.
    pub name: String,
    /// Where it answers.
    pub route: Route,
    /// The request headers it may see.
    pub headers: Vec<HeaderName>,
    /// What one call of it may cost.
    pub limits: HandlerLimits,
    /// The procedures it may call.
    pub procedures: Vec<Arc<Procedure>>,
    /// Its counters.
    pub metrics: HandlerMetrics,
    generation: Arc<Generation>,
}

/// One verified component of a handler.
pub struct Generation {
    /// From 1, counted per handler and node.
    pub number: u64,
    /// The component.
    pub component: Component,
}

impl Handler {
    /// The generation that serves. Take it once per request: both functions must run in the same one.
    pub fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.generation)
    }

    /// The procedure of this name, if it was granted. Grants are few: a scan beats a map.
    pub fn procedure(&self, name: &str) -> Option<&Arc<Procedure>> {
        self.procedures.iter().find(|procedure| procedure.name == name)
    }
}

impl Registry {
    /// Every procedure any handler may call, once.
    pub fn procedures(&self) -> Vec<Arc<Procedure>> {
        let mut by_name = HashMap::new();
        for procedure in self.handlers.iter().flat_map(|handler| &handler.procedures) {
            by_name.entry(procedure.name.as_str()).or_insert_with(|| Arc::clone(procedure));
        }
        by_name.into_values().collect()
    }
}

/// Loads everything a manifest names: looks its procedures up, verifies its components, builds the routes. Compiles:
/// not for a serving thread.
///
/// # Errors
/// Everything that is wrong, each with its line in the manifest.
pub async fn load(
    manifest: &Manifest,
    engine: &Engine,
    cache: Option<&Cache>,
    database: &Database,
    metrics: &Metrics,
) -> Result<Registry, Refused> {
    let mut mistakes = Vec::new();
    let procedures = describe(manifest, database, &mut mistakes).await;
    let mut handlers = Vec::new();
    for entry in &manifest.handlers {
        let component = tokio::task::block_in_place(|| component(entry, engine, cache));
        match component {
            Ok(component) => handlers.push(Arc::new(Handler {
                name: entry.name.clone(),
                route: entry.route.clone(),
                headers: entry.headers.clone(),
                limits: entry.limits,
                procedures: entry.procedures.iter().filter_map(|name| procedures.get(name).cloned()).collect(),
                metrics: metrics.handler(&entry.name),
                generation: Arc::new(Generation { number: 1, component }),
            })),
            Err(error) => mistakes.push(Mistake { line: Some(entry.line), text: format!("{}: {error:#}", entry.name) }),
        }
    }
    let routes = routes(manifest, &handlers, &mut mistakes);
    match routes {
        Some(routes) if mistakes.is_empty() => Ok(Registry { routes, handlers }),
        _ => Err(Refused { path: manifest.path.clone(), mistakes }),
    }
}

fn component(entry: &Entry, engine: &Engine, cache: Option<&Cache>) -> anyhow::Result<Component> {
    let path = &entry.component;
    let shown = path.display();
    // Before it is read: a component that is too large must not be in memory first.
    let size = std::fs::metadata(path).map_err(|error| anyhow::anyhow!("{shown}: {error}"))?.len();
    anyhow::ensure!(size <= crate::limits::COMPONENT_BYTES_MAX, "{shown}: {size} bytes are over the limit");
    let bytes = std::fs::read(path).map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
    let grants = Grants { wasi: entry.wasi };
    guest::component::verify(engine, &bytes, grants, entry.limits, cache)
        .map_err(|refusal| anyhow::anyhow!("{shown}: {refusal}"))
}

/// Looks every granted procedure up, once.
async fn describe(
    manifest: &Manifest,
    database: &Database,
    mistakes: &mut Vec<Mistake>,
) -> HashMap<String, Arc<Procedure>> {
    let mut described: HashMap<String, Result<Arc<Procedure>, Unusable>> = HashMap::new();
    for entry in &manifest.handlers {
        for name in &entry.procedures {
            if !described.contains_key(name) {
                described.insert(name.clone(), database.describe(name).await.map(Arc::new));
            }
            if let Some(Err(unusable)) = described.get(name) {
                mistakes.push(Mistake { line: Some(entry.line), text: format!("{}: {unusable}", entry.name) });
            }
        }
    }
    described.into_iter().filter_map(|(name, procedure)| Some((name, procedure.ok()?))).collect()
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
        mistakes.push(Mistake { line: Some(second.line), text });
        return None;
    }
    Routes::new(handlers.iter().map(|handler| (handler.route.clone(), Arc::clone(handler)))).ok()
}
