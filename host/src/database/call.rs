//! One call: alone, in one statement and one awaited round trip, or on the `lane` of its procedure. A sent call runs in
//! a separate task and its outcome is awaited, even if the client has disconnected: dropping the future of a query does
//! not cancel the query, so its effect would go uncounted.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::batch::start_task;
use super::carried::Carried;
use super::connect::pooler::Way as Path;
use super::error::Error;
use super::exchange::alone;
use super::lane::{Lane, Left};
use super::lanes::Way;
use super::onward::Cluster;
use super::passage::Passage;
use super::pool::{Client, Database};
use super::procedure::Procedure;
use super::router::on;
use super::shards::Shard;
use super::trial::chosen;
use super::waiter::Waiter;
use crate::contract::{Rows, Value};
use crate::failure::Failure;
use crate::limits;
use crate::metrics::{ProcedureMetrics, SUCCEEDED};

impl Database {
    /// Calls a procedure with arguments that fit it ([`Procedure::check`]): alone, or with others if its batch form was
    /// granted.
    ///
    /// # Errors [`Failure::Unavailable`] when the database could not be reached or did not answer in time: the call is
    /// then recorded completely or not at all. [`Failure::Raised`] when the procedure raised an error: nothing is
    /// recorded. [`Failure::Procedure`] when the procedure has changed: nothing is recorded; or when it returned a
    /// value that the contract cannot carry: then the call is recorded. [`Failure::Shed`] when too many calls wait for
    /// its batch form or its key.
    pub async fn call(self: &Arc<Self>, procedure: &Arc<Procedure>, arguments: Vec<Value>) -> Result<Rows, Failure> {
        self.carry_out(procedure, arguments).await.outcome
    }

    /// As [`Self::call`]. Also returns how the call went, and its arguments.
    pub async fn carry_out(self: &Arc<Self>, procedure: &Arc<Procedure>, mut arguments: Vec<Value>) -> Carried {
        // Only one that any shard can answer has others.
        let begun = procedure.is_anywhere().then(Instant::now);
        loop {
            let shard = self.shard(procedure, &arguments);
            let mut carried = self.carry_out_on(shard, procedure, arguments).await;
            let is_lost = matches!(&carried.outcome, Err(Failure::Unavailable { .. }));
            let may_repeat = is_lost
                && begun.is_some_and(|begun| begun.elapsed() < limits::ACQUIRE_TIMEOUT)
                && shard.is_some_and(|shard| self.shards().is_some_and(|shards| shards.may_replace(shard)));
            match carried.arguments.take_if(|_| may_repeat) {
                Some(again) => arguments = again,
                None => return carried,
            }
        }
    }

    async fn carry_out_on(
        self: &Arc<Self>,
        shard: Option<&Arc<Shard>>,
        procedure: &Arc<Procedure>,
        arguments: Vec<Value>,
    ) -> Carried {
        let refused = shard.and_then(|shard| shard.check().err());
        match (self.lanes().way(procedure, &arguments), refused) {
            (Way::Together(lane), None) => self.call_on_lane(lane, procedure, arguments).await,
            (Way::Alone(counted), None) => {
                let carried = self.detached(counted, procedure, shard, arguments).await;
                self.note_outcome(shard, carried.outcome.as_ref().err());
                carried
            }
            (way, Some(failure)) => {
                way.counted().unsent();
                Carried::unsent(failure, Instant::now(), arguments)
            }
        }
    }

    /// Executes a call on the lane of its procedure.
    async fn call_on_lane(
        self: &Arc<Self>,
        lane: Arc<Lane>,
        procedure: &Arc<Procedure>,
        arguments: Vec<Value>,
    ) -> Carried {
        let joined = Instant::now();
        let unsent = |failure, arguments| {
            lane.counted().unsent();
            Carried::unsent(failure, joined, arguments)
        };
        // While the database is unavailable, no call waits for it.
        if let Err(failure) = self.check_ready() {
            self.health().note_outcome(Some(&failure));
            return unsent(failure, arguments);
        }
        let (sender, mut outcome) = oneshot::channel();
        let waiter = Waiter::new(procedure, arguments, joined, sender);
        let deadline = waiter.deadline();
        let (ticket, start) = match lane.join(waiter) {
            Ok(joined) => joined,
            Err(arguments) => return unsent(Failure::Shed, arguments),
        };
        start_task(self, &lane, start);
        let lost = |_| Carried::lost("a batch was lost".to_owned());
        if let Ok(outcome) = timeout_at(deadline, &mut outcome).await {
            return outcome.unwrap_or_else(lost);
        }
        let late = |why| self.unavailable(format!("not sent within {} ms{why}", limits::ACQUIRE_TIMEOUT.as_millis()));
        match lane.leave(ticket) {
            Left::Together(arguments) => {
                let failure = late("");
                self.health().note_outcome(Some(&failure));
                unsent(failure, arguments)
            }
            Left::Apart(arguments) => unsent(late(": an earlier call of its key is under way"), arguments),
            // It was sent, so its outcome is awaited; the lane bounds the wait.
            Left::Sent => outcome.await.unwrap_or_else(lost),
        }
    }

    async fn detached(
        &self,
        counted: Arc<ProcedureMetrics>,
        procedure: &Arc<Procedure>,
        shard: Option<&Arc<Shard>>,
        arguments: Vec<Value>,
    ) -> Carried {
        let planned = Instant::now();
        let (connection, place) = match self.acquire_for(shard).await {
            Ok(acquired) => acquired,
            Err(failure) => {
                counted.unsent();
                return Carried::unsent(failure, planned, arguments);
            }
        };
        let sent = Instant::now();
        counted.wait.took(sent - planned);
        let (called, shard) = (Arc::clone(procedure), shard.cloned());
        let task = self.calls().spawn(async move {
            let outcome = run(connection, shard.as_ref(), &called, &arguments, sent, &counted).await;
            drop(place);
            (outcome, arguments)
        });
        match task.await {
            Ok((outcome, arguments)) => Carried {
                outcome: outcome.map_err(|error| self.failure(error, procedure)),
                passage: Passage::of(planned, Some(sent), None),
                arguments: Some(arguments),
            },
            Err(panic) => Carried::lost(panic.to_string()),
        }
    }
}

async fn run(
    connection: Client,
    shard: Option<&Arc<Shard>>,
    procedure: &Procedure,
    arguments: &[Value],
    sent: Instant,
    counted: &ProcedureMetrics,
) -> Result<Rows, Error> {
    // Behind a pooler no session keeps a choice: the router chooses.
    let shard = shard.filter(|_| !procedure.is_anywhere() || *connection.way() == Path::Direct);
    let exchange = async {
        if let Some(shard) = shard.filter(|_| procedure.is_anywhere()) {
            chosen(&connection, shard).await?;
        }
        alone(&connection, procedure, arguments, sent + limits::CALL_TIMEOUT).await
    };
    let outcome = on(shard, &connection, Cluster::Calls, exchange).await;
    counted.ended(sent.elapsed(), outcome.as_ref().map_or_else(Error::class, |_| SUCCEEDED));
    outcome.inspect_err(|error| drop(error.spare(connection)))
}
