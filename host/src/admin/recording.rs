//! `/api/recording`: what is recorded of each handler. GET shows it, POST switches it while the node runs
//! (`every=100`, of one handler with `handler=NAME`), DELETE discards the records. `who` and `why` of the query are for
//! the audit log.

use http::{Method, StatusCode};
use serde::Serialize;

use super::Admin;
use super::api::denied::Denied;
use super::body::Fields;
use super::out::{denied, json, only, text};
use crate::limits;
use crate::node::Node;
use crate::registry::{Event, Subject, Who};
use crate::report::Reason;
use crate::wire::{Incoming, Outgoing};

/// Its path.
pub(super) const PATH: &str = "/api/recording";

/// What is recorded of a handler.
#[derive(Serialize)]
struct Recorded<'a> {
    handler: &'a str,
    /// One request in so many; 0 if nothing is.
    every: usize,
    records: usize,
    bytes: usize,
}

/// Which handler is meant, and how many of its requests are to be recorded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked<'a> {
    handler: Option<&'a str>,
    every: Option<usize>,
}

impl<'a> Asked<'a> {
    fn parse(query: &'a Fields) -> Result<Self, String> {
        let mut asked = Self::default();
        for pair in query.pairs() {
            match pair {
                ("handler", name) if !name.is_empty() => asked.handler = Some(name),
                ("who" | "why", _) => {}
                ("every", number) => {
                    let parsed = number.parse().ok().filter(|every| *every <= limits::RECORD_EVERY_MAX);
                    let most = limits::RECORD_EVERY_MAX;
                    asked.every = Some(parsed.ok_or_else(|| format!("every: not a whole number from 0 to {most}\n"))?);
                }
                _ => return Err("unknown parameter: use handler=NAME, every=N, who=NAME and why=TEXT\n".to_owned()),
            }
        }
        Ok(asked)
    }
}

/// Answers a request to it.
pub(super) fn answer(admin: &Admin, incoming: &Incoming) -> Outgoing {
    let method = incoming.method();
    if !matches!(*method, Method::GET | Method::HEAD | Method::POST | Method::DELETE) {
        return only(method, "GET, HEAD, POST, DELETE, OPTIONS");
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if !reads && !admin.gate.may_read_records() {
        return denied(&Denied::records());
    }
    let query = Fields::of_query(incoming.uri().query().unwrap_or_default());
    let asked = match Asked::parse(&query) {
        Ok(asked) => asked,
        Err(wrong) => return text(StatusCode::BAD_REQUEST, wrong),
    };
    let Some(node) = admin.node.get() else { return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
    if let Some(name) = asked.handler.filter(|name| node.registry.table().handler(name).is_none()) {
        return text(StatusCode::NOT_FOUND, format!("no handler {name}\n"));
    }
    match (method, asked.every) {
        (&Method::POST, None) => {
            return text(
                StatusCode::BAD_REQUEST,
                "every=N is missing: one request in N is recorded, 0 records nothing\n",
            );
        }
        (&Method::POST, Some(every)) => switch(node, asked.handler, every, &query.reason()),
        (&Method::DELETE, _) => discard(node, asked.handler, &query.reason()),
        _ => {}
    }
    shown(node, asked.handler)
}

fn switch(node: &Node, handler: Option<&str>, every: usize, asked: &Reason) {
    node.recorder.switch(handler, every);
    let what = if every == 0 { "off".to_owned() } else { format!("1 in {every} requests") };
    note(node, handler, Event::Recording, asked, &what);
    let handler = handler.unwrap_or("all handlers");
    tracing::warn!(handler, every, "recording switched, as requested at the admin address");
}

fn note(node: &Node, handler: Option<&str>, event: Event, Reason { who, why }: &Reason, what: &str) {
    let subject = Subject { handler, digest: None };
    node.operated(subject, event, &Who::person(who), &format!("{what}: {why}"));
}

fn discard(node: &Node, handler: Option<&str>, asked: &Reason) {
    let table = node.registry.table();
    let wanted = table.handlers.iter().filter(|one| handler.is_none_or(|name| name == one.entry.name));
    let rings: Vec<_> = wanted.filter_map(|one| one.ring.get()).collect();
    let count: usize = rings.iter().map(|ring| ring.count().0).sum();
    rings.iter().for_each(|ring| ring.clear());
    note(node, handler, Event::Discarded, asked, &format!("{count} records"));
    let handler = handler.unwrap_or("all handlers");
    tracing::warn!(handler, "records discarded, as requested at the admin address");
}

fn shown(node: &Node, handler: Option<&str>) -> Outgoing {
    let table = node.registry.table();
    let wanted = table.handlers.iter().filter(|one| handler.is_none_or(|name| name == one.entry.name));
    let recorded = wanted.filter_map(|one| {
        let ring = one.ring.get()?;
        let (records, bytes) = ring.count();
        Some(Recorded { handler: &one.entry.name, every: ring.every(), records, bytes })
    });
    json(&recorded.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_strictly() {
        let query = |text| Fields::of_query(text);
        let asked = |handler, every| Ok(Asked { handler, every });
        assert_eq!(Asked::parse(&query("")), asked(None, None));
        assert_eq!(Asked::parse(&query("handler=a&every=100&who=ana&why=a+test")), asked(Some("a"), Some(100)));
        assert_eq!(Asked::parse(&query("every=0")), asked(None, Some(0)));
        for wrong in ["every=", "every=x", "every=-1", "every=1000001", "handler=", "evry=1", "every"] {
            assert!(Asked::parse(&query(wrong)).is_err(), "{wrong}");
        }
    }
}
