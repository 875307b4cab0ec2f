//! One run of the bank test against a stack: load it, have something happen to it, let it come to rest, prove its
//! ledger.

use crate::history::History;
use crate::ledger::Ledger;
use crate::load::{Load, Progress};
use crate::proof::{Violation, prove};
use crate::source::Source;

/// A stack, and what is asked of it.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// The load, and where it goes.
    pub load: Load,
    /// The database behind it.
    pub source: Source,
}

impl Experiment {
    /// Loads the stack for as long as `during` takes, and returns the record and what is wrong with the ledger, which
    /// is where `during` returns.
    ///
    /// # Errors
    /// A ledger that cannot be read, and those of `during`.
    pub async fn run(
        &self,
        during: impl AsyncFnOnce(&Progress) -> anyhow::Result<Source>,
    ) -> anyhow::Result<(History, Vec<Violation>)> {
        let before = Ledger::read(&self.source).await?;
        let running = self.load.start(&before);
        let progress = running.progress();
        let source = during(&progress).await?;
        let history = running.stop().await?;
        let ledger = Ledger::read_quiet(&source).await?;
        let violations = prove(&history, &before, &ledger);
        println!("seed {}, {:?}: {}", self.load.seed, progress.elapsed(), history.summary());
        Ok((history, violations))
    }
}
