//! `/api/recording`: what is recorded of each handler. GET shows it, POST switches it while the node runs
//! (`every=100`, of one handler with `handler=NAME`), DELETE discards the records.

use http::{Method, StatusCode};
use serde::Serialize;

use super::Admin;
use super::out::{json, only, text};
use super::records::FORBIDDEN;
use crate::limits;
use crate::node::Node;
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
    fn parse(query: &'a str) -> Result<Self, String> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("handler", name)) if !name.is_empty() => asked.handler = Some(name),
                Some(("every", number)) => {
                    let parsed = number.parse().ok().filter(|every| *every <= limits::RECORD_EVERY_MAX);
                    let most = limits::RECORD_EVERY_MAX;
                    asked.every = Some(parsed.ok_or_else(|| format!("every: not a whole number from 0 to {most}\n"))?);
                }
                _ => return Err("unknown parameter: use handler=NAME and every=N\n".to_owned()),
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
        return text(StatusCode::FORBIDDEN, FORBIDDEN);
    }
    let asked = match Asked::parse(incoming.uri().query().unwrap_or_default()) {
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
        (&Method::POST, Some(every)) => switch(node, asked.handler, every),
        (&Method::DELETE, _) => discard(node, asked.handler),
        _ => {}
    }
    shown(node, asked.handler)
}

fn switch(node: &Node, handler: Option<&str>, every: usize) {
    node.recorder.switch(handler, every);
    let handler = handler.unwrap_or("all handlers");
    tracing::warn!(handler, every, "recording switched, as requested at the admin address");
}

fn discard(node: &Node, handler: Option<&str>) {
    let table = node.registry.table();
    let wanted = table.handlers.iter().filter(|one| handler.is_none_or(|name| name == one.entry.name));
    wanted.filter_map(|one| one.ring.get()).for_each(|ring| ring.clear());
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
        let asked = |handler, every| Ok(Asked { handler, every });
        assert_eq!(Asked::parse(""), asked(None, None));
        assert_eq!(Asked::parse("handler=a&every=100"), asked(Some("a"), Some(100)));
        assert_eq!(Asked::parse("every=0"), asked(None, Some(0)));
        for wrong in ["every=", "every=x", "every=-1", "every=1000001", "handler=", "evry=1", "every"] {
            assert!(Asked::parse(wrong).is_err(), "{wrong}");
        }
    }
}
