//! The component of one handler: verifies the file in the folder and puts it live, or rejects it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compiling::Asker;
use super::gate;
use super::verify::{self, Proved, Times};
use super::worker::{Priority, Without, Worker};
use crate::database::Database;
use crate::gate::Verdict;
use crate::guest::Digest;
use crate::node::Node;
use crate::registry::{Config, Handler, Refusal, Signed, Stage};
use crate::state::State;

/// Brings a handler up to date with its file. A refusal is returned, for `refuse`.
pub(super) async fn follow(
    node: &Node,
    worker: &Worker,
    handler: &Arc<Handler>,
    built: Option<Duration>,
    state: Option<&State>,
) -> Result<(), Without> {
    let name = &handler.entry.name;
    match candidate(&node.database, worker, handler, built).await {
        Ok(Some(Candidate { proved: Proved { component, times }, bytes, signature, config, verdict })) => {
            let before = handler.lineage().current.component.compiled.digest;
            // The file may hold another component by the time that this one is put into the state folder.
            let sha256 = component.compiled.digest;
            let _pin = state.zip(bytes).map(|(state, bytes)| state.hand(&sha256.to_string(), &bytes));
            let begun = Instant::now();
            let generation = handler.swap(Signed { component, signature }, config);
            let swap = begun.elapsed();
            worker.settle(Asker::Component, name);
            let line = match before == sha256 {
                true => "with its new config".to_owned(),
                false => line(built, times, swap),
            };
            let shown = verdict.as_deref().map(|verdict| format!("; {}", gate::shown(verdict))).unwrap_or_default();
            tracing::info!(%sha256, "{name}: generation {} live — {line}{shown}", generation.number);
            handler.metrics.swapped(generation.number, &format!("{line}{shown}"));
            show(built, name, verdict.as_deref());
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
            let verdict = worker.gates.verdict(name).filter(|verdict| Some(verdict.digest) == refusal.digest);
            show(built, name, verdict.as_deref());
            Err(refusal.into())
        }
    }
}

/// Logs which of the last requests would be answered otherwise, where the candidate comes from a build: of `galo dev`.
fn show(built: Option<Duration>, name: &str, verdict: Option<&Verdict>) {
    if let Some(text) = built.and(verdict).and_then(gate::for_developer) {
        tracing::warn!("{name}: {text}");
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
        handler.metrics.refused(number, stage.as_str(), message);
        handler.note_refusal(refusal.clone());
    }
}

/// A component that was verified.
struct Candidate {
    proved: Proved,
    /// None if it serves already, with another config.
    bytes: Option<Arc<[u8]>>,
    signature: Option<Arc<String>>,
    /// The config that it is to serve with.
    config: Config,
    /// What the gate found, if it is a new one.
    verdict: Option<Arc<Verdict>>,
}

/// The component that the folder holds for a handler, verified; `None` when it serves already with the config that
/// holds now, or was rolled back with it.
async fn candidate(
    database: &Database,
    worker: &Worker,
    handler: &Arc<Handler>,
    built: Option<Duration>,
) -> Result<Option<Candidate>, Without> {
    let source = worker.read(Priority::Background, &handler.entry).await?;
    let config = worker.config(Priority::Background, &handler.entry).await?;
    let lineage = handler.lineage();
    // What was deployed over this component serves in its place.
    let digest = lineage.effective(source.digest);
    if lineage.is_barred(digest, &config) {
        return Ok(None);
    }
    let (current, serves) = (Arc::clone(&lineage.current), lineage.serves(digest, &config));
    drop(lineage);
    let is_of_folder = digest == source.digest;
    let signature = if is_of_folder { source.vouched().signature } else { current.signature() };
    let asked = Arc::clone(handler);
    if serves {
        if is_of_folder {
            // With another key, perhaps.
            current.signed_again(signature);
        }
        // The examples may have changed: the component goes on serving, but a failure is reported.
        let examples = worker.examples(Priority::Background, &handler.entry).await;
        let run = move || {
            let Handler { entry, procedures, .. } = &*asked;
            verify::run_examples(&current.component, entry, procedures, &examples)
        };
        worker.run(Priority::Background, run).await?.map_err(|refusal| refusal.of(digest))?;
        return Ok(None);
    }
    described(database, handler, digest).await?;
    let compiled = &current.component.compiled;
    let (form, bytes) = match compiled.digest == digest {
        // Only the config is another one.
        true => ((compiled.clone(), Duration::ZERO), None),
        false => {
            let bytes = Arc::clone(&source.bytes);
            let form = worker.compile(Priority::Background, Asker::Component, &handler.entry, source).await?;
            (form, Some(bytes))
        }
    };
    let examples = worker.examples(Priority::Background, &handler.entry).await;
    let passage = worker.passage(Priority::Background, &handler.entry, handler.ring.get().cloned()).await;
    let is_built = built.is_some();
    let prove = move || {
        let Handler { entry, procedures, .. } = &*asked;
        let compiled = form.0.clone();
        let proved = match verify::prove(form, entry, procedures, &examples) {
            Err(refusal) if refusal.stage == Stage::Examples => {
                // Whoever has just saved it sees what it changes all the same.
                if is_built && let Ok(component) = verify::fit(&compiled, entry) {
                    let _ = passage.judge(&component, Some(&current.component), entry, procedures, &examples);
                }
                return Err(refusal);
            }
            proved => proved?,
        };
        // A component that serves already, with another config, has nothing to be compared with.
        let is_new = digest != current.component.compiled.digest;
        let judged = is_new
            .then(|| passage.judge(&proved.component, Some(&current.component), entry, procedures, &examples))
            .transpose()?;
        Ok::<_, Refusal>((proved, judged))
    };
    let (proved, verdict) = worker.run(Priority::Background, prove).await??;
    Ok(Some(Candidate { proved, bytes, signature, config, verdict }))
}

/// Checks that the procedures of a handler are still what they were when it was loaded.
pub(super) async fn described(database: &Database, handler: &Handler, digest: Digest) -> Result<(), Refusal> {
    for procedure in &handler.procedures {
        let refuse = |message: String| Refusal::new(Stage::Procedures, message).of(digest);
        let now = database.describe(&procedure.granted()).await.map_err(|unusable| refuse(unusable.to_string()))?;
        if now.called_by(&handler.entry.name) != **procedure {
            return Err(refuse(format!("the procedure `{}` is no longer what it was", procedure.name)));
        }
    }
    Ok(())
}

/// `build 1.2 s, compile 80 ms, verify 6 ms, swap 2 µs`
fn line(built: Option<Duration>, times: Times, swap: Duration) -> String {
    let build = built.map(|took| format!("build {:.1} s, ", took.as_secs_f64())).unwrap_or_default();
    let compile = if times.cached { "compiled form found in" } else { "compile" };
    let (compiled, verify) = (times.compile.as_secs_f64() * 1e3, times.verify.as_secs_f64() * 1e3);
    let swap = swap.as_secs_f64() * 1e6;
    format!("{build}{compile} {compiled:.0} ms, verify {verify:.1} ms, swap {swap:.0} µs")
}
