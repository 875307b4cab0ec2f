//! What identifies a request in the log: the `X-Request-Id` and the `traceparent` (W3C Trace Context) it came with. A
//! client can send anything in them, so they are cut, escaped in the log, and never used as a key. A proxy that sends
//! `Galo-Try` need not send a request id as well: nginx's `Galo-Try` ends with its `$request_id`.

use http::request::Parts;

use crate::failure::cut;
use crate::{limits, wire};

/// The identifiers of one request. They are read only when there is something to log.
pub(super) struct Trace {
    pub(super) request_id: Option<String>,
    pub(super) traceparent: Option<String>,
}

impl Trace {
    /// Reads the identifiers from the head of a request; of repeated headers the first.
    pub(super) fn of(head: &Parts) -> Self {
        let shown = |name| {
            let value = head.headers.get(name)?.as_bytes();
            Some(cut(wire::text(value), limits::TRACE_SHOWN_BYTES_MAX))
        };
        let request_id = shown("x-request-id").or_else(|| shown("galo-try"));
        Self { request_id, traceparent: shown("traceparent") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_request_are_cut() {
        let long = "x".repeat(limits::TRACE_SHOWN_BYTES_MAX * 2);
        let request = http::Request::builder().header("x-request-id", &long).header("traceparent", &b"a\t\xff"[..]);
        let Trace { request_id, traceparent } = Trace::of(&request.body(()).unwrap().into_parts().0);
        assert_eq!(request_id.unwrap().len(), limits::TRACE_SHOWN_BYTES_MAX + '…'.len_utf8());
        assert_eq!(traceparent.unwrap(), "a\t?");
        let tried = http::Request::builder().header("galo-try", "1-a").body(()).unwrap().into_parts().0;
        assert_eq!(Trace::of(&tried).request_id.as_deref(), Some("1-a"));
        let none = Trace::of(&http::Request::new(()).into_parts().0);
        assert!(none.request_id.is_none() && none.traceparent.is_none());
    }
}
