//! Watches the shards behind a router: asks for one that answers nothing, and for one that is unavailable until it is
//! back. The question goes through the router, on a connection of its own, so that no call waits for a dead shard.
//!
//! The router itself is not its concern (`caretaker`): while that does not answer, nothing is known of the shards.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connect::session::Session;
use super::connect::target::Wanted;
use super::onward::Cluster;
use super::pool::Database;
use super::shards::{Shard, Shards};
use super::stubs;
use crate::limits;

/// What was found out about a shard.
enum Finding {
    Useful,
    Useless(String),
    /// The router did not answer.
    Unknown,
}

/// A shard, and what is known of it.
struct Watched {
    shard: Arc<Shard>,
    /// How many statements were answered at the last turn.
    progress: Option<u64>,
    /// The question that is under way.
    is_asked: bool,
    /// It is not asked before this.
    next: Instant,
    /// A connection to the router from the last question.
    client: Option<Client>,
}

impl Database {
    /// Watches the shards, if there are any. Runs until it is dropped.
    pub async fn watch_shards(self: Arc<Self>) {
        match self.shards() {
            Some(shards) => self.watch(shards).await,
            None => std::future::pending().await,
        }
    }

    async fn watch(self: &Arc<Self>, shards: &Shards) {
        let now = Instant::now();
        let watched = |shard: &Arc<Shard>| Watched {
            shard: Arc::clone(shard),
            progress: None,
            is_asked: false,
            next: now,
            client: None,
        };
        let mut all: Vec<_> = shards.all().iter().map(watched).collect();
        let mut questions = JoinSet::new();
        let mut turn = interval(limits::SHARD_WATCH_INTERVAL);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turn.tick() => {
                    for (index, watched) in all.iter_mut().enumerate() {
                        if watched.is_due() {
                            questions.spawn(ask(Arc::clone(self), index, watched.begin()));
                        }
                    }
                }
                () = shards.failed() => turn.reset_immediately(),
                Some(Ok((index, finding, client))) = questions.join_next() => {
                    if let Some(watched) = all.get_mut(index) {
                        watched.end(finding, client);
                    }
                }
            }
        }
    }
}

impl Watched {
    /// Whether it has to be asked: it is unavailable, or no statement was answered since the last turn.
    fn is_due(&mut self) -> bool {
        let before = std::mem::replace(&mut self.progress, self.shard.progress());
        let is_silent = before.is_some() && before == self.progress;
        (is_silent || !self.shard.is_available()) && !self.is_asked && Instant::now() >= self.next
    }

    fn begin(&mut self) -> (u32, Option<Client>) {
        self.is_asked = true;
        self.next = Instant::now() + limits::SHARD_PROBE_INTERVAL;
        (self.shard.partition(), self.client.take())
    }

    fn end(&mut self, finding: Finding, client: Option<Client>) {
        self.is_asked = false;
        self.client = client;
        match finding {
            Finding::Useful => {
                self.shard.recover();
                // Kept only as long as it is needed: Postgres's connections are few.
                self.client = None;
            }
            Finding::Useless(cause) => self.shard.fail(&cause),
            Finding::Unknown => {}
        }
    }
}

/// Asks for a shard. Returns the connection if it can be used again.
async fn ask(
    database: Arc<Database>,
    index: usize,
    (partition, client): (u32, Option<Client>),
) -> (usize, Finding, Option<Client>) {
    let client = match client.filter(|client| !client.is_closed()) {
        Some(client) => client,
        None => {
            let opener = database.opener();
            match timeout(limits::PROBE_TIMEOUT, opener.target().open(Wanted::Anything, &Session::ROUTER)).await {
                Ok(Ok(opened)) => opened.client,
                Ok(Err(_)) | Err(_) => return (index, Finding::Unknown, None),
            }
        }
    };
    let sql = stubs::question(Cluster::Calls);
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    match timeout(limits::SHARD_PROBE_TIMEOUT, client.query_typed_one(&sql, &[(&partition, Type::INT4)])).await {
        Ok(Ok(row)) if row.try_get(0).unwrap_or(false) => (index, Finding::Useful, Some(client)),
        Ok(Ok(_)) => (index, Finding::Useless("it is a standby, which accepts no writes".to_owned()), Some(client)),
        Ok(Err(error)) => match error.as_db_error() {
            Some(reported) => (index, Finding::Useless(stubs::cause(reported.message())), Some(client)),
            None => (index, Finding::Unknown, None),
        },
        // The router ends the session soon after its connection was closed (`client_connection_check_interval`).
        Err(_) => {
            let cause = format!("no answer within {} ms", limits::SHARD_PROBE_TIMEOUT.as_millis());
            (index, Finding::Useless(cause), None)
        }
    }
}
