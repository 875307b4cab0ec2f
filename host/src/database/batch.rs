//! Group commit: calls of one procedure that come while its lane is busy go together in its next statement. Nothing
//! waits for company: a call that finds the lane free goes at once, alone, through the procedure itself.
//!
//! A batch is one statement, one transaction, one awaited round trip, and each of its calls gets its own row. When the
//! statement fails nothing of it is recorded, and its calls go one by one: a call that cannot be carried out fails
//! alone. Calls are sent in the order in which they came. Called by `call`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::call::{Error, exchange};
use super::pool::{Client, Database};
use super::procedure::{BatchForm, Procedure};
use super::value::Argument;
use crate::contract::{Rows, Value};
use crate::failure::Failure;
use crate::limits;

/// Where the calls of one procedure wait. Whoever finds it free starts a task that carries out what waits, until
/// nothing does.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: Mutex<Waiting>,
    /// Whether the last batch had to be taken apart: the log tells the edge.
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Waiter>,
    /// A task carries out what waits.
    busy: bool,
    /// Names the calls that wait.
    next_ticket: u64,
}

/// A call that waits for its turn, or is on its way.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    arguments: Vec<Value>,
    outcome: oneshot::Sender<Result<Rows, Failure>>,
}

impl Database {
    /// Carries a call out on the lane of its procedure.
    pub(super) async fn call_on_lane(
        self: &Arc<Self>,
        procedure: &Arc<Procedure>,
        lane: &Lane,
        arguments: Vec<Value>,
    ) -> Result<Rows, Failure> {
        // While the database is away nobody waits for it.
        self.check_ready()?;
        let (sender, mut outcome) = oneshot::channel();
        let (ticket, free) = lane.join(arguments, sender)?;
        if free {
            self.calls.spawn(carry_out_all(Arc::clone(self), Arc::clone(procedure)));
        }
        let lost = |_| Failure::Panic { message: "a batch was lost".to_owned() };
        match timeout(limits::ACQUIRE_TIMEOUT, &mut outcome).await {
            Ok(outcome) => outcome.map_err(lost)?,
            Err(_) if lane.leave(ticket) => {
                Err(self.unavailable(format!("not sent within {} ms", limits::ACQUIRE_TIMEOUT.as_millis())))
            }
            // It was sent, so its outcome is awaited; the lane bounds that.
            Err(_) => outcome.await.map_err(lost)?,
        }
    }
}

impl Lane {
    /// Queues a call up; returns its ticket, and whether nobody carries out what waits yet.
    fn join(
        &self,
        arguments: Vec<Value>,
        outcome: oneshot::Sender<Result<Rows, Failure>>,
    ) -> Result<(u64, bool), Failure> {
        let mut waiting = self.waiting();
        if waiting.calls.len() >= limits::LANE_CALLS_MAX {
            return Err(Failure::Shed);
        }
        let ticket = waiting.next_ticket;
        waiting.next_ticket += 1;
        waiting.calls.push_back(Waiter { ticket, arguments, outcome });
        Ok((ticket, !std::mem::replace(&mut waiting.busy, true)))
    }

    /// Takes a call out again. False when it is on its way.
    fn leave(&self, ticket: u64) -> bool {
        let mut waiting = self.waiting();
        let before = waiting.calls.len();
        waiting.calls.retain(|waiter| waiter.ticket != ticket);
        waiting.calls.len() < before
    }

    /// Lets those requests join that are here already: whatever is ready on this worker runs first, as long as that
    /// adds to what waits. Nothing is waited for. Without it the calls that a finished batch sets off would go in
    /// statements of 1, 2, 4, 8, because the first of them finds the lane free.
    async fn gather(&self) {
        let mut before = 0;
        loop {
            let waiting = self.waiting().calls.len();
            if waiting == before || waiting >= limits::BATCH_CALLS_MAX {
                return;
            }
            before = waiting;
            tokio::task::yield_now().await;
        }
    }

    /// The calls of the next statement; none when nobody waits, and then the lane is free.
    fn next(&self) -> Vec<Waiter> {
        let mut waiting = self.waiting();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < limits::BATCH_CALLS_MAX {
            let Some(first) = waiting.calls.front() else { break };
            bytes += first.bytes();
            if !batch.is_empty() && bytes > limits::BATCH_BYTES_MAX {
                break;
            }
            // One that was not sent and that nobody waits for any more is let go.
            batch.extend(waiting.calls.pop_front().filter(|waiter| !waiter.outcome.is_closed()));
        }
        waiting.busy = !batch.is_empty();
        batch
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change of it is whole when the lock is given back, also by a panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits says nothing of what a procedure is.
impl PartialEq for Lane {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lane {}

impl Waiter {
    fn bytes(&self) -> usize {
        let bytes = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => size_of::<i64>(),
        };
        self.arguments.iter().map(bytes).sum()
    }

    /// The client may have gone meanwhile.
    fn answer(self, outcome: Result<Rows, Failure>) {
        let _ = self.outcome.send(outcome);
    }
}

/// Carries out what waits on a lane until nothing does.
async fn carry_out_all(database: Arc<Database>, procedure: Arc<Procedure>) {
    let Some(form) = &procedure.batch else { return };
    let mut turn = Turn { lane: &form.lane, over: false };
    loop {
        form.lane.gather().await;
        let batch = form.lane.next();
        if batch.is_empty() {
            turn.over = true;
            return;
        }
        database.batches.calls.observe(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        carry_out(&database, &procedure, form, batch).await;
    }
}

/// A task that ends by a panic leaves its lane free and nobody waiting for ever.
struct Turn<'a> {
    lane: &'a Lane,
    over: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.over {
            let mut waiting = self.lane.waiting();
            waiting.busy = false;
            waiting.calls.clear();
        }
    }
}

/// Carries out what goes in one statement, and answers each call.
async fn carry_out(database: &Database, procedure: &Procedure, form: &BatchForm, batch: Vec<Waiter>) {
    // One for all of it, also when a batch fails and its calls go one by one: who waits for an answer counts on it.
    let deadline = Instant::now() + limits::CALL_TIMEOUT;
    let connection = match database.acquire().await {
        Ok(connection) => connection,
        Err(failure) => return batch.into_iter().for_each(|waiter| waiter.answer(Err(failure.clone()))),
    };
    if batch.len() == 1 {
        return one_by_one(database, procedure, connection, deadline, batch).await;
    }
    match together(&connection, form, deadline, &batch).await {
        Ok(outcomes) => {
            drop(connection);
            batch.into_iter().zip(outcomes).for_each(|(waiter, rows)| waiter.answer(Ok(rows)));
            if form.lane.broken.swap(false, Ordering::Relaxed) {
                tracing::info!(procedure = procedure.name, "batches are carried out again");
            }
        }
        Err(error) if error.is_of_one_call() => {
            database.batches.broken.inc();
            let failure = error.failure(database, procedure);
            if !form.lane.broken.swap(true, Ordering::Relaxed) {
                let calls = batch.len();
                tracing::warn!(procedure = procedure.name, calls, cause = %failure, "a batch failed, its calls go alone");
            }
            one_by_one(database, procedure, connection, deadline, batch).await;
        }
        Err(error) => {
            error.spare(connection);
            let failure = error.failure(database, procedure);
            batch.into_iter().for_each(|waiter| waiter.answer(Err(failure.clone())));
        }
    }
}

/// All calls in one statement: their rows, in their order.
async fn together(
    connection: &Client,
    form: &BatchForm,
    deadline: Instant,
    batch: &[Waiter],
) -> Result<Vec<Rows>, Error> {
    let parameters = batch[0].arguments.len();
    let column = |index: usize| batch.iter().map(|waiter| Argument(&waiter.arguments[index])).collect::<Vec<_>>();
    let arguments: Vec<_> = (0..parameters).map(column).collect();
    let sent = timeout_at(deadline, exchange(connection, &form.signature, &arguments)).await;
    let Rows { columns, values } = sent.map_err(|_| Error::NoAnswer)??;
    let width = columns.len();
    if values.len() != batch.len() * width {
        return Err(Error::OtherRows { calls: batch.len() });
    }
    let mut values = values.into_iter();
    let row = |_: &Waiter| Rows { columns: columns.clone(), values: values.by_ref().take(width).collect() };
    Ok(batch.iter().map(row).collect())
}

/// Each call through the procedure itself. What cannot be sent before the deadline is not sent.
async fn one_by_one(
    database: &Database,
    procedure: &Procedure,
    connection: Client,
    deadline: Instant,
    batch: Vec<Waiter>,
) {
    let mut connection = Some(connection);
    for waiter in batch {
        let usable = match connection.take() {
            _ if Instant::now() >= deadline => Err(database.unavailable("no time was left to send it")),
            Some(usable) => Ok(usable),
            // The call before it cost its connection.
            None => database.acquire().await,
        };
        let usable = match usable {
            Ok(usable) => usable,
            Err(failure) => {
                waiter.answer(Err(failure));
                continue;
            }
        };
        let arguments: Vec<_> = waiter.arguments.iter().map(Argument).collect();
        let sent = timeout_at(deadline, exchange(&usable, &procedure.signature, &arguments)).await;
        match sent.unwrap_or(Err(Error::NoAnswer)) {
            Ok(rows) => {
                connection = Some(usable);
                waiter.answer(Ok(rows));
            }
            Err(error) => {
                connection = error.spare(usable);
                waiter.answer(Err(error.failure(database, procedure)));
            }
        }
    }
}
