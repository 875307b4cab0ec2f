//! The timeouts of a session or, through a pooler, of the transaction of a call.

use std::time::Duration;

use super::pooler::{Survey, Way};
use crate::limits;

/// The settings of a session, which override the defaults of its role: Postgres itself ends statements that take too
/// long, and idle connections stay open. Behind a pooler, transactions have the timeouts instead.
#[derive(Clone, Copy)]
pub(in crate::database) struct Session {
    /// The name that Postgres shows (`application_name`).
    name: &'static str,
    statement: Duration,
    lock: Duration,
    /// Whether the timeouts of the role may be used instead.
    role_may: bool,
}

impl Session {
    /// For calls that are not batched, and for the probe.
    pub(in crate::database) const CALLS: Self =
        Self { name: "galo", statement: limits::STATEMENT_TIMEOUT, lock: limits::LOCK_TIMEOUT, role_may: true };
    /// For batches: a locked or slow row must not delay the calls of others.
    pub(in crate::database) const BATCHES: Self = Self {
        name: "galo batches",
        statement: limits::BATCH_STATEMENT_TIMEOUT,
        lock: limits::BATCH_LOCK_TIMEOUT,
        role_may: false,
    };

    /// SQL that sets up a session that no pooler shares with others.
    pub(super) fn sql(self) -> String {
        let (name, statement, lock) = (self.name, self.statement.as_millis(), self.lock.as_millis());
        format!(
            "SET application_name = '{name}'; SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
             SET idle_in_transaction_session_timeout = {statement}; SET idle_session_timeout = 0"
        )
    }

    /// How calls are sent on a connection with this survey.
    pub(super) fn way(self, survey: &Survey) -> Way {
        match survey.direct {
            true => Way::Direct,
            false => Way::Pooled { begin: (!self.role_may || !survey.missing.is_empty()).then(|| self.begin()) },
        }
    }

    /// SQL that begins a transaction with these timeouts. The last one ends it if the node stops in the middle of it.
    fn begin(self) -> String {
        let (statement, lock) = (self.statement.as_millis(), self.lock.as_millis());
        let idle = limits::STATEMENT_TIMEOUT.as_millis();
        format!(
            "BEGIN; SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; \
             SET LOCAL idle_in_transaction_session_timeout = {idle}"
        )
    }
}
