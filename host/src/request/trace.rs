//! What identifies a request in the log: the `X-Request-Id` that it came with, and its trace. A client can send
//! anything in an `X-Request-Id`, so it is cut, escaped in the log, and never used as a key; a `traceparent` is valid
//! or ignored. A proxy that sends `Galo-Try` need not send a request id as well: nginx's `Galo-Try` ends with its
//! `$request_id`. A request that reaches a handler without either gets an id of the node's.

use http::HeaderName;
use http::request::Parts;

use super::id::Id;
use crate::failure::cut;
use crate::traces::{Place, TraceId};
use crate::{limits, wire};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GALO_TRY: HeaderName = HeaderName::from_static("galo-try");

/// The ids that the node gave a request that came without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Its id.
    pub(super) id: Option<Id>,
    /// Its trace, which is made for what is recorded or exported.
    pub(super) trace: Option<TraceId>,
}

/// The identifiers of one request. They are read only when there is something to log.
pub(super) struct Trace {
    pub(super) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
}

impl Trace {
    /// Reads the identifiers from the head of a request; `own` are the ids that the node gave it.
    pub(super) fn of(head: &Parts, own: Given) -> Self {
        let request_id = given(head).or_else(|| own.id.map(|id| id.to_string()));
        let trace = own.trace.or_else(|| Place::given(&head.headers).map(|place| place.trace));
        Self { request_id, trace_id: trace.map(|trace| trace.to_string()) }
    }

    /// The identifiers of a request that a handler answers.
    pub(super) fn named(head: &Parts, id: &str, trace: Option<TraceId>) -> Self {
        Self { request_id: Some(id.to_owned()), ..Self::of(head, Given { id: None, trace }) }
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
        let of = |id: &[u8], traceparent: &str| {
            let request = http::Request::builder().header("x-request-id", id).header("traceparent", traceparent);
            Trace::of(&request.body(()).unwrap().into_parts().0, Given::default())
        };
        let cut = of(long.as_bytes(), "a").request_id.unwrap();
        assert_eq!(cut.len(), limits::TRACE_SHOWN_BYTES_MAX + '…'.len_utf8());
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let named = of(b"a\t\xff", &format!("00-{trace}-00f067aa0ba902b7-01"));
        assert_eq!((named.request_id.as_deref(), named.trace_id.as_deref()), (Some("a\t?"), Some(trace)));
        assert_eq!(of(b"a", &format!("00-{trace}-00f067aa0ba902b7")).trace_id, None);
        let tried = http::Request::builder().header("galo-try", "1-a").body(()).unwrap().into_parts().0;
        let mut own = None;
        assert_eq!((id(&tried, &mut own).as_str(), own), ("1-a", None));
        assert_eq!(Trace::of(&tried, Given::default()).request_id.as_deref(), Some("1-a"));
        let head = http::Request::builder().header("x-request-id", "").body(()).unwrap().into_parts().0;
        let none = Trace::of(&head, Given::default());
        assert!(none.request_id.is_none() && none.trace_id.is_none());
        let new = id(&head, &mut own);
        assert_eq!(Trace::of(&head, Given { id: own, trace: None }).request_id, Some(new));
    }
}
