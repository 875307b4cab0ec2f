//! What `request` hands over when a request has been answered: everything that a record needs, as it was used, not yet
//! written.

use std::sync::Arc;

use super::format::{Called, FORMAT, Outcome, Plan, Record, Request, Response};
use super::redaction::Redaction;
use super::times::{Times, Why};
use crate::contract::{self, Value};
use crate::database::Batched;
use crate::guest::Digest;
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
    /// Whether it is recorded; otherwise only its trace is exported.
    pub recorded: bool,
    /// What must not be kept.
    pub redaction: Arc<Redaction>,
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
    /// How long the phases took.
    pub times: Times,
}

/// A request in its trace.
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
    /// Its path.
    pub path: String,
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

/// What `prepare` decided. Of a request that is not recorded, only the procedure is known.
pub enum Planned {
    /// To reply.
    Reply,
    /// To call a procedure.
    Call {
        /// The procedure.
        procedure: String,
        /// The digest of its signature.
        signature: String,
        /// Its arguments.
        arguments: Vec<Value>,
        /// What `respond` gets.
        carry: Vec<u8>,
        /// Whether its calls wait on a lane.
        lane: bool,
    },
}

/// How a call ended.
pub struct Ended {
    /// The outcome that `respond` got; `None` when there was none to give, or when it is not recorded.
    pub outcome: Option<contract::Outcome>,
    /// The stable code of the failure, when there was no outcome.
    pub failure: Option<&'static str>,
    /// Whether it was sent at all.
    pub was_sent: bool,
    /// The statement that carried it, if that carried others too.
    pub batch: Option<Batched>,
}

/// What was answered.
pub struct Answer {
    /// The response as it was sent.
    pub response: contract::Response,
    /// The stable code of the failure, when the host answered.
    pub failure: Option<&'static str>,
}

impl Draft {
    /// The record, with what must not be kept taken out.
    pub(super) fn record(self) -> Record {
        let (mut signature, mut plan) = (None, None);
        match self.planned {
            Some(Planned::Reply) => plan = Some(Plan::Reply),
            Some(Planned::Call { procedure, signature: its, arguments, carry, lane: _ }) => {
                signature = Some(its);
                plan = Some(Plan::Call(Called::of(procedure, arguments, carry)));
            }
            None => {}
        }
        let (outcome, batch) = self.ended.map_or((None, None), |ended| {
            // A call without others went alone.
            let calls = ended.was_sent.then(|| ended.batch.map_or(1, |batch| batch.calls));
            (ended.outcome.map(Outcome::of), calls)
        });
        let mut record = Record {
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
        self.redaction.apply(&mut record);
        record
    }
}
