//! Request batching: calls of one procedure that arrive while its lane is busy are sent together in its next statement.
//! No call waits for others: one that finds the lane free is sent at once, alone, through the procedure itself.
//!
//! A batch is one statement, one transaction and one awaited round trip, and each of its calls gets a row. When the
//! statement fails and that proves that nothing of it is recorded, its calls are retried separately, so that a call
//! that cannot be executed fails alone. When nothing proves it (the connection was lost, rows do not match the calls,
//! or it works in another database), only calls are retried that may be repeated. A batch gives up early on a lock or
//! on a slow call, and is then split by keys: a key that makes even its own calls wait is set apart, and its calls go
//! one after the other on a connection with longer timeouts. Calls of one key are sent in the order in which they
//! arrived. Batches do not skip locked rows (`SKIP LOCKED`): with two nodes every row is locked for a moment by the
//! other's batches, so rows would be skipped constantly.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::answer::{answer, answer_apart, fail};
use super::error::Error;
use super::exchange::{alone, together};
use super::form::BatchForm;
use super::lane::{Lane, Start};
use super::onward::Cluster;
use super::passage::UnderWay;
use super::pool::{Client, Database};
use super::router::on;
use super::waiter::{Key, Waiter, by_keys};
use crate::contract::Rows;
use crate::failure::Failure;
use crate::limits;
use crate::metrics::{NO_SQLSTATE, SUCCEEDED};

/// Starts the task that a changed lane asks for.
pub(super) fn start_task(database: &Arc<Database>, lane: &Arc<Lane>, start: Start) {
    let (on, lane) = (Arc::clone(database), Arc::clone(lane));
    match start {
        Start::Nothing => {}
        Start::Together => drop(database.calls().spawn(carry_out_together(on, lane))),
        Start::Apart(key) => drop(database.calls().spawn(carry_out_apart(on, lane, key))),
    }
}

/// Releases the lane or the key when its task ends by a panic, so that no call waits for ever.
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

/// Executes the calls that wait on a lane until none does.
async fn carry_out_together(database: Arc<Database>, lane: Arc<Lane>) {
    let mut turn = Turn { lane: &lane, key: None, over: false };
    loop {
        lane.gather().await;
        let batch = lane.next_together();
        if batch.is_empty() {
            turn.over = true;
            return;
        }
        database.batches().calls.observe(batch.len() as u64);
        // One deadline for the whole batch, also when it is split: requests rely on it for their answer.
        let deadline = Instant::now() + limits::CALL_TIMEOUT;
        Carrier::new(&database, &lane, deadline).carry_out(batch).await;
    }
}

/// Executes the calls of a key that is set apart, one after the other, until none waits or the key is back in batches.
async fn carry_out_apart(database: Arc<Database>, lane: Arc<Lane>, key: Key) {
    let mut turn = Turn { lane: &lane, key: Some(&key), over: false };
    while lane.has_apart(&key) {
        let shard = lane.look_apart(&key, |waiter| database.shard_of(waiter).cloned()).flatten();
        let acquired = database.acquire_apart(shard.as_ref()).await;
        // Taken off the queue only now: until here a waiting call could still give up.
        let Some(mut waiter) = lane.next_apart(&key) else { continue };
        let (connection, places) = match acquired.and_then(|it| database.check_shard(&waiter).map(|()| it)) {
            Ok(acquired) => acquired,
            Err(failure) => {
                waiter.count(lane.counted(), Instant::now(), NO_SQLSTATE);
                waiter.answer(Err(failure));
                continue;
            }
        };
        let sent = Instant::now();
        waiter.is_sent(lane.counted(), sent, None);
        let exchange = alone(&connection, waiter.procedure(), waiter.arguments(), sent + limits::CALL_TIMEOUT);
        let outcome = on(shard.as_ref(), &connection, Cluster::Calls, exchange).await;
        let procedure = waiter.procedure();
        let stays = matches!(&outcome, Err(error) if !error.is_of_one_call(procedure) || error.is_of_one_row());
        waiter.count(lane.counted(), Instant::now(), outcome.as_ref().map_or_else(Error::class, |_| SUCCEEDED));
        answer_apart(&database, &lane, waiter, connection, outcome);
        drop(places);
        if !stays && sent.elapsed() < limits::BATCH_STATEMENT_TIMEOUT {
            start_task(&database, &lane, lane.rejoin(&key));
            if lane.note_stuck(false) {
                tracing::info!("calls of a row that was locked or slow succeed again");
            }
            break;
        }
    }
    turn.over = true;
}

/// Executes a batch, whole or in parts.
struct Carrier<'a> {
    database: &'a Arc<Database>,
    lane: &'a Arc<Lane>,
    deadline: Instant,
    /// A connection whose session has short timeouts. `None` before the first statement, and after one that broke it.
    connection: Option<Client>,
    /// Whether the batch was not split yet.
    is_whole: bool,
    /// Whether the parts are calls of a batch that may be recorded, and are repeated.
    repeats: bool,
}

/// Why a part was not executed.
enum Unsent {
    /// It was sent, and failed.
    Error(Error),
    /// It was not sent.
    Failure(Failure),
}

impl<'a> Carrier<'a> {
    fn new(database: &'a Arc<Database>, lane: &'a Arc<Lane>, deadline: Instant) -> Self {
        Self { database, lane, deadline, connection: None, is_whole: true, repeats: false }
    }

    /// Executes a batch and answers each call. A failed part is split until the failing call is known.
    async fn carry_out(mut self, batch: Vec<Waiter>) {
        let calls = batch.len();
        let mut parts = VecDeque::from([batch]);
        while let Some(mut part) = parts.pop_front() {
            match self.send(&mut part).await {
                Ok(outcomes) => {
                    if parts.is_empty() {
                        // Returned before the answers trigger the next calls, so that they find it in the pool.
                        self.connection = None;
                    }
                    self.database.health().note_outcome(None);
                    if part.len() == calls && calls > 1 && self.lane.note_broken(false) {
                        tracing::info!(procedure = part[0].procedure().name, "batches succeed again");
                    }
                    answer(self.lane, part, outcomes);
                }
                Err(Unsent::Failure(failure)) => self.fail_with_repeats(part, &failure, NO_SQLSTATE, &mut parts),
                Err(Unsent::Error(error)) => self.part_failed(part, error, &mut parts),
            }
        }
    }

    /// Decides which calls of a part whose statement failed are sent again, and fails the others.
    fn part_failed(&mut self, mut part: Vec<Waiter>, error: Error, parts: &mut VecDeque<Vec<Waiter>>) {
        let procedure = part[0].procedure();
        let by_form = self.form_for(&part).is_some();
        let (is_slow, is_rolled_back) = (error.is_of_one_row(), error.is_of_one_call(procedure));
        self.is_whole = false;
        if is_slow && procedure.is_local() {
            return self.without_slow_keys(part, parts);
        }
        let is_unpaired = matches!(error, Error::Unpaired(_));
        let class = error.class().to_owned();
        let failure = self.database.failure(error, procedure);
        let has_time = Instant::now() < self.deadline;
        let is_sent_again = |waiter: &mut Waiter| is_rolled_back || has_time && waiter.may_repeat();
        match (is_slow, is_rolled_back) {
            (true, _) => self.set_all_apart(part, is_sent_again, (&failure, &class), parts),
            (false, true) if by_form => self.one_by_one(part, &failure, parts),
            (false, false) if by_form => {
                let again: Vec<_> = part.extract_if(.., is_sent_again).collect();
                if is_unpaired || !again.is_empty() {
                    self.repeats = true;
                    self.one_by_one(again, &failure, parts);
                }
                fail(self.database, self.lane, part, &failure, &class);
            }
            (false, _) => self.fail_with_repeats(part, &failure, &class, parts),
        }
    }

    /// The batch form, for a part that goes through it: several calls, or the one call of a batch that works in another
    /// database. There the timeouts of this session do not end a wait for a row, and those of the form do.
    fn form_for<'p>(&self, part: &'p [Waiter]) -> Option<&'p BatchForm> {
        let form = part.first()?.procedure().batch.as_ref()?;
        (part.len() > 1 || self.is_whole && !form.signature.local).then_some(form)
    }

    /// Sends a part and returns the rows of each call, in order.
    async fn send(&mut self, part: &mut [Waiter]) -> Result<Vec<Rows>, Unsent> {
        if Instant::now() >= self.deadline {
            return Err(Unsent::Failure(self.database.unavailable("no time was left to send it")));
        }
        self.database.check_shard(&part[0]).map_err(Unsent::Failure)?;
        // A statement may have succeeded and the connection may have been closed afterwards.
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.database.acquire_for_batch().await.map_err(Unsent::Failure)?,
        };
        let now = Instant::now();
        let batch = (part.len() > 1).then(|| UnderWay::next(part.len(), now));
        part.iter_mut().for_each(|waiter| waiter.is_sent(self.lane.counted(), now, batch));
        let (procedure, deadline) = (part[0].procedure(), self.deadline);
        let form = self.form_for(part);
        let cluster = if form.is_some() { Cluster::Batches } else { Cluster::Calls };
        let exchange = async {
            match form {
                Some(form) => together(&connection, form, part, deadline).await,
                None => alone(&connection, procedure, part[0].arguments(), deadline).await.map(|rows| vec![rows]),
            }
        };
        let outcome = on(self.database.shard_of(&part[0]), &connection, cluster, exchange).await;
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

    /// Splits calls that waited too long and were rolled back: those of each key are sent separately, and a key that
    /// makes even those wait is set apart.
    fn without_slow_keys(&self, part: Vec<Waiter>, parts: &mut VecDeque<Vec<Waiter>>) {
        self.database.batches().given_up.inc();
        let keys = by_keys(part);
        if keys.len() > 1 {
            return keys.into_iter().rev().for_each(|(_, calls)| parts.push_front(calls));
        }
        keys.into_iter().for_each(|(key, calls)| self.set_apart(key, calls, parts));
    }

    /// The same for calls that work in another database: those that are sent again go apart, the others fail. A call
    /// by itself could wait there for long, so all keys are set apart: each returns with its first quick call.
    fn set_all_apart(
        &self,
        part: Vec<Waiter>,
        mut is_sent_again: impl FnMut(&mut Waiter) -> bool,
        (failure, class): (&Failure, &str),
        parts: &mut VecDeque<Vec<Waiter>>,
    ) {
        self.database.batches().given_up.inc();
        for (key, mut calls) in by_keys(part) {
            let again = calls.extract_if(.., &mut is_sent_again).collect();
            self.set_apart(key, again, parts);
            fail(self.database, self.lane, calls, failure, class);
        }
    }

    fn set_apart(&self, key: Key, mut calls: Vec<Waiter>, parts: &mut VecDeque<Vec<Waiter>>) {
        // If the calls went one by one, later ones of the key are still among the parts.
        for part in parts.iter_mut() {
            calls.extend(part.extract_if(.., |waiter| waiter.key() == key));
        }
        parts.retain(|part| !part.is_empty());
        start_task(self.database, self.lane, self.lane.set_apart(key, calls));
    }

    /// Has these calls of a failed batch sent again, each by itself.
    fn one_by_one(&self, calls: Vec<Waiter>, failure: &Failure, parts: &mut VecDeque<Vec<Waiter>>) {
        self.database.batches().broken.inc();
        if self.lane.note_broken(true) {
            tracing::warn!(calls = calls.len(), cause = %failure, "batch failed; retrying calls one by one");
        }
        calls.into_iter().rev().for_each(|waiter| parts.push_front(vec![waiter]));
    }

    /// Fails a part, and what is left of a batch that is repeated while the database is unavailable.
    fn fail_with_repeats(
        &self,
        mut part: Vec<Waiter>,
        failure: &Failure,
        class: &str,
        parts: &mut VecDeque<Vec<Waiter>>,
    ) {
        if self.repeats && matches!(failure, Failure::Unavailable { .. }) {
            part.extend(parts.drain(..).flatten());
        }
        fail(self.database, self.lane, part, failure, class);
    }
}
