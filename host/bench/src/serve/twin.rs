//! The native twin: the host as it is, with the handlers linked into it. What it lacks against Galo is what WASM costs.
//!
//! It loads what a node loads and answers requests on the host's own path. Only the two functions of a handler differ:
//! they are linked (`linked`).

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use galo::admission::Admission;
use galo::config::{AccessLog, Address, CacheFolder, Secret, Settings};
use galo::database::Target;
use galo::drain::Drain;
use galo::guest::Engine;
use galo::listen::{self, Doors, Listener, Reach};
use galo::metrics::Metrics;
use galo::node::Node;
use galo::record::Recorder;
use galo::registry::Registry;
use galo::request;
use galo::serve::{self, Loaded};

use super::ServeArgs;
use super::linked::Linked;

/// Serves until it is dropped; the pool is full before it listens.
pub async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let target = Target::parse(&Secret::new(&args.database_url)).map_err(|error| anyhow!(error))?;
    let nowhere = Address::Unix(PathBuf::new());
    let listen = Address::Unix(args.listen.clone());
    let cache = CacheFolder::Required(args.cache.clone().context("--cache is missing")?);
    let handlers = args.handlers.clone().context("--handlers is missing")?;
    // What is not in the cache is compiled by galo, not by this program.
    let galo = args.galo.clone().context("--galo is missing")?;
    let settings = Settings { cache, galo, ..Settings::new(handlers, listen, nowhere) };
    let (metrics, engine) = (Arc::new(Metrics::new()), Engine::start()?);
    let Loaded { table, database, worker: _bench, .. } = serve::load(&settings, &target, &engine, &metrics).await?;
    Linked::of(&table);
    let admission = Admission::new(settings.in_flight_max, Arc::clone(&metrics));
    let recorder = Recorder::start(settings.recording, &metrics, None)?;
    let (registry, access_log, proxy) =
        (Registry::new(table, Arc::clone(&recorder)), AccessLog::Off, settings.proxy_in_front());
    let node = Arc::new(Node {
        registry,
        database,
        proxy,
        admission,
        metrics: Arc::clone(&metrics),
        recorder,
        gates: Arc::default(),
        access_log,
    });
    let doors = Doors {
        connections_max: settings.connections_max,
        connections: metrics.connections.clone(),
        made_room: metrics.made_room.clone(),
        timeouts: settings.client_timeouts,
        drain: Drain::default(),
    };
    let listener = Listener::bind(&settings.listen, Reach::Group, settings.backlog)?;
    let caretaker = Arc::clone(&node);
    tokio::spawn(async move { caretaker.database.look_after().await });
    listen::run(listener, doors, move |incoming, checked| {
        request::serve::<Linked>(Arc::clone(&node), incoming, checked)
    })
    .await;
    Ok(())
}
