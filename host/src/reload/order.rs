//! One handler of a new table: loaded, resumed from the node's state, or proved again under its new entry. `assembly`
//! has its component compiled first, and then runs this on the worker.

use std::sync::Arc;
use std::time::Duration;

use super::compiling::{Asker, Form};
use super::gate::{self, Passage};
use super::verify::{Examples, prove, refit, refit_previous};
use super::worker::{Priority, Source, Without, Worker};
use crate::database::Procedure;
use crate::gate::Tally;
use crate::guest::{Compiled, Component, Digest};
use crate::manifest::Entry;
use crate::record::Ring;
use crate::registry::{Config, Handler, Lineage, Refusal, RolledBack, Stage};
use crate::state::{Barred, Mark, Record, State};

/// A handler to be made.
pub(super) struct Order {
    pub(super) index: usize,
    pub(super) entry: Entry,
    pub(super) procedures: Vec<Arc<Procedure>>,
    pub(super) before: Before,
}

/// The past of a handler that is to be made.
pub(super) enum Before {
    Nothing,
    /// It serves, or did so a short while ago.
    Lineage(Arc<Handler>, Arc<Lineage>),
    /// An earlier run of the node recorded it.
    State(Arc<State>, Record),
}

/// The components that an order can be made from.
pub(super) struct Candidate {
    /// The component in its file, if that is a new one.
    newcomer: Result<Option<Form>, Refusal>,
    /// The last proved component of the state, with its number.
    kept: Option<(u64, Component)>,
    /// The config that it is to serve with.
    config: Config,
    examples: Examples,
    passage: Passage,
}

/// The result of an order: the lineage that is to serve, and why it differs from the folder, if it does.
pub(super) type Made = Result<(Lineage, Option<Refusal>), Refusal>;

impl Order {
    /// The components to make it from, compiled; `None` while that is under way.
    ///
    /// # Errors
    /// That a value of its config cannot be read: nothing can be proved without it.
    pub(super) async fn candidate(&self, worker: &Worker, priority: Priority) -> Result<Option<Candidate>, Refusal> {
        let config = worker.config(priority, &self.entry).await?;
        let kept = match &self.before {
            Before::State(state, past) => self.kept(worker, priority, state, past).await,
            Before::Nothing | Before::Lineage(..) => Ok(None),
        };
        let examples = worker.examples(priority, &self.entry).await;
        let passage = worker.passage(priority, &self.entry, self.ring()).await;
        if let Before::State(_, past) = &self.before {
            worker.gates.recall(&self.entry.name, &past.accepted);
        }
        let (newcomer, kept) = match kept {
            Ok(kept) => match self.newcomer(worker, priority, &config, kept.is_some()).await {
                Some(newcomer) => (newcomer, kept),
                None => return Ok(None),
            },
            Err(Without::Refused(refusal)) => (Err(refusal), None),
            Err(Without::Compiling) => return Ok(None),
        };
        Ok(Some(Candidate { newcomer, kept, config, examples, passage }))
    }

    /// The component in its file, compiled; `None` while that is under way.
    async fn newcomer(
        &self,
        worker: &Worker,
        priority: Priority,
        config: &Config,
        has_kept: bool,
    ) -> Option<Result<Option<Form>, Refusal>> {
        let source = match worker.read(priority, &self.entry).await {
            Ok(source) if self.is_known(source.digest, config, has_kept) => return Some(Ok(None)),
            Ok(source) => source,
            Err(refusal) => return Some(Err(refusal)),
        };
        if let Some(compiled) = self.compiled(source.digest) {
            return Some(Ok(Some((compiled, Duration::ZERO))));
        }
        match worker.compile(priority, Asker::Manifest, &self.entry, source).await {
            Ok(form) => Some(Ok(Some(form))),
            Err(Without::Refused(refusal)) => Some(Err(refusal)),
            Err(Without::Compiling) => None,
        }
    }

    /// The compiled form of a component that serves already, with another config.
    fn compiled(&self, digest: Digest) -> Option<Compiled> {
        let Before::Lineage(_, lineage) = &self.before else { return None };
        let compiled = &lineage.current.component.compiled;
        (compiled.digest == digest).then(|| compiled.clone())
    }

    /// Whether a component serves already with this config, or was rolled back with it.
    fn is_known(&self, digest: Digest, config: &Config, has_kept: bool) -> bool {
        match &self.before {
            Before::Nothing => false,
            Before::Lineage(_, lineage) => lineage.serves(digest, config) || lineage.is_barred(digest, config),
            Before::State(_, past) => {
                let barred = past.barred.as_ref().is_some_and(|barred| barred.sha256 == digest.to_string());
                if barred && !has_kept {
                    let name = &self.entry.name;
                    tracing::error!(
                        "{name}: serving the generation that was rolled back: the one proved before it is missing in the state folder"
                    );
                }
                barred && has_kept
            }
        }
    }

    /// The last proved component, fitted to the current entry, without running the examples, which belong to a later
    /// component. `None` when it is lost. A refusal that may pass is returned: nothing else serves in its place.
    async fn kept(
        &self,
        worker: &Worker,
        priority: Priority,
        state: &Arc<State>,
        past: &Record,
    ) -> Result<Option<(u64, Component)>, Without> {
        let Some(Mark { sha256, generation }) = past.proved.clone() else { return Ok(None) };
        let state = Arc::clone(state);
        let read = move || state.component(&sha256, |bytes| Digest::of(bytes).to_string());
        let bytes = worker.ask(priority, Stage::Read, read).await?.map_err(|error| {
            Refusal::new(Stage::Read, format!("the proved component of the state cannot be read: {error}")).passing()
        })?;
        let Some(bytes) = bytes else { return Ok(None) };
        let compiled = match worker.compile(priority, Asker::Kept, &self.entry, Source::of(bytes)).await {
            Ok((compiled, _)) => compiled,
            Err(Without::Refused(refusal)) if !refusal.passing => return Ok(None),
            Err(without) => return Err(without),
        };
        let entry = self.entry.clone();
        let component = worker.run(priority, move || refit_previous(&compiled, &entry)).await??;
        Ok(component.map(|component| (generation, component)))
    }

    /// The records of the last requests, if it served before.
    fn ring(&self) -> Option<Arc<Ring>> {
        match &self.before {
            Before::Lineage(handler, _) => handler.ring.get().cloned(),
            Before::Nothing | Before::State(..) => None,
        }
    }

    /// The component that a candidate is compared with.
    fn serving<'a>(&'a self, kept: Option<&'a (u64, Component)>) -> Option<&'a Component> {
        match &self.before {
            Before::Lineage(_, lineage) => Some(&lineage.current.component),
            Before::Nothing | Before::State(..) => kept.map(|(_, component)| component),
        }
    }

    /// Whether a component did not serve before: one that did has passed the gate already.
    fn is_new(&self, component: &Component) -> bool {
        let digest = component.compiled.digest;
        match &self.before {
            Before::Nothing => true,
            Before::Lineage(_, lineage) => lineage.current.component.compiled.digest != digest,
            Before::State(_, past) => past.current.as_ref().is_none_or(|current| current.sha256 != digest.to_string()),
        }
    }

    /// Makes the lineage that is to serve. Takes a core while it verifies.
    pub(super) fn carry_out(self, candidate: Candidate) -> (Self, Made) {
        let Candidate { newcomer, kept, config, examples, passage } = candidate;
        let prove = |form| {
            let component = prove(form, &self.entry, &self.procedures, &examples)?.component;
            let serving = self.serving(kept.as_ref());
            if self.is_new(&component) {
                let verdict = passage.judge(&component, serving, &self.entry, &self.procedures, &examples)?;
                if verdict.tally != Tally::default() {
                    tracing::info!("{}: {}", self.entry.name, gate::shown(&verdict));
                }
            }
            Ok(component)
        };
        let proved = newcomer.and_then(|form| form.map(prove).transpose());
        let made = match (&self.before, proved) {
            (Before::State(_, past), proved) => resumed(past, proved, kept, &config),
            (Before::Lineage(before, lineage), proved) => {
                self.again(before, lineage, proved, config, &examples).map(|lineage| (lineage, None))
            }
            (Before::Nothing, Ok(Some(component))) => Ok((Lineage::first(component, config), None)),
            (Before::Nothing, Err(refusal)) => Err(refusal),
            (Before::Nothing, Ok(None)) => unreachable!("nothing is known of a handler that was not there"),
        };
        (self, made)
    }

    /// A handler whose entry changed, or that came back.
    fn again(
        &self,
        before: &Handler,
        lineage: &Lineage,
        proved: Result<Option<Component>, Refusal>,
        config: Config,
        examples: &Examples,
    ) -> Result<Lineage, Refusal> {
        let succeeded = |component| {
            let previous = before.proved(lineage);
            let refitted = refit_previous(&previous.component.compiled, &self.entry)?;
            Ok(lineage.succeeded_by(component, config.clone(), refitted.map(|component| (&**previous, component))))
        };
        let is_known = matches!(proved, Ok(None));
        match proved {
            Ok(Some(component)) => return succeeded(component),
            // The manifest names a different file: fail instead of falling back.
            Err(refusal) if before.entry.component != self.entry.component => return Err(refusal),
            // Otherwise the component that serves must fit the new entry.
            _ => {}
        }
        let current = refit(&lineage.current.component.compiled, &self.entry, &self.procedures, examples)?;
        if !is_known && lineage.current.config != config {
            return succeeded(current);
        }
        let previous = lineage.previous.as_ref();
        let previous = previous.map(|previous| refit_previous(&previous.component.compiled, &self.entry));
        Ok(lineage.refitted(current, previous.transpose()?.flatten()))
    }
}

/// A handler that an earlier run served. A component that was rolled back then does not serve now, and a broken one
/// does not keep the node from starting if the last proved component is there.
fn resumed(
    past: &Record,
    proved: Result<Option<Component>, Refusal>,
    kept: Option<(u64, Component)>,
    config: &Config,
) -> Made {
    let barred = past.barred.as_ref().and_then(|barred| rolled_back(barred, config));
    match (proved, kept) {
        (Ok(Some(component)), kept) => {
            let digest = component.compiled.digest;
            let number = past.number_of(&digest.to_string());
            let previous = kept.filter(|(_, kept)| kept.compiled.digest != digest);
            // Kept only if the component is the one that served already; a new one starts without it.
            let barred = barred.filter(|barred| previous.is_none() && barred.digest != digest);
            Ok((Lineage::resumed((number, component), previous, barred, config), None))
        }
        (Ok(None), Some(kept)) => Ok((Lineage::resumed(kept, None, barred, config), None)),
        (Err(refusal), Some(kept)) => Ok((Lineage::resumed(kept, None, barred, config), Some(refusal))),
        (Ok(None), None) => unreachable!("only what was kept makes a component known"),
        (Err(refusal), None) => Err(refusal),
    }
}

fn rolled_back(barred: &Barred, config: &Config) -> Option<RolledBack> {
    let Barred { sha256, generation, cause, at } = barred;
    let (digest, at) = (Digest::parse(sha256)?, at.parse().ok()?);
    Some(RolledBack { number: *generation, digest, config: config.clone(), cause: cause.clone(), at })
}

/// Whether two entries are equal apart from their lines in the file.
pub(super) fn is_same_entry(old: &Entry, new: &Entry) -> bool {
    Entry { line: new.line, ..old.clone() } == *new
}
