//! The caretaker: the one task that opens the pool's connections and finds out whether the database is usable. It
//! probes on a separate connection, because those of the pool may all be busy without a failure. It opens missing
//! connections and replaces old ones, off the path of requests, for as long as the node runs.
//!
//! It never waits for a connection that is being opened: a separate task opens each, however slow the network is.

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::connect::open::{Cause, Opened, Unreachable, check};
use super::connect::session::Session;
use super::filling::Filling;
use super::pool::Database;
use crate::limits;

/// The result of a probe.
enum Finding {
    /// It answers, and accepts the calls.
    Useful,
    /// There was no connection to probe with.
    Unknown,
    Useless(Cause),
}

struct Caretaker<'a> {
    database: &'a Database,
    /// The connection for probes.
    probe: Option<Opened>,
    /// Connections for probes that are being opened. A new one begins each turn, because the address may have changed.
    reaching: JoinSet<Result<Opened, Unreachable>>,
    /// No connection for probes is opened before this.
    next_probe: Instant,
    /// Whether the database was usable at the last probe.
    useful: bool,
    /// Opens the connections for calls.
    filling: Filling,
    /// Opens those for batches.
    batch_filling: Filling,
    /// Postgres has no connection left: those there are are kept for calls.
    wanting: bool,
    /// Since when a connection has been requested without any answer.
    silent_since: Option<Instant>,
}

impl Database {
    /// Probes the database, and keeps the pool full and young. Runs until it is dropped.
    pub async fn look_after(&self) {
        let (connections, for_batches) = (self.connections(), self.batch_connections());
        let mut caretaker = Caretaker {
            database: self,
            probe: None,
            reaching: JoinSet::new(),
            next_probe: Instant::now(),
            useful: self.is_ready(),
            filling: Filling::new(connections, self.opener()),
            batch_filling: Filling::new(for_batches, self.batch_opener()),
            wanting: false,
            silent_since: None,
        };
        let mut turn = interval(limits::POOL_PROBE_INTERVAL);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turn.tick() => caretaker.check().await,
                () = connections.lost() => {
                    caretaker.filling.lost();
                    caretaker.check().await;
                }
                () = for_batches.lost() => {
                    caretaker.batch_filling.lost();
                    caretaker.check().await;
                }
                Some(reached) = caretaker.reaching.join_next() => caretaker.reached(reached).await,
                Some(opened) = caretaker.filling.next() => caretaker.opened(opened),
                Some(opened) = caretaker.batch_filling.next() => caretaker.opened(opened),
            }
            if caretaker.useful {
                caretaker.filling.begin();
                // A batch can be sent on a connection for calls, but not the reverse.
                if connections.size() > 0 {
                    caretaker.batch_filling.begin();
                }
            }
            caretaker.listen();
        }
    }
}

impl Caretaker<'_> {
    /// Probes the database, and begins to open a connection for probes if there is none.
    async fn check(&mut self) {
        match self.ask().await {
            Finding::Useful => {
                self.silent_since = None;
                self.recover();
            }
            Finding::Useless(cause) => self.fail(&cause),
            Finding::Unknown => self.doubt_silence(),
        }
        let for_calls_alone = self.wanting && self.useful;
        let may = self.probe.is_none() && !for_calls_alone && Instant::now() >= self.next_probe;
        if may && self.reaching.len() < limits::PROBES_MAX {
            let opener = self.database.opener().clone();
            self.reaching.spawn(async move { opener.target().open(opener.calls(), &Session::CALLS).await });
        }
    }

    /// Notes since when a connection has been requested.
    fn listen(&mut self) {
        if self.silent_since.is_none() && (!self.reaching.is_empty() || self.filling.is_opening()) {
            self.silent_since = Some(Instant::now());
        }
    }

    /// Handles the case that there is no connection to probe with, because all are in use. If neither a call nor a
    /// request for a connection is answered for as long as a probe may take, the database counts as silent.
    fn doubt_silence(&mut self) {
        if self.database.health().take_answered() {
            self.silent_since = None;
        } else if self.silent_since.is_some_and(|since| since.elapsed() >= limits::PROBE_TIMEOUT)
            && self.database.is_ready()
        {
            self.fail(&Cause::Silent(limits::PROBE_TIMEOUT));
        }
    }

    async fn ask(&mut self) -> Finding {
        if let Some(probe) = &self.probe {
            match question(&probe.client, self.database).await {
                Finding::Unknown => self.probe = None,
                Finding::Useful => return Finding::Useful,
                Finding::Useless(cause) => {
                    self.probe = None;
                    return Finding::Useless(cause);
                }
            }
        }
        self.ask_one_of_the_pool().await
    }

    /// Probes on an idle connection of the pool while there is none for probes. A closed one proves nothing about the
    /// others.
    async fn ask_one_of_the_pool(&self) -> Finding {
        while let Some(borrowed) = self.database.connections().try_get() {
            match question(&borrowed, self.database).await {
                Finding::Useful => return Finding::Useful,
                Finding::Unknown => borrowed.discard(),
                Finding::Useless(cause) => {
                    borrowed.discard();
                    return Finding::Useless(cause);
                }
            }
        }
        Finding::Unknown
    }

    async fn reached(&mut self, reached: Result<Result<Opened, Unreachable>, JoinError>) {
        if let Ok(reached) = &reached {
            self.hear(reached.as_ref().err());
        }
        match reached {
            Ok(Ok(probe)) => {
                self.probe = Some(probe);
                self.reaching = JoinSet::new();
                self.filling.no_pause();
                self.batch_filling.no_pause();
                self.database.connections().sweep();
                self.database.batch_connections().sweep();
                self.recover();
            }
            Ok(Err(error)) if self.database.is_ready() => self.doubt(&error).await,
            // It was unavailable before. If the task panicked, the next turn begins another one.
            Ok(Err(_)) | Err(_) => {}
        }
    }

    /// No new connection can be opened; the existing ones may still work.
    async fn doubt(&mut self, error: &Unreachable) {
        match self.ask_one_of_the_pool().await {
            Finding::Useless(cause) => self.fail(&cause),
            Finding::Unknown if self.database.connections().size() == 0 || !error.is_refusal() => self.fail(error),
            Finding::Useful | Finding::Unknown => self.next_probe = Instant::now() + limits::POOL_FILL_PAUSE_MAX,
        }
    }

    /// Notes that a request for a connection was answered.
    fn hear(&mut self, error: Option<&Unreachable>) {
        if error.is_none_or(Unreachable::is_refusal) {
            self.silent_since = None;
        }
    }

    fn opened(&mut self, opened: Result<(), Unreachable>) {
        self.hear(opened.as_ref().err());
        if let Err(error) = opened {
            return self.not_opened(&error);
        }
        if self.database.is_full() {
            self.wanting = false;
            self.database.note_full();
        }
        self.recover();
    }

    /// Handles a connection that could not be opened.
    fn not_opened(&mut self, error: &Unreachable) {
        self.wanting = error.is_want_of_connections();
        if self.wanting {
            self.probe = None;
            self.database.spare();
        }
        if self.database.connections().size() > 0 {
            self.database.note_short(error);
            return;
        }
        let wanting = self.wanting;
        self.fail(error);
        // If it has no connection left it is running: calls are refused until a connection is opened.
        (self.useful, self.wanting) = (wanting, wanting);
    }

    /// Notes that the database is usable. Calls resume once there is a connection for them.
    fn recover(&mut self) {
        self.useful = true;
        if self.database.connections().size() > 0 {
            self.database.health().recover();
        }
    }

    /// Notes that it is unusable: calls are refused at once, and no connection to it is used again.
    fn fail(&mut self, cause: &impl std::fmt::Display) {
        (self.useful, self.wanting, self.next_probe) = (false, false, Instant::now());
        self.silent_since = None;
        let database = self.database;
        if database.health().fail(cause) {
            // Connections to a silent database look alive. Those in use end by their timeouts.
            database.connections().give_up();
            database.batch_connections().give_up();
            self.filling.give_up();
            self.batch_filling.give_up();
        }
    }
}

async fn question(client: &tokio_postgres::Client, database: &Database) -> Finding {
    let opener = database.opener();
    let calls = opener.target().asks(opener.calls());
    match timeout(limits::PROBE_TIMEOUT, check(client, calls)).await {
        Ok(Ok(())) => Finding::Useful,
        // The connection was closed: the next one shows whether the database is usable.
        Ok(Err(Cause::Refused(_))) => Finding::Unknown,
        Ok(Err(cause)) => Finding::Useless(cause),
        Err(_) => Finding::Useless(Cause::Silent(limits::PROBE_TIMEOUT)),
    }
}
