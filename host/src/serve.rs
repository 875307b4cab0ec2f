//! Assembles a node and runs it: database, handlers, pool, listener and, at the end, the drain.
//!
//! `serve`, `dev`, `check` and the tests all start here, so the tests run the same code as production.

mod begun;
mod ending;
mod trusted;
mod upkeep;

use std::sync::{Arc, OnceLock};

use anyhow::bail;
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use self::begun::Begun;
use self::ending::{Lingering, linger, recorded_within};
use self::trusted::trusted;
use self::upkeep::upkeep;
use crate::admin::{Admin, Components, Console, Gate};
use crate::admission::Admission;
use crate::config::{Address, CacheFolder, Settings};
use crate::database::{Database, Target};
use crate::drain::{Drain, Outcome};
use crate::guest::{Cache, Compiler, Engine};
use crate::limits::ClientTimeouts;
use crate::listen::{self, Doors, Listener, Reach, files};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::record::{Recorder, Tracing};
use crate::registry::{Registry, Table};
use crate::reload::{self, Orders, Worker};
use crate::request::{self, Sandbox};
pub use crate::signals::Signals;
use crate::state::State;
use crate::supervise::Supervisor;
use crate::traces::Exporter;
use crate::{limits, manifest, wire};

/// A node that serves.
pub struct Running {
    /// Where it listens, with the port the kernel chose.
    pub listen: Address,
    /// Its admin address, likewise.
    pub admin: Address,
    /// The node that serves.
    pub node: Arc<Node>,
    /// A handle to the task that keeps the handlers in step with their folder.
    pub orders: Arc<Orders>,
    /// The supervisor of its tasks.
    pub supervisor: Supervisor,
    drain: Drain,
    state: Option<Arc<State>>,
    tasks: Vec<JoinHandle<()>>,
    listener: JoinHandle<()>,
}

/// Starts a node. It is ready when this returns.
///
/// # Errors
/// Anything that keeps the node from being ready. It does not serve partially.
pub async fn start(settings: &Settings, target: &Target, engine: &Engine) -> anyhow::Result<Running> {
    files::provide(settings, 0)?;
    // On the heap: the future of a start is large as it is.
    let target = &*Box::new(target.of_node(&settings.node));
    let metrics = Arc::new(Metrics::new());
    let (drain, supervisor) = (Drain::default(), Supervisor::default());
    let admin_listener = Listener::bind(&settings.admin, Reach::Owner, limits::BACKLOG_DEFAULT)?;
    let admin_address = admin_listener.address().clone();
    let admin = Arc::new(Admin {
        gate: Gate {
            address: admin_address.clone(),
            token: settings.admin_token.clone(),
            readers: settings.readers,
            components: if settings.trust.is_some() { Components::Signed } else { Components::Any },
        },
        node: OnceLock::new(),
        metrics: Arc::clone(&metrics),
        drain: drain.clone(),
        supervisor: supervisor.clone(),
        console: Console::default(),
    });
    // The admin address is not part of the drain, because probes must still be answered while a node drains.
    let admin_task = supervisor.vital("admin listener", run_admin(admin_listener, Arc::clone(&admin)));
    let begun = Begun { supervisor: &supervisor, admin: Some(admin_task) };
    let Loaded { table, database, worker, state } = match load(settings, target, engine, &metrics).await {
        Ok(loaded) => loaded,
        Err(error) => {
            begun.ended().await;
            return Err(error);
        }
    };
    files::provide(settings, table.handlers.len())?;
    let node = assembled(settings, target, &metrics, (table, database), &worker)?;
    if let Some(state) = &state {
        node.registry.audit.resume(state.audited(limits::AUDIT_ENTRIES_MAX));
    }
    let listener = Listener::bind(&settings.listen, Reach::Group, settings.backlog)?;
    let listen = listener.address().clone();
    let doors = Doors {
        connections_max: settings.connections_max,
        connections: metrics.connections.clone(),
        made_room: metrics.made_room.clone(),
        timeouts: settings.client_timeouts,
        drain: drain.clone(),
    };
    // The socket is lost with this task, and only a new process can bind it again without a race.
    let listener = supervisor.vital("listener", {
        let (node, drain) = (Arc::clone(&node), drain.clone());
        listen::run(listener, doors, move |incoming, checked| {
            let lingers = drain.lingers();
            // An extra block would hold the future of a request twice and move both.
            request::serve::<Sandbox>(Arc::clone(&node), incoming, checked).map(move |mut outgoing| {
                if lingers {
                    wire::close(&mut outgoing);
                }
                outgoing
            })
        })
    });
    // The node becomes ready only here, because clients arrive as soon as a probe reports it.
    admin.console.listen.get_or_init(|| listen.clone());
    admin.node.get_or_init(|| Arc::clone(&node));
    let orders = Arc::new(Orders::default());
    let mut tasks = upkeep(&supervisor, &node, settings, worker, &orders, state.as_ref());
    tasks.push(supervisor.renewed("traffic", move || Arc::clone(&admin).sample()));
    tasks.extend(begun.finished());
    Ok(Running { listen, admin: admin_address, node, orders, supervisor, drain, state, tasks, listener })
}

/// The node, of what was loaded.
fn assembled(
    settings: &Settings,
    target: &Target,
    metrics: &Arc<Metrics>,
    (table, database): (Table, Arc<Database>),
    worker: &Worker,
) -> anyhow::Result<Arc<Node>> {
    let tracing = tracing_to(settings, target, metrics)?;
    let recorder = Recorder::start(settings.recording, metrics, tracing)?;
    Ok(Arc::new(Node {
        registry: Registry::new(table, Arc::clone(&recorder)),
        database,
        proxy: settings.proxy_in_front(),
        admission: Admission::new(settings.in_flight_max, Arc::clone(metrics)),
        metrics: Arc::clone(metrics),
        recorder,
        gates: Arc::clone(&worker.gates),
        access_log: settings.access_log,
        generation_header: settings.generation_header,
    }))
}

/// Where the traces of a node go, if they are exported.
fn tracing_to(settings: &Settings, target: &Target, metrics: &Metrics) -> anyhow::Result<Option<Tracing>> {
    let Some(traces) = &settings.traces else { return Ok(None) };
    let (endpoint, node) = (traces.endpoint.to_string(), &settings.node);
    let exporter = Exporter::start(traces, node, metrics.spans.clone())?;
    tracing::info!(endpoint, node, "traces are exported");
    Ok(Some(Tracing::new(exporter, target.peer())))
}

/// Everything a node serves with, verified.
pub struct Loaded {
    /// Its handlers.
    pub table: Table,
    /// Its database, with a warm pool.
    pub database: Arc<Database>,
    /// The loader of further components.
    pub worker: Worker,
    /// The state it keeps across restarts, if it has a state folder.
    pub state: Option<Arc<State>>,
}

/// Loads and verifies everything a node would serve with, and warms its pool.
///
/// # Errors
/// All mistakes of the manifest, the components and the procedures, or that the database is unavailable.
pub async fn load(settings: &Settings, target: &Target, engine: &Engine, metrics: &Metrics) -> anyhow::Result<Loaded> {
    let trust = trusted(settings)?;
    let manifest = manifest::read_trusted(&settings.handlers, trust.as_deref())?;
    let cache = match &settings.cache {
        CacheFolder::None => None,
        CacheFolder::Required(folder) => Some(Cache::open(folder)?),
        CacheFolder::Preferred(folder) => Cache::open(folder)
            .inspect_err(|error| tracing::warn!("components are compiled at every start: {error:#}"))
            .ok(),
    };
    let state = State::configured(&settings.state)?.map(Arc::new);
    let for_checks = settings.is_check.then(|| Database::for_checks(target, metrics));
    let database = for_checks.unwrap_or_else(|| Database::new(target, settings.pool_connections, metrics));
    let database = Arc::new(database.renewed_after(settings.connection_age_max));
    database.reach().await?;
    if let Some(shards) = &manifest.shards {
        database.lead_to_shards(shards.partitions, metrics).await?;
    }
    let compiler = Compiler::new(engine, &settings.galo, settings.compile, cache);
    let worker = Worker::new(compiler, settings.sources.clone(), trust)?;
    let table = reload::load(&manifest, &worker, &database, metrics, state.as_ref()).await?;
    Ok(Loaded { table, database, worker, state })
}

async fn run_admin(listener: Listener, admin: Arc<Admin>) {
    let doors = Doors {
        connections_max: limits::ADMIN_CONNECTIONS_MAX,
        connections: prometheus_client::metrics::gauge::Gauge::default(),
        made_room: prometheus_client::metrics::counter::Counter::default(),
        timeouts: ClientTimeouts::default(),
        drain: Drain::default(),
    };
    listen::run(listener, doors, move |incoming, checked| Arc::clone(&admin).answer(incoming, checked)).await;
}

impl Running {
    /// Ends the node: it accepts no new connections, answers requests in flight and waits for calls that were sent.
    pub async fn stop(self) -> Outcome {
        self.supervisor.expect_ends();
        self.drain.begin();
        // When the listener has ended, the socket is closed and its file is removed.
        let _ = self.listener.await;
        let outcome = self.drain.ended(limits::DRAIN_GRACE).await;
        // A call outlives the connection of its client, but not the node, so the node waits for it here.
        let calls = tokio::time::timeout(limits::CALL_TIMEOUT, self.node.database.drain()).await;
        if calls.is_err() {
            tracing::error!("calls without an outcome were left behind");
        }
        // The last spans; a collector that does not answer delays the end no longer than this.
        let _ = tokio::time::timeout(limits::TRACES_CLOSE_TIMEOUT, self.node.recorder.close()).await;
        self.tasks.iter().for_each(JoinHandle::abort);
        for task in self.tasks {
            let _ = task.await;
        }
        match self.state {
            Some(state) => {
                let node = Arc::clone(&self.node);
                let record = move || {
                    let recorded = reload::record(&node, &state);
                    state.close();
                    recorded
                };
                recorded_within(limits::STATE_CLOSE_TIMEOUT, record, outcome).await
            }
            None => outcome,
        }
    }
}

/// Serves until one of the signals arrives or a vital task has ended, then drains. `ready` is called once, when the
/// node serves. Returns how the drain ended.
///
/// # Errors
/// As [`start`], or that a vital task has ended.
pub async fn serve(
    settings: &Settings,
    target: &Target,
    engine: &Engine,
    signals: &mut Signals,
    ready: impl FnOnce(&Running),
) -> anyhow::Result<Outcome> {
    let running = tokio::select! {
        running = start(settings, target, engine) => running?,
        // Nothing is in flight before the node is ready.
        name = signals.next() => {
            tracing::info!(signal = name, "stopped while starting");
            return Ok(Outcome::Graceful);
        }
    };
    let handlers = running.node.registry.table().handlers.len();
    tracing::info!(listen = %running.listen, admin = %running.admin, database = %target, handlers, "ready");
    ready(&running);
    let supervisor = running.supervisor.clone();
    tokio::select! {
        name = signals.end(|| running.orders.scan_again()) => {
            let lingering = Lingering { drain: &running.drain, orders: &running.orders, supervisor: &supervisor };
            linger(&lingering, settings.linger, name, signals).await;
            tracing::info!(signal = name, "draining");
        }
        death = supervisor.died() => tracing::error!(task = death.task, "draining"),
    }
    let drain = running.drain.clone();
    let outcome = tokio::select! {
        outcome = running.stop() => {
            match outcome {
                Outcome::Graceful => tracing::info!("drained, everything in flight was answered"),
                Outcome::Cut { connections } => tracing::error!(connections, "drain cut off by the grace period"),
                Outcome::Unrecorded => tracing::error!("drained, but the state is not recorded"),
            }
            outcome
        }
        name = signals.next() => {
            let connections = drain.open();
            tracing::error!(signal = name, connections, "drain cut off by a second signal");
            Outcome::Cut { connections }
        }
    };
    match supervisor.death() {
        Some(death) => bail!("{death}"),
        None => Ok(outcome),
    }
}
