//! What identifies a request in the log: the `X-Request-Id` and the `traceparent` (W3C Trace Context) it came with. A
//! client can send anything in them, so they are cut, escaped in the log, and never used as a key. A proxy that sends
//! `Galo-Try` need not send a request id as well: nginx's `Galo-Try` ends with its `$request_id`. A request that
//! reaches a handler without either gets an id of the node's.

use http::HeaderName;
use http::request::Parts;

use super::id::Id;
use crate::failure::cut;
use crate::{limits, wire};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GALO_TRY: HeaderName = HeaderName::from_static("galo-try");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The identifiers of one request. They are read only when there is something to log.
pub(super) struct Trace {
    pub(super) request_id: Option<String>,
    pub(super) traceparent: Option<String>,
}

impl Trace {
    /// Reads the identifiers from the head of a request; of repeated headers the first. `own` is the id that the node
    /// gave the request, if it came without one.
    pub(super) fn of(head: &Parts, own: Option<Id>) -> Self {
        let request_id = given(head).or_else(|| own.map(|id| id.to_string()));
        Self { request_id, traceparent: shown(head, &TRACEPARENT) }
    }

    /// The identifiers of a request whose id is known.
    pub(super) fn named(head: &Parts, id: &str) -> Self {
        Self { request_id: Some(id.to_owned()), traceparent: shown(head, &TRACEPARENT) }
    }
}

/// The id of a request: the one that it came with, or a new one of the node's, which is noted.
pub(super) fn id(head: &Parts, own: &mut Option<Id>) -> String {
    given(head).unwrap_or_else(|| own.insert(Id::next()).text())
}

fn given(head: &Parts) -> Option<String> {
    shown(head, &REQUEST_ID).or_else(|| shown(head, &GALO_TRY))
}

fn shown(head: &Parts, name: &HeaderName) -> Option<String> {
    let value = head.headers.get(name).filter(|value| !value.is_empty())?;
    Some(match value.to_str() {
        // Of nearly every request, and one of them is read for each: visible ASCII needs no escape.
        Ok(visible) if visible.len() <= limits::TRACE_SHOWN_BYTES_MAX => visible.to_owned(),
        _ => cut(wire::text(value.as_bytes()), limits::TRACE_SHOWN_BYTES_MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_request_are_cut() {
        let long = "x".repeat(limits::TRACE_SHOWN_BYTES_MAX * 2);
        let request = http::Request::builder().header("x-request-id", &long).header("traceparent", &b"a\t\xff"[..]);
        let Trace { request_id, traceparent } = Trace::of(&request.body(()).unwrap().into_parts().0, None);
        assert_eq!(request_id.unwrap().len(), limits::TRACE_SHOWN_BYTES_MAX + '…'.len_utf8());
        assert_eq!(traceparent.unwrap(), "a\t?");
        let tried = http::Request::builder().header("galo-try", "1-a").body(()).unwrap().into_parts().0;
        let mut own = None;
        assert_eq!((id(&tried, &mut own).as_str(), own), ("1-a", None));
        assert_eq!(Trace::of(&tried, own).request_id.as_deref(), Some("1-a"));
        let head = http::Request::builder().header("x-request-id", "").body(()).unwrap().into_parts().0;
        let none = Trace::of(&head, None);
        assert!(none.request_id.is_none() && none.traceparent.is_none());
        let new = id(&head, &mut own);
        assert_eq!(Trace::of(&head, own).request_id, Some(new));
    }
}
