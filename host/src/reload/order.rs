//! One handler of a new table: loaded, or proved again under its new terms. `table` has its component compiled first,
//! and then this carried out on the workbench.

use std::sync::Arc;

use super::verify::{prove, refit, refit_previous};
use super::workbench::{Form, Haste, Without, Workbench};
use crate::database::Procedure;
use crate::guest::Digest;
use crate::manifest::Entry;
use crate::registry::{Handler, Lineage, Refusal};

/// A handler to be made.
pub(super) struct Order {
    pub(super) index: usize,
    pub(super) entry: Entry,
    pub(super) procedures: Vec<Arc<Procedure>>,
    pub(super) before: Option<(Arc<Handler>, Arc<Lineage>)>,
}

/// The component that the file of an order holds: a newcomer, or one that was known.
pub(super) type Candidate = Result<Option<Form>, Refusal>;

impl Order {
    /// What the file holds, compiled; nothing while that is under way.
    pub(super) async fn candidate(&self, bench: &Workbench, haste: Haste) -> Option<Candidate> {
        let known = |digest: Digest| {
            self.before.as_ref().is_some_and(|(_, lineage)| {
                let back = lineage.rolled_back.as_ref().map(|back| back.digest);
                digest == lineage.current.component.compiled.digest || back == Some(digest)
            })
        };
        let source = match bench.read(haste, &self.entry).await {
            Ok(source) if known(source.digest) => return Some(Ok(None)),
            Ok(source) => source,
            Err(refusal) => return Some(Err(refusal)),
        };
        match bench.compile(haste, &self.entry, source).await {
            Ok(form) => Some(Ok(Some(form))),
            Err(Without::Refused(refusal)) => Some(Err(refusal)),
            Err(Without::Compiling) => None,
        }
    }

    /// Makes what serves. Takes a core while it verifies.
    pub(super) fn carry_out(self, candidate: Candidate) -> (Self, Result<Lineage, Refusal>) {
        let proved = candidate.and_then(|form| {
            form.map(|form| prove(form, &self.entry, &self.procedures).map(|proved| proved.component)).transpose()
        });
        let lineage = match (&self.before, proved) {
            (None, Ok(Some(component))) => Ok(Lineage::first(component)),
            (None, Err(refusal)) => Err(refusal),
            (Some((before, lineage)), Ok(Some(component))) => {
                let previous = before.proved(lineage);
                let refitted = refit_previous(&previous.component.compiled, &self.entry);
                Ok(lineage.succeeded_by(component, refitted.map(|component| (&**previous, component))))
            }
            // It was pointed to, so it is meant.
            (Some((before, _)), Err(refusal)) if before.entry.component != self.entry.component => Err(refusal),
            // The file may have held the component that the terms were changed for; else what serves must be good under
            // them.
            (Some((_, lineage)), _) => self.again(lineage),
            (None, Ok(None)) => unreachable!("nothing is known of a handler that was not there"),
        };
        (self, lineage)
    }

    /// What serves, under its new terms.
    fn again(&self, lineage: &Lineage) -> Result<Lineage, Refusal> {
        let current = refit(&lineage.current.component.compiled, &self.entry, &self.procedures)?;
        let previous = lineage.previous.as_ref();
        let previous = previous.and_then(|previous| refit_previous(&previous.component.compiled, &self.entry));
        Ok(lineage.refitted(current, previous))
    }
}
