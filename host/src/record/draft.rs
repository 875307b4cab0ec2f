//! What `request` hands over when a request has been answered: everything that a record needs, as it was used, not yet
//! written.

use std::sync::Arc;

use super::format::{Called, FORMAT, Outcome, Plan, Record, Request, Response};
use super::redaction::Redaction;
use super::times::{Times, Why};
use crate::contract::{self, Value};
use crate::guest::Digest;

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
    /// What must not be kept.
    pub redaction: Arc<Redaction>,
    /// The trace that it belongs to.
    pub trace: Option<String>,
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

/// What `prepare` decided.
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
    },
}

/// How a call ended.
pub struct Ended {
    /// The outcome that `respond` got; `None` when there was none to give.
    pub outcome: Option<contract::Outcome>,
    /// How many calls went in the statement.
    pub batch: Option<u32>,
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
            Some(Planned::Call { procedure, signature: its, arguments, carry }) => {
                signature = Some(its);
                plan = Some(Plan::Call(Called::of(procedure, arguments, carry)));
            }
            None => {}
        }
        let (outcome, batch) = self.ended.map_or((None, None), |ended| (ended.outcome.map(Outcome::of), ended.batch));
        let mut record = Record {
            format: FORMAT,
            contract: contract::VERSION.to_string(),
            handler: self.handler.to_string(),
            generation: self.generation,
            sha256: self.digest.to_string(),
            signature,
            why: self.why,
            trace: self.trace,
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
