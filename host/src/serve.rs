//! Assembles a node and runs it: database, handlers, pool, listener, and in the end the drain.
//!
//! `serve`, `dev`, `check` and the tests all start here, so what is tested is what runs.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::admin::{Admin, Gate};
use crate::admission::Admission;
use crate::config::{Address, CacheFolder, Settings};
use crate::database::{Database, Target};
use crate::drain::{Drain, Outcome};
use crate::guest::{Cache, Compiler, Engine};
use crate::listen::{self, Doors, Listener, Reach, files};
use crate::metrics::Metrics;
use crate::registry::{Registry, Table};
use crate::reload::{self, Orders, Reloader, Workbench};
use crate::request::{self, Node};
use crate::{limits, manifest};

/// A node that serves.
pub struct Running {
    /// Where it listens, with the port the kernel chose.
    pub listen: Address,
    /// Its admin address, likewise.
    pub admin: Address,
    /// What it serves with.
    pub node: Arc<Node>,
    /// To ask something of what keeps its handlers true to their folder.
    pub orders: Arc<Orders>,
    drain: Drain,
    tasks: Vec<JoinHandle<()>>,
    listener: JoinHandle<()>,
}

/// Starts a node; it is ready when this returns.
///
/// # Errors
/// Whatever keeps it from being ready: it does not serve half.
pub async fn start(settings: &Settings, target: &Target, engine: &Engine) -> anyhow::Result<Running> {
    files::provide(settings, 0)?;
    let metrics = Arc::new(Metrics::new());
    let drain = Drain::default();
    let admin_listener = Listener::bind(&settings.admin, Reach::Owner)?;
    let admin_address = admin_listener.address().clone();
    let gate = Gate { address: admin_address.clone(), token: settings.admin_token.clone() };
    let admin = Arc::new(Admin { gate, node: OnceLock::new(), metrics: Arc::clone(&metrics), drain: drain.clone() });
    // Not part of the drain: while a node drains, its probes must still learn so.
    let admin_task = tokio::spawn(run_admin(admin_listener, Arc::clone(&admin)));

    let loaded = load(settings, target, engine, &metrics).await.inspect_err(|_| admin_task.abort())?;
    let Loaded { table, database, bench } = loaded;
    files::provide(settings, table.handlers.len()).inspect_err(|_| admin_task.abort())?;
    let admission = Admission::new(settings.in_flight_max, Arc::clone(&metrics));
    let node = Arc::new(Node { registry: Registry::new(table), database, admission, metrics: Arc::clone(&metrics) });
    let pool_task = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.database.look_after().await }
    });
    let listener = Listener::bind(&settings.listen, Reach::Group).inspect_err(|_| admin_task.abort())?;
    let listen = listener.address().clone();
    let doors = Doors {
        connections_max: settings.connections_max,
        connections: metrics.connections.clone(),
        made_room: metrics.made_room.clone(),
        drain: drain.clone(),
    };
    let listener = tokio::spawn(listen::run(listener, doors, {
        let node = Arc::clone(&node);
        move |incoming| request::serve(Arc::clone(&node), incoming)
    }));
    // Only now: a probe that says ready is believed at once.
    admin.node.get_or_init(|| Arc::clone(&node));
    let reloader = Reloader::new(Arc::clone(&node), settings.handlers.clone(), bench);
    let orders = reloader.orders();
    let tasks = vec![admin_task, pool_task, tokio::spawn(reloader.run())];
    Ok(Running { listen, admin: admin_address, node, orders, drain, tasks, listener })
}

/// Everything a node serves with, verified.
pub struct Loaded {
    /// Its handlers.
    pub table: Table,
    /// Its database, the pool warm.
    pub database: Arc<Database>,
    /// What it loads more with.
    pub bench: Workbench,
}

/// Loads and verifies everything a node would serve with, and warms its pool.
///
/// # Errors
/// Everything that is wrong with manifest, components or procedures; that the database is not there.
pub async fn load(settings: &Settings, target: &Target, engine: &Engine, metrics: &Metrics) -> anyhow::Result<Loaded> {
    let manifest = manifest::read(&settings.handlers)?;
    let cache = match &settings.cache {
        CacheFolder::None => None,
        CacheFolder::Required(folder) => Some(Cache::open(folder)?),
        CacheFolder::Preferred(folder) => Cache::open(folder)
            .inspect_err(|error| tracing::warn!("components are compiled at every start: {error:#}"))
            .ok(),
    };
    let database = Database::new(target, settings.pool_connections, metrics);
    let database = Arc::new(database.renewed_after(settings.connection_age_max));
    database.reach().await?;
    let bench = Workbench::new(Compiler::new(engine, &settings.galo, settings.compile, cache))?;
    let table = reload::load(&manifest, &bench, &database, metrics).await?;
    Ok(Loaded { table, database, bench })
}

async fn run_admin(listener: Listener, admin: Arc<Admin>) {
    let doors = Doors {
        connections_max: limits::ADMIN_CONNECTIONS_MAX,
        connections: prometheus_client::metrics::gauge::Gauge::default(),
        made_room: prometheus_client::metrics::counter::Counter::default(),
        drain: Drain::default(),
    };
    listen::run(listener, doors, move |incoming| {
        let answer = admin.answer(&incoming);
        async move { answer }
    })
    .await;
}

impl Running {
    /// Ends the node: no new connection, what is in flight is answered, calls that were sent are awaited.
    pub async fn stop(self) -> Outcome {
        self.drain.begin();
        // The socket is closed when the listener has ended, and its file is gone.
        let _ = self.listener.await;
        let outcome = self.drain.ended(limits::DRAIN_GRACE).await;
        // A call outlives the connection of its client, but not this.
        let calls = tokio::time::timeout(limits::CALL_TIMEOUT, self.node.database.drain()).await;
        if calls.is_err() {
            tracing::error!("calls without an outcome were left behind");
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        for task in self.tasks {
            let _ = task.await;
        }
        outcome
    }
}

/// Serves until one of the signals, then drains. `ready` is called once, when it serves. Returns whether the drain was
/// graceful.
///
/// # Errors
/// As [`start`].
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
    let name = signals.next().await;
    tracing::info!(signal = name, "draining");
    let drain = running.drain.clone();
    tokio::select! {
        outcome = running.stop() => {
            match outcome {
                Outcome::Graceful => tracing::info!("drained, everything in flight was answered"),
                Outcome::Cut { connections } => tracing::error!(connections, "drain cut off by the grace period"),
            }
            Ok(outcome)
        }
        name = signals.next() => {
            let connections = drain.open();
            tracing::error!(signal = name, connections, "drain cut off by a second signal");
            Ok(Outcome::Cut { connections })
        }
    }
}

/// The signals that end a node.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from their defaults.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
