//! Keeps one set of connections full and young: opens missing connections and replacements for those that are too old,
//! each in a separate task, and pauses after a failure.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::connect::open::Unreachable;
use super::connections::Connections;
use super::opener::Opener;
use crate::limits;

/// Fills a set of connections.
pub(super) struct Filling {
    connections: Arc<Connections>,
    opener: Opener,
    /// Tasks that are opening a connection.
    opening: JoinSet<Result<(), Unreachable>>,
    /// Failed attempts since the last success.
    failures: u32,
    /// The earliest time of the next attempt.
    next: Instant,
    /// When an old connection was closed for a replacement that is not open yet.
    let_go: Option<Instant>,
}

impl Filling {
    pub(super) fn new(connections: &Arc<Connections>, opener: &Opener) -> Self {
        let (connections, opener) = (Arc::clone(connections), opener.clone());
        Self { connections, opener, opening: JoinSet::new(), failures: 0, next: Instant::now(), let_go: None }
    }

    /// Starts the work that is due.
    pub(super) fn begin(&mut self) {
        let connections = &self.connections;
        if connections.is_closed() || Instant::now() < self.next {
            return;
        }
        if connections.size() > connections.wanted() && self.opening.is_empty() {
            // More connections were wanted before.
            connections.let_an_old_one_go();
        }
        let (size, wanted, under_way) = (connections.size(), connections.wanted(), self.opening.len());
        let count = match wanted.saturating_sub(size + under_way) {
            // The old connection is closed once its replacement is open.
            0 => usize::from(under_way == 0 && size == wanted && connections.has_an_old_one()),
            // After a failure, a single attempt goes first.
            _ if self.failures > 0 => usize::from(under_way == 0),
            missing => missing,
        };
        for _ in 0..count {
            self.opening.spawn(self.opener.clone().add_one());
        }
    }

    /// Waits for an attempt to end. The error is why a connection is missing. `None` when no attempt is under way.
    pub(super) async fn next(&mut self) -> Option<Result<(), Unreachable>> {
        let opened = self.opening.join_next().await?;
        Some(self.opened(opened))
    }

    /// Whether an attempt is under way.
    pub(super) fn is_opening(&self) -> bool {
        !self.opening.is_empty()
    }

    fn opened(&mut self, opened: Result<Result<(), Unreachable>, JoinError>) -> Result<(), Unreachable> {
        match opened {
            Ok(Ok(())) => {
                self.let_go = None;
                self.no_pause();
                if self.connections.size() > self.connections.wanted() {
                    self.connections.let_an_old_one_go();
                }
                Ok(())
            }
            Ok(Err(error)) => self.not_opened(error),
            // The attempt was cancelled.
            Err(_) => Ok(()),
        }
    }

    fn not_opened(&mut self, error: Unreachable) -> Result<(), Unreachable> {
        let pause = limits::POOL_FILL_PAUSE * 2_u32.saturating_pow(self.failures);
        self.next = Instant::now() + pause.min(limits::POOL_FILL_PAUSE_MAX);
        self.failures = (self.failures + 1).min(16);
        let (size, wanted) = (self.connections.size(), self.connections.wanted());
        // When the server has no room for both an old connection and its replacement, the old one is closed first. In a
        // pool that is short the next one is closed only after a pause: another client may have taken the room that the
        // previous one left. The last connection is never closed.
        let pausing = self.let_go.is_some_and(|at| at.elapsed() < limits::POOL_FILL_PAUSE_MAX);
        let goes = error.is_want_of_connections() && (size >= wanted || (size > 1 && !pausing));
        if goes && self.connections.let_an_old_one_go() {
            (self.let_go, self.next) = (Some(Instant::now()), Instant::now());
        }
        if size < wanted { Err(error) } else { Ok(()) }
    }

    /// A connection was just opened: the next attempt may start at once.
    pub(super) fn no_pause(&mut self) {
        (self.failures, self.next) = (0, Instant::now());
    }

    /// A connection was lost, perhaps the last one: the next attempt starts at once; a single one if the last attempt
    /// failed.
    pub(super) fn lost(&mut self) {
        (self.failures, self.next) = (self.failures.min(1), Instant::now());
    }

    /// Cancels the attempts that are under way.
    pub(super) fn give_up(&mut self) {
        self.opening = JoinSet::new();
    }
}
