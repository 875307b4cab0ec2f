//! A call that has ended: its outcome, how it went, and its arguments.

use tokio::time::Instant;

use super::passage::Passage;
use crate::contract::{Rows, Value};
use crate::failure::Failure;

/// A call that has ended.
#[derive(Debug)]
pub struct Carried {
    /// Its outcome, as `Database::call` returns it.
    pub outcome: Result<Rows, Failure>,
    /// How it went.
    pub passage: Passage,
    /// Its arguments, for the record of its request: handed back, because a copy would cost every request. `None` if
    /// they were lost with a task that panicked.
    pub arguments: Option<Vec<Value>>,
}

impl Carried {
    /// A call whose task was lost.
    pub(super) fn lost(message: String) -> Self {
        Self { outcome: Err(Failure::Panic { message }), passage: Passage::default(), arguments: None }
    }

    /// A call that was not sent. It has waited since it was planned.
    pub(super) fn unsent(failure: Failure, planned: Instant, arguments: Vec<Value>) -> Self {
        Self { outcome: Err(failure), passage: Passage::of(planned, None, None), arguments: Some(arguments) }
    }
}
