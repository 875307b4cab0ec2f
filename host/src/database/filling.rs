//! Keeps one set of connections full and young: opens what is missing and what is to take the place of one that is too
//! old, each in a task of its own, and pauses when that fails.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::connect::open::Unreachable;
use super::connections::Connections;
use super::opener::Opener;
use crate::limits;

/// What fills a set of connections.
pub(super) struct Filling {
    connections: Arc<Connections>,
    opener: Opener,
    /// Connections that are being made.
    opening: JoinSet<Result<(), Unreachable>>,
    /// How often making one failed, since one was made.
    failures: u32,
    /// Not before this is it tried again.
    next: Instant,
    /// When an old one went for one that is not there yet.
    let_go: Option<Instant>,
}

impl Filling {
    pub(super) fn new(connections: &Arc<Connections>, opener: &Opener) -> Self {
        let (connections, opener) = (Arc::clone(connections), opener.clone());
        Self { connections, opener, opening: JoinSet::new(), failures: 0, next: Instant::now(), let_go: None }
    }

    /// Begins what there is to do.
    pub(super) fn begin(&mut self) {
        let connections = &self.connections;
        if connections.is_closed() || Instant::now() < self.next {
            return;
        }
        if connections.size() > connections.wanted() && self.opening.is_empty() {
            // There were to be more.
            connections.let_an_old_one_go();
        }
        let (size, wanted, under_way) = (connections.size(), connections.wanted(), self.opening.len());
        let count = match wanted.saturating_sub(size + under_way) {
            // The one that is too old goes when this one is there.
            0 => usize::from(under_way == 0 && size == wanted && connections.has_an_old_one()),
            // One tries first when the last one failed.
            _ if self.failures > 0 => usize::from(under_way == 0),
            missing => missing,
        };
        for _ in 0..count {
            self.opening.spawn(self.opener.clone().add_one());
        }
    }

    /// Waits until making one has ended. The error is why one is missing. `None` when none is being made.
    pub(super) async fn next(&mut self) -> Option<Result<(), Unreachable>> {
        let opened = self.opening.join_next().await?;
        Some(self.opened(opened))
    }

    /// Whether one is being made.
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
            // It was given up.
            Err(_) => Ok(()),
        }
    }

    fn not_opened(&mut self, error: Unreachable) -> Result<(), Unreachable> {
        let pause = limits::POOL_FILL_PAUSE * 2_u32.saturating_pow(self.failures);
        self.next = Instant::now() + pause.min(limits::POOL_FILL_PAUSE_MAX);
        self.failures = (self.failures + 1).min(16);
        let (size, wanted) = (self.connections.size(), self.connections.wanted());
        // When there is no room for an old one and the one in its place, the old one goes first. Of a pool that is
        // short the next one goes after a pause: somebody else may have taken the room of the one before. The last one
        // never goes.
        let pausing = self.let_go.is_some_and(|at| at.elapsed() < limits::POOL_FILL_PAUSE_MAX);
        let goes = error.is_want_of_connections() && (size >= wanted || (size > 1 && !pausing));
        if goes && self.connections.let_an_old_one_go() {
            (self.let_go, self.next) = (Some(Instant::now()), Instant::now());
        }
        if size < wanted { Err(error) } else { Ok(()) }
    }

    /// A connection was just made: the next one may be at once.
    pub(super) fn no_pause(&mut self) {
        (self.failures, self.next) = (0, Instant::now());
    }

    /// A connection was lost, perhaps the last one: whether there is another one is tried at once; by one try when the
    /// last one failed.
    pub(super) fn lost(&mut self) {
        (self.failures, self.next) = (self.failures.min(1), Instant::now());
    }

    /// Gives up what is being made.
    pub(super) fn give_up(&mut self) {
        self.opening = JoinSet::new();
    }
}
