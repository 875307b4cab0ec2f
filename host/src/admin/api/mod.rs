//! `/api/…`: everything that the page shows and does, as JSON, described by `openapi.json`. What it hands out and takes
//! is made here, and `page` shows the same.

pub(super) mod denied;
pub(super) mod events;
pub(super) mod procedures;
pub(super) mod replay;
pub(super) mod requests;
pub(super) mod routes;
pub(super) mod save;
pub(super) mod send;
pub(super) mod status;
pub(super) mod traffic;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::denied::Denied;
use self::requests::Wanted;
use super::Admin;
use super::body::{self, Fields};
use super::out::{denied, json, only, typed};
use super::show;
use crate::limits;
use crate::log::escaped;
use crate::record::Record;
use crate::report::{ManifestReport, NodeReport};
use crate::wire::{Incoming, Outgoing};

/// The description of the API.
const OPENAPI: &str = include_str!("openapi.json");

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    OpenApi,
    Node,
    Handlers,
    Traffic,
    Requests,
    Record(String, u64),
    Procedures,
    Routes,
    Events,
    Replay,
    Examples,
    Send,
}

impl Asked {
    fn find(path: &str) -> Option<Self> {
        let path = path.strip_prefix("/api/")?;
        Some(match path {
            "openapi.json" => Self::OpenApi,
            "node" => Self::Node,
            "handlers" => Self::Handlers,
            "traffic" => Self::Traffic,
            "requests" => Self::Requests,
            "procedures" => Self::Procedures,
            "routes" => Self::Routes,
            "events" => Self::Events,
            "replay" => Self::Replay,
            "examples" => Self::Examples,
            "send" => Self::Send,
            _ => {
                let (handler, number) = path.strip_prefix("records/")?.split_once('/')?;
                Self::Record(handler.to_owned(), number.parse().ok()?)
            }
        })
    }

    /// The names of the parameters of its query.
    fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["handler", "only", "last"],
            Self::Events => &["after"],
            _ => &[],
        }
    }

    fn changes(&self) -> bool {
        matches!(self, Self::Replay | Self::Examples | Self::Send)
    }
}

/// Whether a path is one of the API.
pub(super) fn has(path: &str) -> bool {
    Asked::find(path).is_some()
}

/// Answers a request to the API.
pub(super) async fn answer(admin: &Arc<Admin>, incoming: Incoming) -> Outgoing {
    let Some(asked) = Asked::find(incoming.uri().path()) else { return denied(&Denied::missing("no such path")) };
    let reads = matches!(*incoming.method(), Method::GET | Method::HEAD);
    match asked.changes() {
        false if !reads => return only(incoming.method(), "GET, HEAD, OPTIONS"),
        true if incoming.method() != Method::POST => return only(incoming.method(), "POST, OPTIONS"),
        _ => {}
    }
    let answered = match asked.changes() {
        true => act(admin, asked, incoming).await,
        false => {
            let query = Fields::of_query(incoming.uri().query().unwrap_or_default());
            if let Err(why) = query.only(asked.parameters()) {
                return denied(&why);
            }
            admin.work(move |admin| read(admin, asked, &query)).await.flatten()
        }
    };
    answered.unwrap_or_else(|why| denied(&why))
}

fn read(admin: &Admin, asked: Asked, query: &Fields) -> Result<Outgoing, Denied> {
    Ok(match asked {
        Asked::OpenApi => typed(StatusCode::OK, "application/json", OPENAPI),
        Asked::Node => json(&status::status(admin)),
        Asked::Handlers => json(&handlers(admin)),
        Asked::Traffic => {
            let table = admin.started()?.registry.table();
            json(&admin.console.traffic(|traffic| traffic.report(&table)))
        }
        Asked::Requests => json(&requests::last(admin, &wanted(query)?)?),
        Asked::Record(handler, number) => json::<Record>(&requests::one(admin, &handler, number)?),
        Asked::Procedures => json(&procedures::all(admin)),
        Asked::Routes => json(&routes::first(admin, usize::MAX)),
        Asked::Events => json(&events::after(admin, query.number("after")?.unwrap_or(0))),
        Asked::Replay | Asked::Examples | Asked::Send => return Err(Denied::missing("no such path")),
    })
}

/// The handlers, as `/handlers` has them.
pub(super) fn handlers(admin: &Admin) -> NodeReport {
    let starting = || NodeReport { manifest: ManifestReport::default(), handlers: Vec::new() };
    admin.node.get().map_or_else(starting, |node| show::node(node))
}

/// Which requests a query asks for.
pub(super) fn wanted(query: &Fields) -> Result<Wanted, Denied> {
    let last = query.number("last")?.map_or(limits::PAGE_ROWS_MAX, |last| usize::try_from(last).unwrap_or(usize::MAX));
    let errors = match query.get("only") {
        None | Some("") => false,
        Some("errors") => true,
        Some(other) => return Err(Denied::bad(format!("`only`: `{}` is not `errors`", escaped(other)))),
    };
    Ok(Wanted { handler: query.get("handler").filter(|name| !name.is_empty()).map(str::to_owned), errors, last })
}

async fn act(admin: &Arc<Admin>, asked: Asked, incoming: Incoming) -> Result<Outgoing, Denied> {
    let bytes = body::read(incoming).await?;
    match asked {
        Asked::Replay => done(admin.work(move |admin| replay::replay(admin, &parsed(&bytes)?)).await),
        Asked::Examples => {
            let mut outgoing = done(admin.work(move |admin| save::save(admin, &parsed(&bytes)?)).await)?;
            *outgoing.status_mut() = StatusCode::CREATED;
            Ok(outgoing)
        }
        _ => send::send(admin, parsed(&bytes)?).await.map(|sent| json(&sent)),
    }
}

fn done<T: Serialize>(done: Result<Result<T, Denied>, Denied>) -> Result<Outgoing, Denied> {
    done.flatten().map(|done| json(&done))
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Denied> {
    serde_json::from_slice(bytes).map_err(|error| Denied::bad(format!("the body is not what is expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_description_is_one_and_the_other_way_round() {
        let described: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let paths = described["paths"].as_object().unwrap();
        for (path, item) in paths {
            let methods: Vec<_> = item.as_object().unwrap().keys().filter(|key| *key != "parameters").collect();
            let named = path.replace("{handler}", "orders").replace("{number}", "1");
            // The parent answers these.
            let Some(asked) = Asked::find(&named) else {
                assert!(
                    ["/api/records", "/api/explain", "/api/recording", "/api/audit"].contains(&path.as_str()),
                    "{path}"
                );
                continue;
            };
            assert_eq!(methods, [if asked.changes() { "post" } else { "get" }], "{path}");
        }
        // Each variant has one path; `find` has no other.
        assert_eq!(paths.len(), 16);
        for path in ["/api", "/api/", "/api/records/x", "/api/records/x/y", "/api/records/x/1/2", "/api/nodes"] {
            assert_eq!(Asked::find(path), None, "{path}");
        }
    }
}
