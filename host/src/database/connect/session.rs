//! The timeouts of a session or, through a pooler, of the transaction of a call.

use std::time::Duration;

use super::pooler::{Survey, Way};
use crate::limits;

/// The name by which Postgres shows connections (`application_name`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Application {
    name: String,
    /// The operator chose it, so it is used as it is.
    is_given: bool,
}

impl Application {
    /// The name that the operator chose, or else that of the program.
    pub(super) fn new(given: Option<&str>) -> Self {
        Self { name: given.unwrap_or("galo").to_owned(), is_given: given.is_some() }
    }

    /// `galo/NODE`, unless the operator chose another one.
    pub(super) fn of_node(&self, node: &str) -> Self {
        if self.is_given { self.clone() } else { Self { name: format!("galo/{node}"), is_given: false } }
    }

    /// As a connection starts with it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name of a session, as SQL.
    fn session(&self, suffix: &str) -> String {
        let suffix = if self.is_given { "" } else { suffix };
        let escaped = self.name.replace('\\', "\\\\").replace('\'', "''");
        format!("E'{escaped}{suffix}'")
    }
}

/// The settings of a session, which override the defaults of its role: Postgres itself ends statements that take too
/// long, and idle connections stay open. Behind a pooler, transactions have the timeouts instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) struct Session {
    /// What Postgres shows behind the name of the node (`application_name`).
    suffix: &'static str,
    statement: Duration,
    lock: Duration,
    /// Whether the timeouts of the role may be used instead.
    role_may: bool,
}

impl Session {
    /// For calls that are not batched, and for the probe.
    pub(in crate::database) const CALLS: Self =
        Self { suffix: "", statement: limits::STATEMENT_TIMEOUT, lock: limits::LOCK_TIMEOUT, role_may: true };
    /// For batches: a locked or slow row must not delay the calls of others.
    pub(in crate::database) const BATCHES: Self = Self {
        suffix: " batches",
        statement: limits::BATCH_STATEMENT_TIMEOUT,
        lock: limits::BATCH_LOCK_TIMEOUT,
        role_may: false,
    };
    /// For batches of procedures that also work in other databases. A timeout does not prove what happened there, so it
    /// is not a means to find the slow call.
    pub(in crate::database) const REMOTE_BATCHES: Self = Self { statement: limits::STATEMENT_TIMEOUT, ..Self::BATCHES };

    /// For both on a router, which must not end a statement before its shard does.
    pub(in crate::database) const ROUTER: Self = Self {
        suffix: "",
        statement: limits::ROUTER_STATEMENT_TIMEOUT,
        lock: limits::ROUTER_STATEMENT_TIMEOUT,
        role_may: false,
    };
    /// The same for batches.
    pub(in crate::database) const ROUTER_BATCHES: Self = Self { suffix: " batches", ..Self::ROUTER };

    /// SQL that sets up a session that no pooler shares with others.
    pub(super) fn sql(self, application: &Application) -> String {
        let name = application.session(self.suffix);
        let (statement, lock) = (self.statement.as_millis(), self.lock.as_millis());
        format!(
            "SET application_name = {name}; SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_named_by_the_node_unless_the_operator_names_them() {
        let node = Application::new(None).of_node("n1");
        assert_eq!((node.name(), node.session(" batches").as_str()), ("galo/n1", "E'galo/n1 batches'"));
        let given = Application::new(Some(r"it's \ mine")).of_node("n1");
        assert_eq!((given.name(), given.session(" batches").as_str()), (r"it's \ mine", r"E'it''s \\ mine'"));
    }
}
