//! One handler of a new table: loaded, resumed from the node's state, or proved again under its new terms. Takes a core
//! while it compiles; `table` has it carried out on the workbench.

use std::sync::Arc;

use super::verify::{Workbench, read, refit, refit_previous};
use crate::database::Procedure;
use crate::guest::{Component, Digest};
use crate::manifest::Entry;
use crate::registry::{Handler, Lineage, Refusal, RolledBack};
use crate::state::{Barred, Record, State};

/// A handler to be made.
pub(super) struct Order {
    pub(super) index: usize,
    pub(super) entry: Entry,
    pub(super) procedures: Vec<Arc<Procedure>>,
    pub(super) before: Before,
}

/// What is known of a handler that is to be made.
pub(super) enum Before {
    Nothing,
    /// It serves, or did until a short while ago.
    Lineage(Arc<Handler>, Arc<Lineage>),
    /// An earlier run of the node recorded it.
    State(Arc<State>, Record),
}

/// What became of an order: what is to serve, and why that is not what the folder holds.
pub(super) type Made = Result<(Lineage, Option<Refusal>), Refusal>;

impl Order {
    pub(super) fn carry_out(self, bench: &Workbench) -> (Self, Made) {
        let made = match &self.before {
            Before::Nothing => self.first(bench).map(|component| (Lineage::first(component), None)),
            Before::Lineage(before, lineage) => self.again(bench, before, lineage).map(|lineage| (lineage, None)),
            Before::State(state, past) => self.resumed(bench, state, past),
        };
        (self, made)
    }

    fn first(&self, bench: &Workbench) -> Result<Component, Refusal> {
        let bytes = read(&self.entry)?;
        Ok(bench.prove(&self.entry, &self.procedures, &bytes)?.component)
    }

    /// A handler that an earlier run served. What was taken back then does not serve now, and what is broken does not
    /// keep the node from starting, as long as the last proved component is there.
    fn resumed(&self, bench: &Workbench, state: &State, past: &Record) -> Made {
        let candidate = read(&self.entry).and_then(|bytes| {
            let sha256 = Digest::of(&bytes).to_string();
            match past.barred.as_ref().is_some_and(|barred| barred.sha256 == sha256) {
                true => Ok(None),
                false => bench.prove(&self.entry, &self.procedures, &bytes).map(|proved| Some((sha256, proved))),
            }
        });
        let kept = self.kept(bench, state, past);
        let barred = past.barred.as_ref().and_then(rolled_back);
        match (candidate, kept) {
            (Ok(Some((sha256, proved))), kept) => {
                let number = past.number_of(&sha256);
                let previous = kept.filter(|(_, kept)| kept.compiled.digest != proved.component.compiled.digest);
                // It is followed by another, unless what serves is what served already.
                let barred = barred.filter(|_| previous.is_none());
                Ok((Lineage::resumed((number, proved.component), previous, barred), None))
            }
            (Ok(None), Some(kept)) => Ok((Lineage::resumed(kept, None, barred), None)),
            (Err(refusal), Some(kept)) => Ok((Lineage::resumed(kept, None, barred), Some(refusal))),
            (Ok(None), None) => {
                let name = &self.entry.name;
                tracing::error!("{name}: what was taken back serves: the component that was proved before it is lost");
                let component = self.first(bench)?;
                let number = past.number_of(&component.compiled.digest.to_string());
                Ok((Lineage::resumed((number, component), None, None), None))
            }
            (Err(refusal), None) => Err(refusal),
        }
    }

    /// The last proved component, under what the manifest says now; without the examples, which it did not write.
    fn kept(&self, bench: &Workbench, state: &State, past: &Record) -> Option<(u64, Component)> {
        let mark = past.proved.as_ref()?;
        let bytes = state.component(&mark.sha256, |bytes| Digest::of(bytes).to_string())?;
        let compiled = bench.compile(&bytes).ok()?;
        Some((mark.generation, refit_previous(&compiled, &self.entry)?))
    }

    /// A handler whose terms changed, or that came back. The file may hold the component they were changed for; else
    /// what serves must be good under them.
    fn again(&self, bench: &Workbench, before: &Handler, lineage: &Lineage) -> Result<Lineage, Refusal> {
        let known = |digest: Digest| {
            let back = lineage.rolled_back.as_ref().map(|back| back.digest);
            digest == lineage.current.component.compiled.digest || back == Some(digest)
        };
        let moved = before.entry.component != self.entry.component;
        let candidate = read(&self.entry).and_then(|bytes| match known(Digest::of(&bytes)) {
            true => Ok(None),
            false => bench.prove(&self.entry, &self.procedures, &bytes).map(Some),
        });
        match candidate {
            Ok(Some(proved)) => {
                let previous = before.proved(lineage);
                let refitted = refit_previous(&previous.component.compiled, &self.entry);
                return Ok(lineage.succeeded_by(proved.component, refitted.map(|component| (&**previous, component))));
            }
            // It was pointed to, so it is meant.
            Err(refusal) if moved => return Err(refusal),
            _ => {}
        }
        let current = refit(&lineage.current.component.compiled, &self.entry, &self.procedures)?;
        let previous = lineage.previous.as_ref();
        let previous = previous.and_then(|previous| refit_previous(&previous.component.compiled, &self.entry));
        Ok(lineage.refitted(current, previous))
    }
}

fn rolled_back(barred: &Barred) -> Option<RolledBack> {
    let Barred { sha256, generation, cause, at } = barred;
    let (digest, at) = (Digest::parse(sha256)?, at.parse().ok()?);
    Some(RolledBack { number: *generation, digest, cause: cause.clone(), at })
}
