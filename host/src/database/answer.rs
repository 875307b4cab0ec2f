//! Answers the calls of a lane when their statement has ended, and counts how they ended. Used by `batch`, which
//! decides what is sent.

use tokio::time::Instant;

use super::error::Error;
use super::lane::Lane;
use super::pool::{Client, Database};
use super::waiter::Waiter;
use crate::contract::Rows;
use crate::failure::Failure;
use crate::metrics::SUCCEEDED;

/// Gives each call its rows.
pub(super) fn answer(lane: &Lane, calls: Vec<Waiter>, outcomes: Vec<Rows>) {
    let now = Instant::now();
    for (waiter, rows) in calls.into_iter().zip(outcomes) {
        waiter.count(lane.counted(), now, SUCCEEDED);
        waiter.answer(Ok(rows));
    }
}

/// Fails calls, with the class of their SQLSTATE.
pub(super) fn fail(database: &Database, lane: &Lane, calls: Vec<Waiter>, failure: &Failure, class: &str) {
    database.note_outcome(calls.first().and_then(|first| database.shard_of(first)), Some(failure));
    let now = Instant::now();
    for waiter in calls {
        waiter.count(lane.counted(), now, class);
        waiter.answer(Err(failure.clone()));
    }
}

/// Answers a call of a key that is apart, and returns its connection.
pub(super) fn answer_apart(
    database: &Database,
    lane: &Lane,
    waiter: Waiter,
    connection: Client,
    outcome: Result<Rows, Error>,
) {
    let error = match outcome {
        Ok(rows) => {
            drop(connection);
            database.health().note_outcome(None);
            return waiter.answer(Ok(rows));
        }
        Err(error) => error,
    };
    drop(error.spare(connection));
    let of_one_row = error.is_of_one_row();
    let failure = database.failure(error, waiter.procedure());
    if !of_one_row {
        database.note_outcome(database.shard_of(&waiter), Some(&failure));
    } else if lane.note_stuck(true) {
        let procedure = &waiter.procedure().name;
        tracing::warn!(procedure, cause = %failure, "a call timed out waiting for a locked or slow row");
    }
    waiter.answer(Err(failure));
}
