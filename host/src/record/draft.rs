//! What `request` hands over when a request has been answered: everything that a record needs, as it was used, not yet
//! written.

use std::sync::Arc;

use super::format::{Called, FORMAT, Outcome, Plan, Record, Request, Response};
use super::observer::Observed;
use super::redaction::Redaction;
use super::times::{Times, Why};
use crate::config::Secrets;
use crate::contract::{self, Field, Value};
use crate::database::{Passage, Procedure};
use crate::guest::Digest;
use crate::limits;
use crate::members::Members;
use crate::traces::Place;

/// A request that was answered.
pub struct Draft {
    /// The handler.
    pub handler: Arc<str>,
    /// The number of the generation that decided.
    pub generation: u64,
    /// Its component.
    pub digest: Digest,
    /// Why it is kept.
    pub why: Why,
    /// Whether it is recorded; otherwise only its trace is exported, or only an observer gets it.
    pub recorded: bool,
    /// Who gets it as it is.
    pub observed: Option<Observed>,
    /// What the generations knew that may have answered: it must not be kept.
    pub secrets: Vec<Secrets>,
    /// The names of members of JSON that are no client's data.
    pub members: Arc<Members>,
    /// The trace that it belongs to.
    pub trace: Traced,
    /// The request, as the guest saw it.
    pub request: contract::Request,
    /// What `prepare` decided.
    pub planned: Option<Planned>,
    /// How the call ended.
    pub ended: Option<Ended>,
    /// The first fault of a guest.
    pub fault: Option<String>,
    /// What was answered.
    pub answer: Answer,
    /// The node had no room for it.
    pub is_shed: bool,
    /// How long the phases took.
    pub times: Times,
}

/// A request in its trace.
#[derive(Debug, Clone)]
pub struct Traced {
    /// Its trace and its caller.
    pub place: Place,
    /// The `tracestate` that it came with.
    pub state: String,
    /// Whether its spans are exported.
    pub exported: bool,
    /// When its head had been received, in nanoseconds since 1970.
    pub begun: u64,
}

/// A request that no handler answered, of which only the trace is exported.
pub struct Unhandled {
    /// Its trace.
    pub trace: Traced,
    /// Its method.
    pub method: String,
    /// Its path, if it has no route, without the parameters that must not be kept.
    pub path: Option<String>,
    /// Its route, if it has one.
    pub route: Option<Arc<str>>,
    /// The handler of the route.
    pub handler: Option<Arc<str>>,
    /// What was answered.
    pub status: u16,
    /// The stable code of the failure.
    pub failure: Option<&'static str>,
    /// From the head to the answer, in microseconds.
    pub whole: u32,
}

/// What `prepare` decided.
pub enum Planned {
    /// To reply.
    Reply,
    /// To call a procedure.
    Call {
        /// The procedure.
        procedure: Arc<Procedure>,
        /// Its arguments.
        arguments: Vec<Value>,
        /// What `respond` gets.
        carry: Vec<u8>,
    },
}

/// How a call ended.
pub struct Ended {
    /// The outcome that `respond` got; `None` when there was none to give.
    pub outcome: Option<contract::Outcome>,
    /// How it went.
    pub passage: Passage,
}

/// What was answered.
pub struct Answer {
    /// The response as it was sent.
    pub response: contract::Response,
    /// The stable code of the failure, when the host answered.
    pub failure: Option<&'static str>,
}

/// What has to be taken out of a record besides what the manifest names.
pub(super) struct Taking {
    called: Option<Arc<Procedure>>,
    secrets: Vec<Secrets>,
    members: Arc<Members>,
}

impl Taking {
    /// Takes it out.
    pub(super) fn apply(&self, redaction: &Redaction, record: &mut Record) {
        let parameters = self.called.as_ref().map_or(&[][..], |called| called.parameters());
        redaction.apply(record, parameters, &self.secrets, &self.members);
    }
}

impl Draft {
    /// The record with nothing taken out, and what has to be taken out of it before it is kept.
    pub(super) fn record(self) -> (Record, Taking) {
        let (mut signature, mut plan, mut called) = (None, None, None);
        match self.planned {
            Some(Planned::Reply) => plan = Some(Plan::Reply),
            Some(Planned::Call { procedure, arguments, carry }) => {
                signature = Some(procedure.digest().to_owned());
                plan = Some(Plan::Call(Called::of(procedure.name.clone(), arguments, carry)));
                called = Some(procedure);
            }
            None => {}
        }
        let (outcome, batch) = self.ended.map_or((None, None), |Ended { outcome, passage }| {
            (outcome.map(Outcome::of), passage.batch.map(|batch| batch.calls))
        });
        let record = Record {
            format: FORMAT,
            contract: contract::VERSION.to_string(),
            handler: self.handler.to_string(),
            generation: self.generation,
            sha256: self.digest.to_string(),
            signature,
            why: self.why,
            trace: Some(self.trace.place.trace.to_string()),
            redacted: Vec::new(),
            request: Request::of(self.request),
            plan,
            outcome,
            fault: self.fault,
            response: Response::of(self.answer.response),
            failure: self.answer.failure.map(str::to_owned),
            times: self.times,
            batch,
        };
        (record, Taking { called, secrets: self.secrets, members: self.members })
    }

    /// Bytes that it holds, about: of what may be large.
    pub(super) fn bytes(&self) -> usize {
        let fields = |fields: &[Field]| fields.iter().map(|field| field.name.len() + field.value.len()).sum::<usize>();
        let values = |values: &[Value]| values.iter().map(bytes_of).sum::<usize>();
        let contract::Request { path, parameters, query, headers, body, claims, .. } = &self.request;
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let planned = match &self.planned {
            Some(Planned::Call { arguments, carry, .. }) => values(arguments) + carry.len(),
            _ => 0,
        };
        let ended = match self.ended.as_ref().and_then(|ended| ended.outcome.as_ref()) {
            Some(contract::Outcome::Rows(rows)) => values(&rows.values),
            _ => 0,
        };
        let response = &self.answer.response;
        path.len()
            + fields(parameters)
            + optional(query)
            + fields(headers)
            + body.len()
            + optional(claims)
            + planned
            + ended
            + fields(&response.headers)
            + response.body.len()
            + limits::RECORD_OVERHEAD_BYTES
    }
}

fn bytes_of(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
}
