//! Carries out what operators order: a component becomes a canary, or a kept generation serves again. The component is
//! verified as one of the handlers folder is, first its signature, and put into the state folder. It is a task beside
//! the reloader, so that neither waits for the other.

use std::sync::Arc;

use super::compiling::{Asker, Form};
use super::component::described;
use super::gate;
use super::source::Source;
use super::verify::{prove, refit_previous};
use super::worker::{Priority, Without, Worker};
use crate::gate::Intended;
use crate::guest::{Component, Digest};
use crate::limits;
use crate::manifest::{self, Entry};
use crate::node::Node;
use crate::registry::{
    Denied, Deployed, Differences, Event, Handler, Kept, Lineage, Order, Refusal, Restored, Share, Signed, Stage,
    Subject, What,
};
use crate::state::State;

const BACKGROUND: Priority = Priority::Background;

/// Carries orders out, one after the other. Runs until it is dropped.
pub async fn deploy(node: Arc<Node>, worker: Worker, state: Option<Arc<State>>) {
    while let Some(Order { handler, what, who, why, done }) = node.registry.deployments.next().await {
        let table = node.registry.table();
        let Some(found) = table.handler(&handler) else {
            let _ = done.send(Err(Denied::Absent(format!("no handler {handler}"))));
            continue;
        };
        let deployment = Deployment { node: &node, worker: &worker, state: state.as_ref(), handler: found };
        let carried_out = async {
            match what {
                What::Canary { component, signature, share, differences, deployment: id } => {
                    let component = Source::signed(component, signature);
                    deployment.canary(component, share, (differences, id), (&who, &why)).await
                }
                What::Restore { digest } => deployment.restore(&digest, (&who, &why)).await,
            }
        };
        let outcome = tokio::time::timeout(limits::DEPLOY_TIMEOUT, carried_out).await;
        worker.settle(Asker::Deployment, &handler);
        let late = || Err(Denied::Refused(format!("not verified within {} s", limits::DEPLOY_TIMEOUT.as_secs())));
        // Whoever asked may have gone.
        let _ = done.send(outcome.unwrap_or_else(|_| late()));
    }
}

struct Deployment<'a> {
    node: &'a Node,
    worker: &'a Worker,
    state: Option<&'a Arc<State>>,
    handler: &'a Arc<Handler>,
}

/// Who orders it, and why.
type By<'a> = (&'a crate::registry::Who, &'a str);

impl Deployment<'_> {
    async fn canary(
        &self,
        source: Source,
        share: Share,
        (differences, deployment): (Option<Differences>, Option<String>),
        by: By<'_>,
    ) -> Result<(), Denied> {
        let Self { handler, .. } = self;
        let (name, digest, lineage) = (&handler.entry.name, source.digest, handler.lineage());
        share.by.check(&handler.entry).map_err(Denied::Conflict)?;
        if let Some(canary) = &lineage.canary {
            let running = canary.generation.component.compiled.digest;
            let share = canary.share.percent;
            return Err(Denied::Conflict(format!(
                "{name} has a canary, {running}, at {share}: end it first (POST /handlers/{name}/rollback), or let it \
                 serve (POST /handlers/{name}/canary)"
            )));
        }
        if lineage.current.component.compiled.digest == digest {
            return self.signed_again(&lineage, &source, by).await;
        }
        let refused = |refusal: Refusal| self.refused(digest, &refusal, by);
        let (bytes, signature) = (Arc::clone(&source.bytes), source.vouched().signature);
        let (component, intended) = self.verified(source).await.map_err(refused)?;
        let component = Signed { component, signature: signature.clone() };
        let baseline = self.baseline(&lineage).await.map_err(refused)?;
        // Until the canary is among what the state records.
        let _pin = self.state.map(|state| state.pin(&digest.to_string()));
        self.keep(digest, bytes, signature).await.map_err(refused)?;
        let over = self.in_folder().await;
        let manifests = || Differences::of(handler.entry.gate, self.worker.gates.is_accepted(name, digest));
        let differences = differences.unwrap_or_else(manifests);
        let deployed = Deployed { component, baseline, over, share, differences, intended, deployment };
        let (who, why) = by;
        let generation = handler.begin_canary(&lineage, deployed, who, why).map_err(Denied::Conflict)?;
        handler.note_deployment(None);
        let what = match differences {
            Differences::Refuse => "rolled back for",
            Differences::Report => "not rolled back for",
        };
        tracing::info!(sha256 = %digest, "{name}: generation {} is a canary, {what} differences", generation.number);
        Ok(())
    }

    /// Takes a new signature of what serves over, for the grants of the manifest that waits in the handlers folder.
    async fn signed_again(&self, lineage: &Lineage, source: &Source, (who, why): By<'_>) -> Result<(), Denied> {
        let Self { handler, worker, node, .. } = self;
        let name = &handler.entry.name;
        let serves = || Denied::Conflict(format!("{name} serves this component already"));
        let refused = |refusal: Refusal| self.refused(source.digest, &refusal, (who, why));
        let (trust, signature) = worker.trust.clone().zip(source.vouched().signature).ok_or_else(serves)?;
        let folder = handler.entry.folder.clone();
        let read = move || manifest::read_trusted(&folder, Some(&trust));
        let read = worker.ask(BACKGROUND, Stage::Manifest, read).await.map_err(refused)?;
        let waiting = read.map_err(|wrong| refused(Refusal::new(Stage::Manifest, wrong.to_string())))?;
        let its = |entry: &&Entry| entry.name == *name && entry.statement("") != handler.entry.statement("");
        let entry = waiting.handlers.iter().find(its).ok_or_else(serves)?;
        worker.check(Asker::Deployment, entry, source).map_err(refused)?;
        lineage.current.will_be_signed(signature);
        node.operated(Subject { handler: Some(name), digest: Some(source.digest) }, Event::Signed, who, why);
        worker.gates.try_again();
        Ok(())
    }

    /// Proves a component as one of the handlers folder is proved. Also returns what its examples state about changes.
    async fn verified(&self, source: Source) -> Result<(Component, Intended), Refusal> {
        let Self { node, worker, handler, .. } = self;
        let digest = source.digest;
        worker.check(Asker::Deployment, &handler.entry, &source)?;
        described(&node.database, handler, digest).await?;
        let form = self.compiled(source).await?;
        let examples = worker.examples(BACKGROUND, &handler.entry).await;
        let passage = worker.passage(BACKGROUND, &handler.entry, handler.ring.get().cloned()).await;
        let (asked, serving) = (Arc::clone(handler), Arc::clone(&handler.lineage().current));
        let prove = move || {
            let Handler { entry, procedures, .. } = &*asked;
            let component = prove(form, entry, procedures, &examples)?.component;
            let verdict = passage.judge(&component, Some(&serving.component), entry, procedures, &examples)?;
            let intended = gate::intended(&component, &serving.component, entry, procedures, &examples);
            Ok::<_, Refusal>((component, verdict, intended))
        };
        let (component, verdict, intended) = worker.run(BACKGROUND, prove).await??;
        tracing::info!(sha256 = %digest, "{}: {}", handler.entry.name, gate::shown(&verdict));
        Ok((component, intended))
    }

    async fn compiled(&self, source: Source) -> Result<Form, Refusal> {
        loop {
            let again = source.clone();
            match self.worker.compile(BACKGROUND, Asker::Deployment, &self.handler.entry, again).await {
                Ok(form) => return Ok(form),
                Err(Without::Refused(refusal)) => return Err(refusal),
                Err(Without::Compiling) => tokio::time::sleep(limits::DEPLOY_COMPILING_PAUSE).await,
            }
        }
    }

    /// The component that serves, loaded once more, so that its code is as cold as that of the canary. Without a cache
    /// it is the same one.
    async fn baseline(&self, lineage: &Arc<Lineage>) -> Result<Component, Refusal> {
        let (worker, entry, lineage) = (self.worker.clone(), self.handler.entry.clone(), Arc::clone(lineage));
        let load = move || {
            let compiled = &lineage.current.component.compiled;
            let again = worker.find(compiled.digest).unwrap_or_else(|| compiled.clone());
            refit_previous(&again, &entry)
        };
        let fitted = self.worker.run(BACKGROUND, load).await??;
        fitted.ok_or_else(|| Refusal::new(Stage::Fit, "the generation that serves does not fit its entry"))
    }

    /// Puts a component into the state folder.
    async fn keep(&self, digest: Digest, bytes: Arc<[u8]>, signature: Option<Arc<String>>) -> Result<(), Refusal> {
        let Some(state) = self.state.cloned() else { return Ok(()) };
        let keep = move || {
            let signature = signature.as_ref().map(|signature| signature.as_str());
            state.keep(&digest.to_string(), &bytes, signature)
        };
        let kept = self.worker.ask(BACKGROUND, Stage::Read, keep).await?;
        kept.map_err(|error| Refusal::new(Stage::Read, format!("it cannot be put into the state folder: {error:#}")))
    }

    /// What the handlers folder holds now. Unsigned bytes are only named here, never run.
    async fn in_folder(&self) -> Option<Digest> {
        let entry = self.handler.entry.clone();
        let read = move || super::verify::read(&entry).map(|bytes| Digest::of(&bytes));
        self.worker.ask(BACKGROUND, Stage::Read, read).await.ok()?.ok()
    }

    async fn restore(&self, wanted: &str, (who, why): By<'_>) -> Result<(), Denied> {
        let Self { handler, worker, .. } = self;
        let (name, lineage) = (&handler.entry.name, handler.lineage());
        let none = "this node has no state folder, so it keeps only the generation before the current one";
        let state = self.state.ok_or_else(|| Denied::Absent(none.to_owned()))?;
        let past = state.past(name).unwrap_or_default();
        let mark = match past.kept(wanted).collect::<Vec<_>>()[..] {
            [mark] => mark.clone(),
            ref found => {
                let kept: Vec<_> = past
                    .history
                    .iter()
                    .map(|mark| format!("{} (generation {})", &mark.sha256[..12], mark.generation))
                    .collect();
                let what = if found.is_empty() { "no kept generation" } else { "more than one kept generation" };
                let kept =
                    if kept.is_empty() { "none is kept".to_owned() } else { format!("kept: {}", kept.join(", ")) };
                return Err(Denied::Absent(format!("{what} of {name} begins with {wanted}; {kept}")));
            }
        };
        if lineage.current.component.compiled.digest.to_string() == mark.sha256 {
            return Err(Denied::Conflict(format!("{name} serves {} already", &mark.sha256[..12])));
        }
        let lost = || Denied::Absent(format!("the component {} is missing in the state folder", mark.sha256));
        let digest = Digest::parse(&mark.sha256).ok_or_else(lost)?;
        // Until it is what the state records as serving: by then it may be too old to be kept for this.
        let _pin = state.pin(&mark.sha256);
        let refused = |refusal: Refusal| self.refused(digest, &refusal, (who, why));
        let source = worker.kept(BACKGROUND, &handler.entry, state, &mark.sha256).await.map_err(refused)?;
        let source = source.ok_or_else(lost)?;
        let signature = source.vouched().signature;
        let (compiled, _) = self.compiled(source).await.map_err(refused)?;
        let entry = handler.entry.clone();
        // Its examples are gone: those in the folder belong to a later component.
        let fit = move || refit_previous(&compiled, &entry);
        let fitted = worker.run(BACKGROUND, fit).await.and_then(|fitted| fitted).map_err(refused)?;
        let unfit = || Denied::Conflict(format!("{} does not fit the manifest any more", &mark.sha256[..12]));
        let component = Signed { component: fitted.ok_or_else(unfit)?, signature };
        let over = self.in_folder().await.filter(|found| *found != digest);
        let kept = Kept { number: mark.generation, component, over };
        let restored = Restored { kept, who: who.clone(), why: why.to_owned() };
        let serving = handler.restore(&lineage, restored).map_err(Denied::Conflict)?;
        let text = format!("generation {} serves again, as requested by {who}: {why}", serving.number);
        handler.metrics.rolled_back(serving.number, &text);
        tracing::warn!(sha256 = %digest, "{name}: rolled back to generation {}, as requested", serving.number);
        Ok(())
    }

    fn refused(&self, digest: Digest, refusal: &Refusal, (who, why): By<'_>) -> Denied {
        let (name, Refusal { stage, message, .. }) = (&self.handler.entry.name, refusal);
        tracing::error!(%stage, sha256 = %digest, "{name}: deployment refused: {message}");
        let serving = self.handler.lineage().current.number;
        self.handler.metrics.refused(serving, stage.as_str(), &format!("{message}; deployed by {who}: {why}"));
        self.handler.note_deployment(Some(refusal.clone().of(digest)));
        let subject = Subject { handler: Some(name), digest: Some(digest) };
        let why = format!("{why}: {stage}: {message}");
        self.node.registry.audit.operated(subject, Event::Refused, who, &why);
        Denied::Refused(format!("{stage}: {message}"))
    }
}
