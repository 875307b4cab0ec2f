//! What a corpus holds, looked through before it is compared: the handlers, and which signature of each procedure is
//! the current one. No database is there to ask, so that is the one of the last request that called it; records with
//! an earlier one hold rows of another shape, and are skipped.

use std::collections::{BTreeMap, HashMap};

use super::Skipped;
use crate::record::{Broken, Plan, Record};

/// What a corpus holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// The handlers, each with the number of its records.
    pub handlers: BTreeMap<String, u64>,
    /// The moment of the last request that called a procedure, and the signature that it had then.
    signatures: HashMap<String, (i64, String)>,
}

impl Survey {
    /// Looks through records.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn of(corpus: impl Iterator<Item = Result<(u64, Record), Broken>>) -> Result<Self, Broken> {
        let mut survey = Self::default();
        for record in corpus {
            survey.add(&record?.1);
        }
        Ok(survey)
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.handlers.values().sum()
    }

    fn add(&mut self, record: &Record) {
        *self.handlers.entry(record.handler.clone()).or_default() += 1;
        let Some((procedure, signature)) = called(record) else { return };
        let now = record.request.now;
        match self.signatures.get_mut(procedure) {
            Some(known) if known.0 > now => {}
            Some(known) => *known = (now, signature.to_owned()),
            None => drop(self.signatures.insert(procedure.to_owned(), (now, signature.to_owned()))),
        }
    }

    /// Whether a record is of the current signatures.
    pub(super) fn check(&self, record: &Record) -> Result<(), Skipped> {
        match called(record) {
            Some((procedure, its)) if self.signatures.get(procedure).is_some_and(|(_, current)| current != its) => {
                Err(Skipped::Signature(procedure.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// The procedure that a request called, and its signature at that time.
fn called(record: &Record) -> Option<(&str, &str)> {
    let Some(Plan::Call(call)) = &record.plan else { return None };
    Some((&call.procedure, record.signature.as_deref()?))
}
