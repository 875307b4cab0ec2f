//! One handler of a new table: loaded, or proved again under its new terms. Takes a core while it compiles; `table` has
//! it carried out on the workbench.

use std::sync::Arc;

use super::verify::{Workbench, read, refit, refit_previous};
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

impl Order {
    pub(super) fn carry_out(self, bench: &Workbench) -> (Self, Result<Lineage, Refusal>) {
        let lineage = match &self.before {
            None => read(&self.entry)
                .and_then(|bytes| bench.prove(&self.entry, &self.procedures, &bytes))
                .map(|proved| Lineage::first(proved.component)),
            Some((before, lineage)) => self.again(bench, before, lineage),
        };
        (self, lineage)
    }

    /// A handler whose terms changed. The file may hold the component they were changed for; else what serves must be
    /// good under them.
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
