//! The request that a guest is called with, and the checked decision of its `prepare`.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use super::trail::{Noted, Trail};
use crate::contract::{Outcome, Request, Value};
use crate::database::Procedure;
use crate::record;
use crate::wire::Outgoing;

/// A request that was read: the part that a guest sees, and its head for the log.
pub(super) struct Asked<'a> {
    pub(super) head: &'a Parts,
    pub(super) request: Request,
    /// What is noted for its record, if its handler is recorded.
    pub(super) trail: Option<Box<Trail>>,
}

impl Asked<'_> {
    /// Notes something for the record of the request.
    pub(super) fn note(&self, note: impl FnOnce(&mut Noted)) {
        if let Some(trail) = &self.trail {
            trail.note(note);
        }
    }

    /// Notes how its call ended.
    pub(super) fn ended(&self, outcome: Option<&Outcome>, took: Duration) {
        if let Some(trail) = &self.trail {
            trail.ended(outcome, took);
        }
    }
}

/// What `prepare` decided, checked: a response that can be sent, or a call that can be made.
pub(super) enum Decision {
    Reply(Outgoing),
    Call(Planned),
}

impl Decision {
    /// As a record keeps it.
    pub(super) fn recorded(&self) -> record::Planned {
        match self {
            Self::Reply(_) => record::Planned::Reply,
            Self::Call(Planned { procedure, arguments, carry }) => record::Planned::Call {
                procedure: procedure.name.clone(),
                signature: procedure.digest().to_owned(),
                arguments: arguments.clone(),
                carry: carry.clone(),
            },
        }
    }
}

/// A call of a granted procedure with arguments that fit it.
pub(super) struct Planned {
    pub(super) procedure: Arc<Procedure>,
    pub(super) arguments: Vec<Value>,
    pub(super) carry: Vec<u8>,
}

impl Planned {
    /// Whether both are the same procedure with the same arguments.
    pub(super) fn is_same_call_as(&self, other: &Self) -> bool {
        self.procedure.name == other.procedure.name && self.arguments == other.arguments
    }
}
