//! `/api/records`: the last records as JSON lines. What is asked for: `handler=NAME`, `last=N` of each handler, and
//! `after=NUMBER`, or `after=NAME:NUMBER,…` as `galo-cursor` of an earlier answer has it: only what came since.
//!
//! The headers of an answer say what its lines cannot: `galo-cursor`, where to go on; `galo-run`, which identifies this
//! run of the node, because numbers begin again with it; `galo-recording`, `0` if nothing is recorded, else that one
//! request in so many is; `galo-missed`, how many records after the cursor are no longer kept or were not asked for.

use std::sync::OnceLock;
use std::time::SystemTime;

use http::{HeaderValue, StatusCode};

use super::Admin;
use super::out::{text, typed};
use crate::limits;
use crate::wire::Outgoing;

/// Where an earlier answer ended.
enum Cursor<'a> {
    /// The same number for each handler.
    All(u64),
    /// The number of each handler.
    Each(Vec<(&'a str, u64)>),
}

impl<'a> Cursor<'a> {
    fn parse(text: &'a str) -> Self {
        match text.parse() {
            Ok(number) => Self::All(number),
            Err(_) => {
                let one = |pair: &'a str| pair.split_once(':').and_then(|(name, at)| Some((name, at.parse().ok()?)));
                Self::Each(text.split(',').filter_map(one).collect())
            }
        }
    }

    fn of(&self, handler: &str) -> u64 {
        match self {
            Self::All(number) => *number,
            Self::Each(numbers) => numbers.iter().find(|(name, _)| *name == handler).map_or(0, |(_, number)| *number),
        }
    }
}

/// Answers with the records that a query asks for.
pub(super) fn answer(admin: &Admin, query: &str) -> Outgoing {
    if !admin.gate.may_read_records() {
        return text(StatusCode::FORBIDDEN, FORBIDDEN);
    }
    let Some(node) = admin.node.get() else { return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
    let wanted = asked(query, "handler");
    let most = asked(query, "last").and_then(|last| last.parse().ok()).unwrap_or(limits::RECORDS_DEFAULT);
    let cursor = Cursor::parse(asked(query, "after").unwrap_or("0"));
    let (mut lines, mut next, mut missed, mut every) = (String::new(), Vec::new(), 0, 0);
    for handler in &node.registry.table().handlers {
        let name = &handler.entry.name;
        let Some(ring) = handler.ring.get().filter(|_| wanted.is_none_or(|wanted| wanted == name)) else { continue };
        let after = cursor.of(name);
        let kept = ring.last(most, after);
        kept.iter().for_each(|kept| lines.extend([&kept.line, "\n"]));
        let last = kept.last().map_or(after, |last| last.number);
        if after > 0 {
            missed += (last - after).saturating_sub(kept.len() as u64);
        }
        if last > 0 {
            next.push(format!("{name}:{last}"));
        }
        every = match (every, ring.every()) {
            (0, other) | (other, 0) => other,
            (one, other) => one.min(other),
        };
    }
    let mut outgoing = typed(StatusCode::OK, "application/jsonl", lines);
    let headers = [
        ("galo-cursor", next.join(",")),
        ("galo-run", run().to_string()),
        ("galo-recording", every.to_string()),
        ("galo-missed", missed.to_string()),
    ];
    for (name, value) in headers {
        // The names of handlers are ASCII.
        if let Ok(value) = HeaderValue::try_from(value) {
            outgoing.headers_mut().insert(name, value);
        }
    }
    outgoing
}

/// For who may use the admin address, but not read records.
pub(super) const FORBIDDEN: &str =
    "records are the data of clients: start the node with --admin-token-file FILE, or with --admin unix:PATH\n";

/// A parameter of a query, as it was sent.
pub(super) fn asked<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Identifies this run of the process: the moment of the first request for records, in microseconds.
fn run() -> u128 {
    static RUN: OnceLock<u128> = OnceLock::new();
    *RUN.get_or_init(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros())
}
