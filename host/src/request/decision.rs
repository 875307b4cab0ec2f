//! The request that a guest is called with, and the checked decision of its `prepare`.

use std::sync::Arc;

use http::request::Parts;

use crate::contract::{Request, Value};
use crate::database::Procedure;
use crate::wire::Outgoing;

/// A request that was read: the part that a guest sees, and its head for the log.
pub(super) struct Asked<'a> {
    pub(super) head: &'a Parts,
    pub(super) request: Request,
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
