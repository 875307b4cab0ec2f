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
use super::api::denied::Denied;
use super::body::Fields;
use super::out::{denied, typed};
use crate::limits;
use crate::wire::Outgoing;

/// Where an earlier answer ended.
#[derive(Debug, PartialEq, Eq)]
enum Cursor<'a> {
    /// The same number for each handler.
    All(u64),
    /// The number of each handler.
    Each(Vec<(&'a str, u64)>),
}

impl<'a> Cursor<'a> {
    fn parse(text: &'a str) -> Result<Self, Denied> {
        if text.is_empty() {
            return Ok(Self::All(0));
        }
        if let Ok(number) = text.parse() {
            return Ok(Self::All(number));
        }
        let one = |pair: &'a str| pair.split_once(':').and_then(|(name, at)| Some((name, at.parse().ok()?)));
        let each = text.split(',').map(one).collect::<Option<_>>();
        let wrong = || Denied::bad("`after` is a number, or what `galo-cursor` of an answer says: NAME:NUMBER,...");
        each.map(Self::Each).ok_or_else(wrong)
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
    answered(admin, query).unwrap_or_else(|why| denied(&why))
}

fn answered(admin: &Admin, query: &str) -> Result<Outgoing, Denied> {
    if !admin.gate.may_read_records() {
        return Err(Denied::records());
    }
    let query = Fields::of_query(query);
    query.only(&["handler", "last", "after"])?;
    let node = admin.started()?;
    let wanted = query.get("handler").filter(|name| !name.is_empty());
    let last = query.number("last")?.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
    let most = last.unwrap_or(limits::RECORDS_DEFAULT);
    let cursor = Cursor::parse(query.get("after").unwrap_or_default())?;
    if let Some(name) = wanted.filter(|name| node.registry.table().handler(name).is_none()) {
        return Err(Denied::no_handler(name));
    }
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
    Ok(outgoing)
}

/// Identifies this run of the process: the moment of the first request for records, in microseconds.
fn run() -> u128 {
    static RUN: OnceLock<u128> = OnceLock::new();
    *RUN.get_or_init(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_number_or_one_for_each_handler() {
        assert_eq!((Cursor::parse(""), Cursor::parse("7")), (Ok(Cursor::All(0)), Ok(Cursor::All(7))));
        assert_eq!(Cursor::parse("a:1,b:2"), Ok(Cursor::Each(vec![("a", 1), ("b", 2)])));
        for wrong in ["x", "-1", "a:", "a:1,b", "a:1,"] {
            assert_eq!(Cursor::parse(wrong).unwrap_err().status, StatusCode::BAD_REQUEST, "{wrong}");
        }
    }
}
