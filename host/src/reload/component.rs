//! The component of one handler: verifies the file in the folder and puts it live, or rejects it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compiling::Asker;
use super::verify::{self, Proved, Times};
use super::worker::{Priority, Without, Worker};
use crate::database::Database;
use crate::node::Node;
use crate::registry::{Handler, Refusal, Stage};

/// Brings a handler up to date with its file. A refusal is returned, for `refuse`.
pub(super) async fn follow(
    node: &Node,
    worker: &Worker,
    handler: &Arc<Handler>,
    built: Option<Duration>,
) -> Result<(), Without> {
    let name = &handler.entry.name;
    match candidate(&node.database, worker, handler).await {
        Ok(Some(Proved { component, times })) => {
            let begun = Instant::now();
            let generation = handler.swap(component);
            let swap = begun.elapsed();
            worker.settle(Asker::Component, name);
            handler.metrics.swaps.inc();
            let sha256 = generation.component.compiled.digest;
            tracing::info!(%sha256, "{name}: generation {} live — {}", generation.number, line(built, times, swap));
            Ok(())
        }
        Ok(None) => {
            // The rejected component is no longer in the folder, nor is one that was being compiled.
            handler.clear_refusal();
            worker.settle(Asker::Component, name);
            Ok(())
        }
        Err(Without::Compiling) => Err(Without::Compiling),
        Err(Without::Refused(refusal)) => {
            worker.settle(Asker::Component, name);
            Err(refusal.into())
        }
    }
}

/// Logs and notes a refusal of a handler, once.
pub(super) fn refuse(handler: &Handler, refusal: &Refusal) {
    if refusal.is_news_after(handler.refusal().as_deref()) {
        let name = &handler.entry.name;
        let number = handler.lineage().current.number;
        let sha256 = refusal.digest.map(|digest| digest.to_string()).unwrap_or_default();
        let Refusal { stage, message, .. } = refusal;
        tracing::error!(%stage, sha256, "{name}: candidate rejected; still serving generation {number}: {message}");
        handler.metrics.refusals.inc();
        handler.note_refusal(refusal.clone());
    }
}

/// The component that the folder holds for a handler, verified; `None` when it serves already or was rolled back.
async fn candidate(database: &Database, worker: &Worker, handler: &Arc<Handler>) -> Result<Option<Proved>, Without> {
    let source = worker.read(Priority::Background, &handler.entry).await?;
    let digest = source.digest;
    let lineage = handler.lineage();
    if lineage.rolled_back.as_ref().is_some_and(|back| back.digest == digest) {
        return Ok(None);
    }
    let current = Arc::clone(&lineage.current);
    drop(lineage);
    let asked = Arc::clone(handler);
    if current.component.compiled.digest == digest {
        // The examples may have changed: the component goes on serving, but a failure is reported.
        let examples = worker.examples(Priority::Background, &handler.entry).await;
        let run = move || {
            let Handler { entry, procedures, .. } = &*asked;
            verify::run_examples(&current.component, entry, procedures, &examples)
        };
        worker.run(Priority::Background, run).await?.map_err(|refusal| refusal.of(digest))?;
        return Ok(None);
    }
    for procedure in &handler.procedures {
        let refuse = |message: String| Refusal::new(Stage::Procedures, message).of(digest);
        let now = database
            .describe(&procedure.name, procedure.batch())
            .await
            .map_err(|unusable| refuse(unusable.to_string()))?;
        if now != **procedure {
            return Err(refuse(format!("the procedure `{}` is no longer what it was", procedure.name)).into());
        }
    }
    let form = worker.compile(Priority::Background, Asker::Component, &handler.entry, source).await?;
    let examples = worker.examples(Priority::Background, &handler.entry).await;
    let prove = move || verify::prove(form, &asked.entry, &asked.procedures, &examples);
    Ok(worker.run(Priority::Background, prove).await?.map(Some)?)
}

/// `build 1.2 s, compile 80 ms, verify 6 ms, swap 2 µs`
fn line(built: Option<Duration>, times: Times, swap: Duration) -> String {
    let build = built.map(|took| format!("build {:.1} s, ", took.as_secs_f64())).unwrap_or_default();
    let compile = if times.cached { "compiled form found in" } else { "compile" };
    let (compiled, verify) = (times.compile.as_secs_f64() * 1e3, times.verify.as_secs_f64() * 1e3);
    let swap = swap.as_secs_f64() * 1e6;
    format!("{build}{compile} {compiled:.0} ms, verify {verify:.1} ms, swap {swap:.0} µs")
}
