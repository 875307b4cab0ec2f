//! A call that waits in a `lane`, and its key: the argument that names what it works on. Two calls may have to wait for
//! each other when their keys are equal; keys are only compared.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::carried::Carried;
use super::passage::{Passage, UnderWay};
use super::procedure::Procedure;
use crate::contract::{Rows, Value};
use crate::failure::Failure;
use crate::limits;
use crate::metrics::ProcedureMetrics;

/// A call that waits to be sent, or was sent.
pub(super) struct Waiter {
    /// Identifies it on its lane.
    ticket: u64,
    procedure: Arc<Procedure>,
    arguments: Vec<Value>,
    /// It is sent before this, or not at all.
    deadline: Instant,
    joined: Instant,
    /// When it was first sent.
    sent: Option<Instant>,
    /// The statement that carries it, if that carries others too.
    batch: Option<UnderWay>,
    outcome: oneshot::Sender<Carried>,
}

/// The argument that identifies what a call works on.
#[derive(Debug, Clone)]
pub(super) struct Key(Value);

impl Waiter {
    /// Creates a call without a ticket; the lane that it joins assigns one.
    pub(super) fn new(
        procedure: &Arc<Procedure>,
        arguments: Vec<Value>,
        joined: Instant,
        outcome: oneshot::Sender<Carried>,
    ) -> Self {
        let deadline = joined + limits::ACQUIRE_TIMEOUT;
        let procedure = Arc::clone(procedure);
        Self { ticket: 0, procedure, arguments, deadline, joined, sent: None, batch: None, outcome }
    }

    /// Identifies it on its lane.
    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Sets its ticket on the lane that it joins.
    pub(super) fn set_ticket(&mut self, ticket: u64) {
        self.ticket = ticket;
    }

    /// The procedure that it calls.
    pub(super) fn procedure(&self) -> &Arc<Procedure> {
        &self.procedure
    }

    /// The arguments of the call.
    pub(super) fn arguments(&self) -> &[Value] {
        &self.arguments
    }

    /// Its arguments, for a caller that waits no longer.
    pub(super) fn into_arguments(self) -> Vec<Value> {
        self.arguments
    }

    /// It is sent before this, or not at all.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Records that it is sent, perhaps again; only the first time counts as the end of its wait.
    pub(super) fn is_sent(&mut self, counted: &ProcedureMetrics, now: Instant, batch: Option<UnderWay>) {
        self.batch = batch;
        if self.sent.is_none() {
            counted.wait.took(now - self.joined);
            self.sent = Some(now);
        }
    }

    /// Counts its outcome, by the class of its SQLSTATE.
    pub(super) fn count(&self, counted: &ProcedureMetrics, now: Instant, class: &str) {
        match self.sent {
            Some(sent) => counted.ended(now - sent, class),
            None => counted.unsent(),
        }
    }

    /// Identifies what it works on.
    pub(super) fn key(&self) -> Key {
        let key = self.procedure.batch.as_ref().map(|form| form.key).and_then(|key| {
            let argument = self.arguments.get(key.index)?;
            Some(if key.is_uuid { digits(argument) } else { argument.clone() })
        });
        // Every call on a lane has a key: its arguments were checked, and its procedure has a batch form.
        Key(key.unwrap_or(Value::Null))
    }

    /// Whether it has the argument by which two tries of it are one transaction: to send it again is harmless.
    pub(super) fn may_repeat(&self) -> bool {
        let argument = self.procedure.batch.as_ref().and_then(|form| self.arguments.get(form.retry?));
        argument.is_some_and(|argument| *argument != Value::Null)
    }

    /// Whether it can go in one statement with calls of this procedure.
    pub(super) fn is_of(&self, procedure: &Arc<Procedure>) -> bool {
        Arc::ptr_eq(&self.procedure, procedure) || self.procedure.is_same_as(procedure)
    }

    /// Bytes of its arguments.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |value: &Value| match value {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => size_of::<i64>(),
        };
        self.arguments.iter().map(bytes).sum()
    }

    /// Whether its caller no longer waits.
    pub(super) fn is_alone(&self) -> bool {
        self.outcome.is_closed()
    }

    /// Sends the outcome to its caller, which may no longer wait.
    pub(super) fn answer(self, outcome: Result<Rows, Failure>) {
        let passage = Passage::of(self.joined, self.sent, self.batch);
        let _ = self.outcome.send(Carried { outcome, passage, arguments: Some(self.arguments) });
    }
}

/// The calls of each key, in their order.
pub(super) fn by_keys(part: Vec<Waiter>) -> Vec<(Key, Vec<Waiter>)> {
    let mut keys: Vec<(Key, Vec<Waiter>)> = Vec::new();
    for waiter in part {
        let key = waiter.key();
        match keys.iter_mut().find(|(other, _)| *other == key) {
            Some((_, calls)) => calls.push(waiter),
            None => keys.push((key, vec![waiter])),
        }
    }
    keys
}

/// The digits of a uuid in lower case, so that all its spellings give the same key.
fn digits(uuid: &Value) -> Value {
    match uuid {
        Value::Text(text) => {
            let digits = text.chars().filter(char::is_ascii_hexdigit);
            Value::Text(digits.map(|digit| digit.to_ascii_lowercase()).collect())
        }
        other => other.clone(),
    }
}

/// Compares floats by their bits: a key must equal itself, and NaN does not.
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
            Value::Text(value) | Value::Json(value) => value.hash(state),
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
