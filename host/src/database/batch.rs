//! Group commit: calls of one procedure that come while its lane is busy go together in its next statement. Nothing
//! waits for company: a call that finds the lane free goes at once, alone, through the procedure itself.
//!
//! A batch is one statement, one transaction, one awaited round trip, and each of its calls gets its own row. When the
//! statement fails nothing of it is recorded, and it is taken apart: a call that cannot be carried out fails alone. A
//! batch gives up early on a lock or on a slow call, and then it is taken apart by keys: a key that makes even its own
//! calls wait is set apart, and they go one after the other on a connection that is more patient. Calls of one key are
//! sent in the order in which they came. Called by `call`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::exchange::{Error, alone, exchange};
use super::lane::{Lane, Left, Start};
use super::pool::{Client, Database};
use super::procedure::{BatchForm, Procedure};
use super::value::{Argument, Arguments};
use super::waiter::{Key, Waiter};
use crate::contract::{Rows, Value};
use crate::failure::Failure;
use crate::limits;

impl Database {
    /// Carries a call out on the lane of its procedure.
    pub(super) async fn call_on_lane(
        self: &Arc<Self>,
        lane: Arc<Lane>,
        procedure: &Arc<Procedure>,
        arguments: Vec<Value>,
    ) -> Result<Rows, Failure> {
        // While the database is away nobody waits for it.
        self.check_ready().inspect_err(|failure| self.tell(Some(failure)))?;
        let deadline = Instant::now() + limits::ACQUIRE_TIMEOUT;
        let (sender, mut outcome) = oneshot::channel();
        let (ticket, start) = lane.join(Waiter::new(procedure, arguments, deadline, sender))?;
        start_task(self, &lane, start);
        let lost = |_| Failure::Panic { message: "a batch was lost".to_owned() };
        if let Ok(outcome) = timeout_at(deadline, &mut outcome).await {
            return outcome.map_err(lost)?;
        }
        let ms = limits::ACQUIRE_TIMEOUT.as_millis();
        match lane.leave(ticket) {
            Left::Together => {
                let failure = self.unavailable(format!("not sent within {ms} ms"));
                self.tell(Some(&failure));
                Err(failure)
            }
            Left::Apart => {
                Err(self.unavailable(format!("not sent within {ms} ms: an earlier call of its key is under way")))
            }
            // Its outcome is awaited; the lane bounds that.
            Left::Sent => outcome.await.map_err(lost)?,
        }
    }
}

fn start_task(database: &Arc<Database>, lane: &Arc<Lane>, start: Start) {
    let (on, lane) = (Arc::clone(database), Arc::clone(lane));
    match start {
        Start::Nothing => {}
        Start::Together => drop(database.calls.spawn(carry_out_together(on, lane))),
        Start::Apart(key) => drop(database.calls.spawn(carry_out_apart(on, lane, key))),
    }
}

/// A task that ends by a panic leaves its lane or its key free, and nobody waiting for ever.
struct Turn<'a> {
    lane: &'a Lane,
    key: Option<&'a Key>,
    over: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.lane.give_up(self.key);
        }
    }
}

/// Carries out what waits on a lane until nothing does.
async fn carry_out_together(database: Arc<Database>, lane: Arc<Lane>) {
    let mut turn = Turn { lane: &lane, key: None, over: false };
    loop {
        lane.gather().await;
        let batch = lane.next_together();
        if batch.is_empty() {
            turn.over = true;
            return;
        }
        database.batches.calls.observe(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        // One for all of it, also when it is taken apart: who waits for an answer counts on it.
        let deadline = Instant::now() + limits::CALL_TIMEOUT;
        let carrier = Carrier { database: &database, lane: &lane, deadline, connection: None };
        carrier.carry_out(batch).await;
    }
}

/// Carries out the calls of a key that is apart, one after the other, until none waits or the key is back in batches.
async fn carry_out_apart(database: Arc<Database>, lane: Arc<Lane>, key: Key) {
    let mut turn = Turn { lane: &lane, key: Some(&key), over: false };
    while lane.has_apart(&key) {
        let place = database.place_apart().await;
        let connection = database.acquire().await;
        // Only now: a call that waits here may still be given up.
        let Some(waiter) = lane.next_apart(&key) else { continue };
        let connection = match connection {
            Ok(connection) => connection,
            Err(failure) => {
                waiter.answer(Err(failure));
                continue;
            }
        };
        let sent = Instant::now();
        let outcome = alone(&connection, &waiter.procedure, &waiter.arguments, sent + limits::CALL_TIMEOUT).await;
        let stays = matches!(&outcome, Err(error) if !error.is_of_one_call() || error.is_of_one_row());
        answer_apart(&database, &lane, waiter, connection, outcome);
        drop(place);
        if !stays && sent.elapsed() < limits::BATCH_STATEMENT_TIMEOUT {
            start_task(&database, &lane, lane.rejoin(&key));
            if lane.stuck.swap(false, Ordering::Relaxed) {
                tracing::info!("a row that was locked or slow answers again");
            }
            break;
        }
    }
    turn.over = true;
}

fn answer_apart(database: &Database, lane: &Lane, waiter: Waiter, connection: Client, outcome: Result<Rows, Error>) {
    let error = match outcome {
        Ok(rows) => {
            drop(connection);
            database.tell(None);
            return waiter.answer(Ok(rows));
        }
        Err(error) => error,
    };
    drop(error.spare(connection));
    let of_one_row = error.is_of_one_row();
    let failure = database.failure(error, &waiter.procedure);
    if !of_one_row {
        database.tell(Some(&failure));
    } else if !lane.stuck.swap(true, Ordering::Relaxed) {
        let procedure = &waiter.procedure.name;
        tracing::warn!(procedure, cause = %failure, "a call waited for a locked or slow row in vain");
    }
    waiter.answer(Err(failure));
}

/// What carries a batch out, whole or in parts.
struct Carrier<'a> {
    database: &'a Arc<Database>,
    lane: &'a Arc<Lane>,
    deadline: Instant,
    /// One whose session gives up early. None before the first statement, and after one that cost it.
    connection: Option<Client>,
}

/// Why a part was not carried out.
enum Unsent {
    /// It was sent, and there is no answer for its calls.
    Error(Error),
    /// It was not sent.
    Failure(Failure),
}

impl Carrier<'_> {
    /// Carries out what goes in one statement, and answers each call. What fails is taken apart until it is known whose
    /// it is.
    async fn carry_out(mut self, batch: Vec<Waiter>) {
        let calls = batch.len();
        let mut parts = VecDeque::from([batch]);
        while let Some(part) = parts.pop_front() {
            match self.send(&part).await {
                Ok(outcomes) => {
                    if parts.is_empty() {
                        // Before the answers set off the next calls: they find it in the pool.
                        self.connection = None;
                    }
                    self.database.tell(None);
                    if part.len() == calls && calls > 1 && self.lane.broken.swap(false, Ordering::Relaxed) {
                        tracing::info!(procedure = part[0].procedure.name, "batches are carried out again");
                    }
                    part.into_iter().zip(outcomes).for_each(|(waiter, rows)| waiter.answer(Ok(rows)));
                }
                Err(Unsent::Failure(failure)) => self.fail(part, failure),
                Err(Unsent::Error(error)) if error.is_of_one_row() => self.without_slow_keys(part, &mut parts),
                Err(Unsent::Error(error)) => {
                    let apart = error.is_of_one_call() && part.len() > 1;
                    let failure = self.database.failure(error, &part[0].procedure);
                    match apart {
                        true => self.one_by_one(part, &failure, &mut parts),
                        false => self.fail(part, failure),
                    }
                }
            }
        }
    }

    /// The rows of each call, in their order: one call through the procedure itself, more through its batch form.
    async fn send(&mut self, part: &[Waiter]) -> Result<Vec<Rows>, Unsent> {
        if Instant::now() >= self.deadline {
            return Err(Unsent::Failure(self.database.unavailable("no time was left to send it")));
        }
        // A statement may have been the end of it without costing it.
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.database.acquire_for_batch().await.map_err(Unsent::Failure)?,
        };
        let procedure = &part[0].procedure;
        let outcome = match (&procedure.batch, part) {
            (Some(form), [_, _, ..]) => together(&connection, form, part, self.deadline).await,
            _ => alone(&connection, procedure, &part[0].arguments, self.deadline).await.map(|rows| vec![rows]),
        };
        match outcome {
            Ok(outcomes) => {
                self.connection = Some(connection);
                Ok(outcomes)
            }
            Err(error) => {
                self.connection = error.spare(connection);
                Err(Unsent::Error(error))
            }
        }
    }

    /// Calls that waited too long, rolled back: those of each key go on their own, and a key that makes even those wait
    /// is set apart.
    fn without_slow_keys(&self, part: Vec<Waiter>, parts: &mut VecDeque<Vec<Waiter>>) {
        self.database.batches.given_up.inc();
        let mut keys: Vec<(Key, Vec<Waiter>)> = Vec::new();
        for waiter in part {
            let key = waiter.key();
            match keys.iter_mut().find(|(other, _)| *other == key) {
                Some((_, calls)) => calls.push(waiter),
                None => keys.push((key, vec![waiter])),
            }
        }
        if keys.len() > 1 {
            return keys.into_iter().rev().for_each(|(_, calls)| parts.push_front(calls));
        }
        for (key, mut calls) in keys {
            // When they went one by one, the later ones are parts still.
            for part in parts.iter_mut() {
                calls.extend(part.extract_if(.., |waiter| waiter.key() == key));
            }
            parts.retain(|part| !part.is_empty());
            start_task(self.database, self.lane, self.lane.set_apart(key, calls));
        }
    }

    /// Calls of which one cannot be carried out, rolled back.
    fn one_by_one(&self, part: Vec<Waiter>, failure: &Failure, parts: &mut VecDeque<Vec<Waiter>>) {
        self.database.batches.broken.inc();
        if !self.lane.broken.swap(true, Ordering::Relaxed) {
            let (procedure, calls) = (&part[0].procedure.name, part.len());
            tracing::warn!(procedure, calls, cause = %failure, "a batch failed, its calls go alone");
        }
        part.into_iter().rev().for_each(|waiter| parts.push_front(vec![waiter]));
    }

    fn fail(&self, part: Vec<Waiter>, failure: Failure) {
        self.database.tell(Some(&failure));
        part.into_iter().for_each(|waiter| waiter.answer(Err(failure.clone())));
    }
}

/// All calls in one statement: their rows, in their order.
async fn together(
    connection: &Client,
    form: &BatchForm,
    batch: &[Waiter],
    deadline: Instant,
) -> Result<Vec<Rows>, Error> {
    let parameters = batch[0].arguments.len();
    let column = |index: usize| Arguments(batch.iter().map(|waiter| Argument(&waiter.arguments[index])).collect());
    let arguments: Vec<_> = (0..parameters).map(column).collect();
    let Rows { columns, values } = exchange(connection, &form.signature, &arguments, deadline).await?;
    let width = columns.len();
    if values.len() != batch.len() * width {
        return Err(Error::OtherRows { calls: batch.len() });
    }
    let mut values = values.into_iter();
    let row = |_: &Waiter| Rows { columns: columns.clone(), values: values.by_ref().take(width).collect() };
    Ok(batch.iter().map(row).collect())
}
