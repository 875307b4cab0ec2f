//! The response of a guest: nothing panics, and an accepted response has no header that frames the message.

#![no_main]

use galo::contract::{Field, Response};
use galo::failure::Phase;
use galo::wire;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|given: (u16, Vec<(&str, &str)>, &[u8])| {
    let (status, headers, body) = given;
    let field = |(name, value): (&str, &str)| Field { name: name.to_owned(), value: value.to_owned() };
    let headers: Vec<_> = headers.into_iter().map(field).collect();
    let count = headers.len();
    if let Ok(outgoing) = wire::respond(Response { status, headers, body: body.to_vec(), log: Vec::new() }, Phase::Respond) {
        assert!((200..=599).contains(&outgoing.status().as_u16()) && outgoing.headers().len() <= count);
        for (name, value) in outgoing.headers() {
            assert!(!["content-length", "connection", "transfer-encoding", "date"].contains(&name.as_str()), "{name}");
            assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}: {value:?}");
        }
    }
});
