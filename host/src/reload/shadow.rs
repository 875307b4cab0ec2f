//! Runs shadows: verifies the component that was sent to the node as it verifies any candidate, and then runs a sample
//! of the live requests on it too, on a thread of low priority, after they were answered. A shadow never serves, and
//! nothing that it plans is carried out: it has no database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::compiling::Asker;
use super::source::Source;
use super::verify::prove;
use super::worker::{Priority, Without, Worker};
use crate::gate::{Order, Phase, Run, Sides};
use crate::guest::Component;
use crate::limits;
use crate::node::Node;
use crate::record::{Ring, Waiting};
use crate::registry::{Event, Handler, Refusal, Stage, Subject, Who};
use crate::report::Reason;

/// Carries out the orders of shadows, one after the other. Runs until it is dropped.
pub async fn shadow(node: Arc<Node>, worker: Worker) {
    loop {
        let order = worker.gates.shadows.ordered().await;
        let (name, run) = (order.handler.clone(), Arc::clone(&order.run));
        let begun = match node.registry.table().handler(&name) {
            Some(handler) => begin(&node, handler, &worker, order).await,
            None => Err(Refusal::new(Stage::Manifest, "the handler has left the manifest")),
        };
        worker.settle(Asker::Shadow, &name);
        match begun {
            Ok(()) => {
                let (sha256, every, seconds) = (run.digest, run.every, run.span.as_secs());
                tracing::info!(%sha256, "{name}: shadow runs on 1 in {every} requests for {seconds} s");
                let what = format!("1 in {every} requests for {seconds} s");
                note(&node, (&name, &run), Event::Shadow, &run.asked, &what);
            }
            Err(refusal) => {
                let text = format!("{}: {}", refusal.stage, refusal.message);
                tracing::error!(sha256 = %run.digest, "{name}: shadow rejected: {text}");
                let (event, asked) = match run.stopped_by() {
                    Some(stopped) => (Event::ShadowEnded, stopped),
                    None => (Event::Refused, &run.asked),
                };
                note(&node, (&name, &run), event, asked, &format!("shadow: {text}"));
                run.enter(Phase::Refused(text));
            }
        }
    }
}

/// Notes what became of a shadow, for whoever asked for that.
fn note(node: &Node, (name, run): (&str, &Run), event: Event, asked: &Reason, what: &str) {
    let subject = Subject { handler: Some(name), digest: Some(run.digest) };
    node.operated(subject, event, &Who::person(&asked.who), &format!("{what}: {}", asked.why));
}

/// Notes that a shadow has ended: as it was asked, or because its time is up.
fn ended(node: &Node, (name, run): (&str, &Run), what: &str) {
    let subject = Subject { handler: Some(name), digest: Some(run.digest) };
    match run.stopped_by() {
        Some(stopped) => note(node, (name, run), Event::ShadowEnded, stopped, what),
        None => node.operated(subject, Event::ShadowEnded, &Who::node(), &format!("{what}: its time is up")),
    }
}

/// Verifies a component, and starts to run requests on it.
async fn begin(node: &Arc<Node>, handler: &Arc<Handler>, worker: &Worker, order: Order) -> Result<(), Refusal> {
    let Order { bytes, signature, run, .. } = order;
    let source = Source::signed(bytes, signature);
    worker.check(Asker::Shadow, &handler.entry, &source)?;
    let compiled = async {
        loop {
            match worker.compile(Priority::Background, Asker::Shadow, &handler.entry, source.clone()).await {
                Err(Without::Compiling) if !run.is_stopped() => tokio::time::sleep(limits::SHADOW_POLL).await,
                Err(Without::Compiling) => return Err(Refusal::new(Stage::Compile, "stopped")),
                Err(Without::Refused(refusal)) => return Err(refusal),
                Ok(form) => return Ok(form),
            }
        }
    };
    let form = compiled.await?;
    let examples = worker.examples(Priority::Background, &handler.entry).await;
    let asked = Arc::clone(handler);
    let verify = move || prove(form, &asked.entry, &asked.procedures, &examples);
    let component = worker.run(Priority::Background, verify).await??.component;
    let ring = handler.ring.get().ok_or_else(|| Refusal::new(Stage::Manifest, "the handler does not serve"))?;
    let failed = |error| Refusal::new(Stage::Fit, format!("there can be no thread for it: {error}"));
    start(node, (handler, ring), component, run).map_err(failed)
}

/// Starts the thread that runs the requests.
fn start(
    node: &Arc<Node>,
    (handler, ring): (&Arc<Handler>, &Arc<Ring>),
    component: Component,
    run: Arc<Run>,
) -> std::io::Result<()> {
    let (queue, records) = sync_channel(limits::SHADOW_QUEUE_MAX);
    let (procedures, deadline) = (handler.procedures.clone(), handler.entry.limits.deadline);
    let (until, runtime) = (Instant::now() + run.span, Handle::current());
    // It does not keep a node that ends.
    let (home, observed, name) = (Arc::downgrade(node), Arc::downgrade(ring), handler.entry.name.clone());
    let (every, dropped) = (run.every, Arc::clone(&run.dropped));
    run.enter(Phase::Running(until));
    let thread = std::thread::Builder::new().name("shadow".to_owned()).stack_size(limits::WORKER_STACK_BYTES);
    thread.spawn(move || {
        // On Linux this applies to the calling thread alone. If it fails, the shadow competes with requests.
        let _ = rustix::process::setpriority_process(None, limits::SHADOW_NICENESS);
        // wasmtime-wasi looks for the current runtime.
        let _inside = runtime.enter();
        let sides = Sides { candidate: &component, serving: None, procedures: &procedures, deadline };
        // Unwind safe: the counts are whole after each record.
        if catch_unwind(AssertUnwindSafe(|| follow(&records, &run, &sides, until))).is_err() {
            tracing::error!("{name}: shadow ends early");
        }
        if let Some(ring) = observed.upgrade() {
            ring.observer.end();
        }
        let tally = run.tally();
        let (compared, differ) = (tally.compared, tally.differ);
        tracing::info!(sha256 = %run.digest, "{name}: shadow has ended: {differ} of {compared} differ");
        if let Some(node) = home.upgrade() {
            ended(&node, (&name, &run), &format!("{differ} of {compared} differ"));
        }
        run.enter(Phase::Ended);
    })?;
    ring.observer.begin(every, queue, Arc::clone(&node.gates.shadows.backlog), dropped);
    Ok(())
}

/// Runs the requests until its time is up, it is stopped, or the node ends.
fn follow(records: &Receiver<Waiting>, run: &Run, sides: &Sides<'_>, until: Instant) {
    while !run.is_stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return;
        }
        match records.recv_timeout(left.min(limits::SHADOW_POLL)) {
            Ok(waiting) => run.take(sides, &waiting.record),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
