//! The caretaker: the one task that makes the pool's connections and finds out whether the database is of use. It
//! probes with a connection of its own, because the pool's may all be busy without anything being wrong; it opens what
//! is missing and what is too old, off the way of requests. Runs beside a node for as long as it lives.
//!
//! It never waits for a connection that is being made: each is made by a task of its own, however far the database is.

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::connect::open::{Cause, Opened, Unreachable, check};
use super::connect::session::Session;
use super::filling::Filling;
use super::pool::Database;
use crate::limits;

/// What is known of the database after it was asked.
enum Finding {
    /// It answers, and takes what is called.
    Useful,
    /// Nobody could be asked.
    Unknown,
    Useless(Cause),
}

struct Caretaker<'a> {
    database: &'a Database,
    /// To ask with.
    probe: Option<Opened>,
    /// Probes that are being made. A new one begins each turn: the address may be another one by then.
    reaching: JoinSet<Result<Opened, Unreachable>>,
    /// Not before this is a probe made.
    next_probe: Instant,
    /// Whether the database was of use when it was last asked.
    useful: bool,
    /// Makes the connections that calls go on.
    filling: Filling,
    /// Makes those of batches.
    batch_filling: Filling,
    /// Postgres has no connection left: what there is, is for calls.
    wanting: bool,
    /// Since when a connection has been asked for without a sign of life.
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
                // A batch can go on a connection for calls, not the other way round.
                if connections.size() > 0 {
                    caretaker.batch_filling.begin();
                }
            }
            caretaker.listen();
        }
    }
}

impl Caretaker<'_> {
    /// Finds out whether the database is of use.
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

    /// Notes since when a connection has been asked for.
    fn listen(&mut self) {
        if self.silent_since.is_none() && (!self.reaching.is_empty() || self.filling.is_opening()) {
            self.silent_since = Some(Instant::now());
        }
    }

    /// Nobody can be asked, because every connection is in use. When nothing comes back, neither to a call nor to who
    /// asks for a connection, for as long as a probe may take, it is as silent as if it had been asked.
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

    /// While there is no probe, an idle connection answers as well. One that is closed says nothing of the others.
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
            // It was unavailable before. A task of ours does not panic, and if it does, the next one is made.
            Ok(Err(_)) | Err(_) => {}
        }
    }

    /// No new connection is to be had: those that there are may be fine all the same.
    async fn doubt(&mut self, error: &Unreachable) {
        match self.ask_one_of_the_pool().await {
            Finding::Useless(cause) => self.fail(&cause),
            Finding::Unknown if self.database.connections().size() == 0 || !error.is_refusal() => self.fail(error),
            Finding::Useful | Finding::Unknown => self.next_probe = Instant::now() + limits::POOL_FILL_PAUSE_MAX,
        }
    }

    /// Who asked for a connection has one, or an error.
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

    /// A connection is missing.
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
        // It lives: it is not asked again before a connection is made.
        (self.useful, self.wanting) = (wanting, wanting);
    }

    /// The database is of use. It is called once there is a connection to call it on.
    fn recover(&mut self) {
        self.useful = true;
        if self.database.connections().size() > 0 {
            self.database.health().recover();
        }
    }

    /// It is of no use: calls are refused at once, and no connection to it is used again.
    fn fail(&mut self, cause: &impl std::fmt::Display) {
        (self.useful, self.wanting, self.next_probe) = (false, false, Instant::now());
        self.silent_since = None;
        let database = self.database;
        if database.health().fail(cause) {
            // Connections to a database that is silent look alive. Those in use end by their own timeout.
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
        // It was closed: whether there is another one, the next one finds out.
        Ok(Err(Cause::Refused(_))) => Finding::Unknown,
        Ok(Err(cause)) => Finding::Useless(cause),
        Err(_) => Finding::Useless(Cause::Silent(limits::PROBE_TIMEOUT)),
    }
}
