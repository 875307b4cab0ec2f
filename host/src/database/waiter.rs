//! A call that waits in a `lane`, and its key: the argument that names what it works on. Two calls may have to wait for
//! each other when their keys are equal; nothing else is known of a key.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::procedure::{KeyArgument, Procedure};
use crate::contract::{Rows, Value};
use crate::failure::Failure;
use crate::limits;
use crate::metrics::ProcedureMetrics;

/// A call that waits for its turn, or is on its way.
pub(super) struct Waiter {
    /// Its name on its lane.
    ticket: u64,
    procedure: Arc<Procedure>,
    arguments: Vec<Value>,
    /// It is sent before this, or not at all.
    deadline: Instant,
    joined: Instant,
    /// When it was sent first.
    sent: Option<Instant>,
    outcome: oneshot::Sender<Result<Rows, Failure>>,
}

/// The argument that names what a call works on.
#[derive(Debug, Clone)]
pub(super) struct Key(Value);

impl Waiter {
    /// The lane that it joins gives it its ticket.
    pub(super) fn new(
        procedure: &Arc<Procedure>,
        arguments: Vec<Value>,
        joined: Instant,
        outcome: oneshot::Sender<Result<Rows, Failure>>,
    ) -> Self {
        let deadline = joined + limits::ACQUIRE_TIMEOUT;
        Self { ticket: 0, procedure: Arc::clone(procedure), arguments, deadline, joined, sent: None, outcome }
    }

    /// Its name on its lane.
    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Names it on the lane that it joins.
    pub(super) fn set_ticket(&mut self, ticket: u64) {
        self.ticket = ticket;
    }

    /// What it calls.
    pub(super) fn procedure(&self) -> &Arc<Procedure> {
        &self.procedure
    }

    /// What it calls it with.
    pub(super) fn arguments(&self) -> &[Value] {
        &self.arguments
    }

    /// It is sent before this, or not at all.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Notes that it is sent, perhaps again.
    pub(super) fn is_sent(&mut self, counted: &ProcedureMetrics, now: Instant) {
        if self.sent.is_none() {
            counted.wait.took(now - self.joined);
            self.sent = Some(now);
        }
    }

    /// Counts how it ended, by the class of its SQLSTATE.
    pub(super) fn count(&self, counted: &ProcedureMetrics, now: Instant, class: &str) {
        match self.sent {
            Some(sent) => counted.ended(now - sent, class),
            None => counted.unsent(),
        }
    }

    /// What it works on.
    pub(super) fn key(&self) -> Key {
        let key = self.procedure.batch.as_ref().map(|form| form.key).and_then(|key| match key {
            KeyArgument::Plain(index) => self.arguments.get(index).cloned(),
            KeyArgument::Uuid(index) => self.arguments.get(index).map(digits),
        });
        // Every call on a lane has one: its arguments were checked, and its procedure has a batch form.
        Key(key.unwrap_or(Value::Null))
    }

    /// Whether it can go in one statement with calls of this procedure.
    pub(super) fn is_of(&self, procedure: &Arc<Procedure>) -> bool {
        Arc::ptr_eq(&self.procedure, procedure) || self.procedure == *procedure
    }

    /// Bytes of its arguments.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => size_of::<i64>(),
        };
        self.arguments.iter().map(bytes).sum()
    }

    /// Whether its client has gone.
    pub(super) fn is_alone(&self) -> bool {
        self.outcome.is_closed()
    }

    /// The client may have gone meanwhile.
    pub(super) fn answer(self, outcome: Result<Rows, Failure>) {
        let _ = self.outcome.send(outcome);
    }
}

/// The digits of a uuid, in the one way of many in which it may be written.
fn digits(uuid: &Value) -> Value {
    match uuid {
        Value::Text(text) => {
            let digits = text.chars().filter(char::is_ascii_hexdigit);
            Value::Text(digits.map(|digit| digit.to_ascii_lowercase()).collect())
        }
        other => other.clone(),
    }
}

/// Floats by their bits: a key must equal itself.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
            (one, other) => one == other,
        }
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(&self.0).hash(state);
        match &self.0 {
            Value::Null => {}
            Value::Boolean(value) => value.hash(state),
            Value::Integer(value) | Value::Timestamp(value) => value.hash(state),
            Value::Float(value) => value.to_bits().hash(state),
            Value::Text(value) => value.hash(state),
            Value::Bytes(value) => value.hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_one_key_however_it_is_written() {
        let key = |text: &str| Key(digits(&Value::Text(text.to_owned())));
        let uuid = key("0190163d-8694-739b-aea5-966c26f8ad91");
        assert!(uuid == key("{0190163D8694739BAEA5966C26F8AD91}"));
        assert!(uuid != key("0190163d-8694-739b-aea5-966c26f8ad92"));
    }
}
