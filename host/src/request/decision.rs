//! The request that a guest is called with, and the checked decision of its `prepare`.

use std::sync::Arc;

use http::request::Parts;

use super::trace::Trace;
use super::trail::{Noted, Trail};
use crate::contract::{Outcome, Request, Value};
use crate::database::{Passage, Procedure};
use crate::record::{self, Ended};
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

    /// Notes a call and how it ended.
    pub(super) fn called(&self, planned: Planned, passage: Passage, outcome: Option<Outcome>) {
        self.note(|noted| {
            let Planned { procedure, arguments, carry } = planned;
            let planned = record::Planned::Call { procedure, arguments, carry };
            noted.called(planned, Ended { outcome, passage });
        });
    }

    /// What identifies it in the log.
    pub(super) fn named(&self) -> Trace {
        let trace = self.trail.as_ref().map(|trail| trail.trace(self.head));
        Trace::named(self.head, &self.request.id, trace)
    }
}

/// What `prepare` decided, checked: a response that can be sent, or a call that can be made.
pub(super) enum Decision {
    Reply(Outgoing),
    Call(Planned),
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
