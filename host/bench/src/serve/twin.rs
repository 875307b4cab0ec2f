//! The native twin: the host as it is, with the handlers linked into it. What it lacks against Galo is what WASM costs.
//!
//! It loads what a node loads, listens, reads, admits, calls and counts with the host's own functions; only `prepare`
//! and `respond` are calls of two crates. `attempt` and `handled` follow those of the host's `request`; a change there
//! is to be followed here. There are no generations here, so nothing is rescued or compared, and linked code has no
//! slices.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt as _;
use galo::admission::Admission;
use galo::config::{AccessLog, Address, CacheFolder, Secret, Settings};
use galo::contract::{Call, Plan, Request, Response, Rows};
use galo::cors;
use galo::database::Target;
use galo::drain::Drain;
use galo::failure::{Failure, Fault, Phase, shown};
use galo::guest::Engine;
use galo::listen::{self, Doors, Listener, Reach};
use galo::metrics::{Laps, Metrics};
use galo::registry::{Handler, Lineage, Registry};
use galo::request::{Node, tries};
use galo::serve::{self, Loaded};
use galo::wire::{self, Body, Incoming, Outgoing, Taken};
use galo_kit::Handler as _;
use http::request::Parts;

use super::ServeArgs;
use super::twin_words::{plan, request, response, rows};

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
    let Loaded { table, database, bench: _bench, .. } = serve::load(&settings, &target, &engine, &metrics).await?;
    let admission = Admission::new(settings.in_flight_max, Arc::clone(&metrics));
    let (registry, access_log, proxy) = (Registry::new(table), AccessLog::Off, settings.proxy_in_front());
    let node = Arc::new(Node { registry, database, proxy, admission, metrics: Arc::clone(&metrics), access_log });
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
    listen::run(listener, doors, move |incoming, checked| answer(Arc::clone(&node), incoming, checked)).await;
    Ok(())
}

async fn answer(node: Arc<Node>, incoming: Incoming, checked: Result<(), Failure>) -> Outgoing {
    let (mut head, body) = incoming.into_parts();
    tries::forget(node.proxy, &mut head.headers);
    let answer = match checked {
        Ok(()) => AssertUnwindSafe(attempt(&node, &head, body)).catch_unwind().await,
        Err(failure) => Ok(Err(failure)),
    };
    let answer = answer.unwrap_or_else(|_| Err(Failure::Panic { message: "a handler panicked".to_owned() }));
    answer.unwrap_or_else(|failure| wire::failed(&failure, &node.registry.table().messages))
}

async fn attempt(node: &Node, head: &Parts, body: Body) -> Result<Outgoing, Failure> {
    let mut laps = Laps::begin();
    let (cors, found) = {
        let table = node.registry.table();
        let found = table.routes.find(&head.method, head.uri.path());
        (table.cors.clone(), found.map(|(handler, parameters)| (Arc::clone(handler), parameters)))
    };
    let (handler, parameters) = match found {
        Ok(found) => found,
        Err(failure) => {
            node.metrics.unrouted(failure.status());
            let mut outgoing = wire::failed(&failure, &node.registry.table().messages);
            if !wire::discard(head, body).await {
                wire::close(&mut outgoing);
            }
            return Ok(outgoing);
        }
    };
    let lineage = handler.lineage();
    let entry = &handler.entry;
    if cors::is_uninvited(head, cors.as_deref()) {
        return Err(Failure::Uninvited);
    }
    tries::check(entry, &head.headers)?;
    wire::check_content(&head.headers, &body, entry.content_type.as_ref())?;
    let (headers, body_bytes_max) = (&entry.headers, entry.limits.body_bytes_max);
    let taken = Taken { method: entry.route.method(), headers, body_bytes_max };
    let answer = match wire::read(head, body, parameters, taken).await {
        Ok(request) => {
            laps.end(&handler.metrics.read);
            handled(node, &handler, &lineage, request, &mut laps).await
        }
        Err(failure) => Err(failure),
    };
    if answer.is_err() {
        laps.skip();
    }
    if matches!(answer, Err(Failure::Shed)) {
        node.metrics.shed.inc();
    }
    handler.metrics.duration.took(laps.whole());
    handler.metrics.answered(answer.as_ref().map_or_else(Failure::status, Outgoing::status));
    answer
}

async fn handled(
    node: &Node,
    handler: &Handler,
    lineage: &Lineage,
    request: Request,
    laps: &mut Laps,
) -> Result<Outgoing, Failure> {
    let _permit = node.admission.admit()?;
    lineage.current.called();
    let decided = prepare(handler, request);
    laps.end(&handler.metrics.prepare);
    match decided {
        Plan::Reply(response) => Ok(wire::respond(response, Phase::Prepare)?),
        Plan::Call(Call { procedure, arguments, carry }) => {
            let granted = handler.procedure(&procedure).ok_or_else(|| {
                Fault::malformed(Phase::Prepare, format!("the procedure `{}` is not granted", shown(&procedure)))
            })?;
            granted.check(&arguments).map_err(|mismatch| Fault::malformed(Phase::Prepare, mismatch))?;
            let rows = node.database.call(granted, arguments).await?;
            laps.skip();
            let outgoing = wire::respond(respond(handler, &carry, rows)?, Phase::Respond)?;
            laps.end(&handler.metrics.respond);
            Ok(outgoing)
        }
    }
}

fn prepare(handler: &Handler, given: Request) -> Plan {
    let given = request(given);
    plan(match handler.entry.name.as_str() {
        "transacoes" => transacoes::Transacoes::prepare(&given),
        _ => extrato::Extrato::prepare(&given),
    })
}

fn respond(handler: &Handler, carry: &[u8], given: Rows) -> Result<Response, Fault> {
    let given = rows(given);
    let built = match handler.entry.name.as_str() {
        "transacoes" => transacoes::Transacoes::respond(carry, &given),
        _ => extrato::Extrato::respond(carry, &given),
    };
    built.map(response).map_err(|unexpected| Fault::malformed(Phase::Respond, unexpected.to_string()))
}
