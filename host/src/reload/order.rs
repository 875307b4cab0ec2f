//! One handler of a new table: loaded, resumed from the node's state, or proved again under its new entry. `assembly`
//! has its component compiled first, and then runs this on the worker.

use std::sync::Arc;
use std::time::Duration;

use super::again::{Again, Terms};
use super::compiling::{Asker, Form};
use super::gate::{self, Passage};
use super::resume::{Made, kept, resumed};
use super::source::{Source, Vouched};
use super::verify::prove;
use super::worker::{Priority, Without, Worker};
use crate::database::Procedure;
use crate::guest::{Compiled, Component, Digest};
use crate::manifest::Entry;
use crate::record::Ring;
use crate::registry::{Config, Handler, Kept, Lineage, Refusal, Signed, Stage};
use crate::state::{Barred, Pin, Record, State};

/// A handler to be made.
pub(super) struct Order {
    pub(super) index: usize,
    pub(super) entry: Entry,
    pub(super) procedures: Vec<Arc<Procedure>>,
    pub(super) before: Before,
    /// What the node keeps across restarts.
    pub(super) state: Option<Arc<State>>,
    /// Held until the component that was handed to the state serves.
    pub(super) handed: Option<Pin>,
}

/// The past of a handler that is to be made.
pub(super) enum Before {
    Nothing,
    /// It serves, or did so a short while ago.
    Lineage(Arc<Handler>, Arc<Lineage>),
    /// An earlier run of the node recorded it.
    State(Arc<State>, Box<Record>),
}

/// The components that an order can be made from.
pub(super) struct Candidate {
    /// The component in its file, if that is a new one.
    newcomer: Result<Option<Form>, Refusal>,
    /// The last proved component of the state.
    kept: Option<Kept>,
    /// Why what was deployed does not serve any more.
    missed: Option<Refusal>,
    passage: Passage,
    terms: Terms,
}

/// The component that the handlers folder has, or the state folder in its place.
struct Newcomer {
    /// Its compiled form; none if it is known already.
    form: Result<Option<Form>, Refusal>,
    /// Its signature, checked under the new entry.
    vouched: Option<Vouched>,
    /// Why what was deployed over it does not serve.
    missed: Option<Refusal>,
}

impl Order {
    /// The components to make it from, compiled; `None` while that is under way.
    ///
    /// # Errors
    /// That a value of its config cannot be read: nothing can be proved without it.
    pub(super) async fn candidate(
        &mut self,
        worker: &Worker,
        priority: Priority,
    ) -> Result<Option<Candidate>, Refusal> {
        let config = worker.config(priority, &self.entry).await?;
        let kept = match &self.before {
            Before::State(state, past) => kept(worker, priority, &self.entry, state, past).await,
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
            Err(Without::Refused(refusal)) => (Newcomer { form: Err(refusal), vouched: None, missed: None }, None),
            Err(Without::Compiling) => return Ok(None),
        };
        let Newcomer { form: newcomer, vouched, missed } = newcomer;
        let terms = Terms { config, examples, trust: worker.trust.clone(), vouched };
        Ok(Some(Candidate { newcomer, kept, missed, passage, terms }))
    }

    /// The component in its file, compiled; `None` while that is under way.
    async fn newcomer(
        &mut self,
        worker: &Worker,
        priority: Priority,
        config: &Config,
        has_kept: bool,
    ) -> Option<Newcomer> {
        let (source, missed) = match self.source(worker, priority).await {
            Ok(found) => found,
            Err(refusal) => return Some(Newcomer { form: Err(refusal), vouched: None, missed: None }),
        };
        let vouched = Some(source.vouched());
        // What was deployed over the component of the folder serves in its place.
        let digest = match &self.before {
            Before::Lineage(_, lineage) => lineage.effective(source.digest),
            Before::Nothing | Before::State(..) => source.digest,
        };
        let form = match (self.is_known(digest, config, has_kept), self.compiled(digest)) {
            (Ok(true), _) => Ok(None),
            (Err(refusal), _) => Err(refusal),
            (Ok(false), Some(compiled)) => Ok(Some((compiled, Duration::ZERO))),
            (Ok(false), None) => {
                let bytes = Arc::clone(&source.bytes);
                match worker.compile(priority, Asker::Manifest, &self.entry, source).await {
                    Ok(form) => {
                        self.hand(worker, priority, digest, &bytes).await;
                        Ok(Some(form))
                    }
                    Err(Without::Refused(refusal)) => Err(refusal),
                    Err(Without::Compiling) => return None,
                }
            }
        };
        Some(Newcomer { form, vouched, missed })
    }

    /// Hands a component to the state, unless that has it, before it is verified: the orders of a manifest are verified
    /// together, and the state bounds what they have in memory.
    async fn hand(&mut self, worker: &Worker, priority: Priority, digest: Digest, bytes: &Arc<[u8]>) {
        let Some(state) = self.state.clone() else { return };
        let sha256 = digest.to_string();
        let pin = state.pin(&sha256);
        let (asked, wanted) = (Arc::clone(&state), sha256.clone());
        let has = worker.ask(priority, Stage::Read, move || asked.has(&wanted)).await.unwrap_or(false);
        self.handed = Some(if has { pin } else { state.hand(&sha256, bytes) });
    }

    /// The component in its file; after a start, the one that was deployed over it and served in its place. Then also
    /// why that one does not serve any more, if it does not.
    async fn source(&self, worker: &Worker, priority: Priority) -> Result<(Source, Option<Refusal>), Refusal> {
        let found = worker.read(priority, &self.entry).await?;
        let Before::State(state, past) = &self.before else { return Ok((found, None)) };
        let Some(mark) = past.deployed_over(&found.digest.to_string()) else { return Ok((found, None)) };
        let why = match worker.kept(priority, &self.entry, state, &mark.sha256).await {
            Ok(Some(kept)) => return Ok((kept, None)),
            Ok(None) => "is missing in the state folder".to_owned(),
            Err(refusal) if refusal.stage == Stage::Signature && !refusal.passing => refusal.message,
            Err(refusal) => return Err(refusal),
        };
        let text = format!("generation {} ({}), which was deployed, {why}", mark.generation, mark.sha256);
        tracing::error!("{}: {text}; the component of the handlers folder counts", self.entry.name);
        let missed = Refusal::new(Stage::Read, text);
        Ok((found, Some(Digest::parse(&mark.sha256).map_or(missed.clone(), |digest| missed.of(digest)))))
    }

    /// The compiled form of a component that serves already, with another config.
    fn compiled(&self, digest: Digest) -> Option<Compiled> {
        let Before::Lineage(_, lineage) = &self.before else { return None };
        let compiled = &lineage.current.component.compiled;
        (compiled.digest == digest).then(|| compiled.clone())
    }

    /// Whether a component serves already with this config, or was rolled back with it.
    ///
    /// # Errors
    /// That it was rolled back, and nothing is there that could serve in its place.
    fn is_known(&self, digest: Digest, config: &Config, has_kept: bool) -> Result<bool, Refusal> {
        match &self.before {
            Before::Nothing => Ok(false),
            Before::Lineage(_, lineage) => Ok(lineage.serves(digest, config) || lineage.is_barred(digest, config)),
            Before::State(_, past) => match past.barred_as(&digest.to_string()) {
                Some(Barred { generation, cause, .. }) if !has_kept => {
                    let text = format!(
                        "the component of the handlers folder was rolled back as generation {generation} ({cause}), and \
                         none that was proved before it can serve; put another component into the handlers folder"
                    );
                    Err(Refusal::new(Stage::Read, text).of(digest))
                }
                barred => Ok(barred.is_some()),
            },
        }
    }

    /// The records of the last requests, if it served before.
    fn ring(&self) -> Option<Arc<Ring>> {
        match &self.before {
            Before::Lineage(handler, _) => handler.ring.get().cloned(),
            Before::Nothing | Before::State(..) => None,
        }
    }

    /// The component that a candidate is compared with.
    fn serving<'a>(&'a self, kept: Option<&'a Kept>) -> Option<&'a Component> {
        match &self.before {
            Before::Lineage(_, lineage) => Some(&lineage.current.component),
            Before::Nothing | Before::State(..) => kept.map(|kept| &kept.component.component),
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
        let Candidate { newcomer, kept, missed, passage, terms } = candidate;
        let examples = &terms.examples;
        let prove = |form| {
            let component = prove(form, &self.entry, &self.procedures, examples)?.component;
            let serving = self.serving(kept.as_ref());
            if self.is_new(&component) {
                let verdict = passage.judge(&component, serving, &self.entry, &self.procedures, examples)?;
                gate::log(&self.entry.name, &verdict, serving);
            }
            Ok(component)
        };
        let proved = newcomer.and_then(|form| form.map(prove).transpose());
        let made = match (&self.before, proved) {
            (Before::State(_, past), proved) => resumed(past, proved, kept, missed, &terms),
            (Before::Lineage(before, lineage), proved) => {
                let (entry, procedures) = (&self.entry, &self.procedures[..]);
                let again = Again { entry, procedures, before, lineage, terms: &terms };
                again.lineage(proved).map(|lineage| (lineage, None))
            }
            (Before::Nothing, Ok(Some(component))) => {
                let Terms { config, vouched, .. } = terms;
                let signature = vouched.and_then(|vouched| vouched.signature);
                Ok((Lineage::first(Signed { component, signature }, config), None))
            }
            (Before::Nothing, Err(refusal)) => Err(refusal),
            (Before::Nothing, Ok(None)) => unreachable!("nothing is known of a handler that was not there"),
        };
        (self, made)
    }
}

/// Whether two entries are equal apart from their lines in the file.
pub(super) fn is_same_entry(old: &Entry, new: &Entry) -> bool {
    Entry { line: new.line, ..old.clone() } == *new
}
