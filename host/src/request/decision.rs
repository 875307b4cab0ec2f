//! What a guest is asked, and what its `prepare` decided, checked.

use std::sync::Arc;

use http::request::Parts;

use crate::contract::{Request, Value};
use crate::database::Procedure;
use crate::wire::Outgoing;

/// A request that was read: what a guest sees of it; and its head, for the log.
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
    /// Whether both would carry the same call out.
    pub(super) fn is_same_call_as(&self, other: &Self) -> bool {
        self.procedure.name == other.procedure.name && self.arguments == other.arguments
    }
}
