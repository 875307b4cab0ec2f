//! What the session of a connection has, or, through a pooler, the transaction of a call: its timeouts. Used by `open`.

use std::time::Duration;

use super::pooler::{Survey, Way};
use crate::limits;

/// What is set for a session, so that the defaults of its role do not matter: Postgres itself ends what takes too long,
/// and a connection that nobody uses stays. Behind a pooler a transaction has the timeouts instead.
#[derive(Clone, Copy)]
pub(in crate::database) struct Session {
    /// What Postgres shows of it (`application_name`).
    name: &'static str,
    statement: Duration,
    lock: Duration,
    /// Whether the timeouts that a role should have do as well.
    role_may: bool,
}

impl Session {
    /// Of the connections that calls go on, and of the probe.
    pub(in crate::database) const CALLS: Self =
        Self { name: "galo", statement: limits::STATEMENT_TIMEOUT, lock: limits::LOCK_TIMEOUT, role_may: true };
    /// Of the connections that batches go on: a locked or slow row must not hold up the calls of others.
    pub(in crate::database) const BATCHES: Self = Self {
        name: "galo batches",
        statement: limits::BATCH_STATEMENT_TIMEOUT,
        lock: limits::BATCH_LOCK_TIMEOUT,
        role_may: false,
    };

    /// Sets a session up that is the node's own.
    pub(super) fn sql(self) -> String {
        let (name, statement, lock) = (self.name, self.statement.as_millis(), self.lock.as_millis());
        format!(
            "SET application_name = '{name}'; SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
             SET idle_in_transaction_session_timeout = {statement}; SET idle_session_timeout = 0"
        )
    }

    /// How calls are sent on a connection that said this about itself.
    pub(super) fn way(self, survey: &Survey) -> Way {
        match survey.direct {
            true => Way::Direct,
            false => Way::Pooled { begin: (!self.role_may || !survey.missing.is_empty()).then(|| self.begin()) },
        }
    }

    /// Begins a transaction that has these timeouts. The last one is for a node that is stopped in the middle of it.
    fn begin(self) -> String {
        let (statement, lock) = (self.statement.as_millis(), self.lock.as_millis());
        let idle = limits::STATEMENT_TIMEOUT.as_millis();
        format!(
            "BEGIN; SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; \
             SET LOCAL idle_in_transaction_session_timeout = {idle}"
        )
    }
}
