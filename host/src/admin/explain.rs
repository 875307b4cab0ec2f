//! `/api/explain?id=ID`: everything that the node knows of a request: its record, what became of the generation that
//! decided, and the rows of the read-only procedure that the manifest names for its handler (`explain`).
//!
//! The host knows no business record: which rows belong to a request is the procedure's affair. It gets its arguments
//! by the names of its parameters: the argument of the same name of the call that the request made, or what names the
//! request itself.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::api::denied::Denied;
use super::body::Fields;
use super::out::denied;
use super::{Admin, json, only};
use crate::contract::{Rows, Value};
use crate::database::Procedure;
use crate::guest::Digest;
use crate::node::Node;
use crate::record::{Cell, Plan, Record};
use crate::registry::{Audit, Event, Generation, Handler};
use crate::report::AuditEntry;
use crate::wire::{Incoming, Outgoing};
use crate::{limits, log};

/// Where it is asked for.
pub(super) const PATH: &str = "/api/explain";

/// What a node knows of a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explained {
    /// The id of the request.
    pub id: String,
    /// Each time that it came: a proxy or a client may repeat a request under the same id.
    pub requests: Vec<Found>,
}

/// One request that was found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// When it came, as RFC 3339.
    pub at: String,
    /// Its record.
    pub record: Record,
    /// What became of the generation that decided.
    pub generation: Standing,
    /// What the handler's `explain` procedure finds; absent if the manifest names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Looked>,
}

/// What became of a generation.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It serves.
    Serves,
    /// It answers a share of the requests, beside the one that serves.
    Canary,
    /// Another one serves, and a rollback would restore it.
    Previous,
    /// It was rolled back, for this reason.
    RolledBack(String),
    /// It was replaced.
    Replaced,
}

/// What a procedure found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Looked {
    /// The procedure.
    pub procedure: String,
    /// Its parameters and what it was called with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<(String, Json)>,
    /// Its columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Its rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Vec<Json>>,
    /// Why it was not called, or how that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Answers with what is known of the request with an id.
pub(super) async fn answer(admin: &Arc<Admin>, incoming: &Incoming) -> Outgoing {
    if !matches!(*incoming.method(), Method::GET | Method::HEAD) {
        return only(incoming.method(), "GET, HEAD, OPTIONS");
    }
    let query = Fields::of_query(incoming.uri().query().unwrap_or_default());
    answered(admin, &query).await.unwrap_or_else(|why| denied(&why))
}

async fn answered(admin: &Arc<Admin>, query: &Fields) -> Result<Outgoing, Denied> {
    if !admin.gate.may_read_records() {
        return Err(Denied::records());
    }
    query.only(&["id"])?;
    let node = admin.started()?;
    let id = query.get("id").filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Denied::bad("`id` is missing: the id of the request"))?.to_owned();
    let mut requests = Vec::new();
    for handler in &node.registry.table().handlers {
        let Some(ring) = handler.ring.get() else { continue };
        for kept in ring.last(usize::MAX, 0).iter().filter(|kept| *kept.id == *id) {
            match Record::parse(&kept.line) {
                Ok(record) => requests.push(found(node, handler, record).await),
                Err(error) => tracing::error!(handler = handler.entry.name, %error, "a record cannot be read"),
            }
        }
    }
    match requests.is_empty() {
        true => Err(Denied::missing(format!("no record of {}", log::escaped(&id)))),
        false => Ok(json(&Explained { id, requests })),
    }
}

async fn found(node: &Node, handler: &Handler, record: Record) -> Found {
    let explain = match &handler.entry.explain {
        Some(procedure) => Some(looked_up(node, handler, procedure, &record).await),
        None => None,
    };
    let at = Timestamp::from_microsecond(record.request.now).map(|at| format!("{at:.6}")).unwrap_or_default();
    Found { at, generation: standing(node, handler, &record), record, explain }
}

fn standing(node: &Node, handler: &Handler, record: &Record) -> Standing {
    let lineage = handler.lineage();
    let is = |number: u64, digest: Digest| number == record.generation && digest.to_string() == record.sha256;
    let decided = |generation: &Generation| is(generation.number, generation.component.compiled.digest);
    let barred = lineage.bars.iter().find(|back| is(back.number, back.digest)).map(|back| back.cause.clone());
    let rolled_back = || barred.or_else(|| rolled_back(&node.registry.audit, handler, record));
    match &lineage.previous {
        _ if decided(&lineage.current) => Standing::Serves,
        _ if lineage.canary.as_ref().is_some_and(|canary| decided(&canary.generation)) => Standing::Canary,
        Some(previous) if decided(previous) => Standing::Previous,
        _ => rolled_back().map_or(Standing::Replaced, Standing::RolledBack),
    }
}

/// Why the generation of a record was rolled back, if that was the last that was done with it. The audit log has it
/// also after the handlers folder has got another component, by which nothing is barred any more.
fn rolled_back(audit: &Audit, handler: &Handler, record: &Record) -> Option<String> {
    let of = |entry: &AuditEntry| {
        entry.handler.as_ref() == Some(&handler.entry.name)
            && entry.generation == Some(record.generation)
            && entry.sha256.as_ref() == Some(&record.sha256)
    };
    let last = audit.last(limits::AUDIT_ENTRIES_MAX).into_iter().rev().find(of)?;
    (last.event == Event::RolledBack.to_string()).then_some(last.why)
}

async fn looked_up(node: &Node, handler: &Handler, name: &str, record: &Record) -> Looked {
    let mut given = Vec::new();
    let arguments = |procedure: &Procedure| {
        let values = arguments(procedure, handler, record)?;
        let plain = values.iter().cloned().map(|value| Cell::of(value).plain());
        given = procedure.parameters().iter().cloned().zip(plain).collect();
        Ok(values)
    };
    let (columns, rows, failure) = match node.database.read_only(name, arguments).await {
        Ok(Rows { columns, values }) => {
            let plain: Vec<_> = values.into_iter().map(|value| Cell::of(value).plain()).collect();
            let rows = plain.chunks(columns.len().max(1)).map(<[_]>::to_vec).collect();
            (columns, rows, None)
        }
        Err(failure) => (Vec::new(), Vec::new(), Some(failure)),
    };
    Looked { procedure: name.to_owned(), arguments: given, columns, rows, failure }
}

/// The arguments for an `explain` procedure, by the names of its parameters.
fn arguments(procedure: &Procedure, handler: &Handler, record: &Record) -> Result<Vec<Value>, String> {
    let made = match &record.plan {
        Some(Plan::Call(made)) => handler.procedure(&made.procedure).map(|called| (called, made)),
        _ => None,
    };
    if let Some((called, made)) = made
        && record.signature.as_deref() != Some(called.digest())
    {
        return Err(format!("`{}` has another signature now than when the request called it", made.procedure));
    }
    let given = |name: &String| {
        if let Some((called, made)) = made
            && let Some(index) = called.parameters().iter().position(|parameter| parameter == name)
        {
            if let Some(path) = record.redacted.iter().find(|path| is_argument(path, name)) {
                return Err(format!("`{path}` was redacted, so that its rows cannot be found"));
            }
            let cell = made.arguments.get(index);
            return cell.ok_or_else(|| format!("the call of `{}` left `{name}` out", made.procedure))?.value();
        }
        let headers = || record.request.headers.iter().find(|(header, _)| header == "idempotency-key");
        let own = match name.as_str() {
            "request_id" => Some(record.request.id.clone()),
            "trace_id" => record.trace.clone(),
            "idempotency_key" => headers().map(|(_, key)| key.clone()),
            _ => None,
        };
        own.map(Value::Text).ok_or_else(|| match &made {
            Some((_, made)) => format!("the request called `{}`, which has no `{name}`", made.procedure),
            None => format!("the request made no call, so that there is no `{name}`"),
        })
    };
    procedure.parameters().iter().map(given).collect()
}

/// Whether what was redacted is, or may be, in an argument.
fn is_argument(redacted: &str, name: &str) -> bool {
    let Some(inside) = redacted.strip_prefix("call.arguments") else { return false };
    let its = inside.strip_prefix('.').and_then(|inside| inside.strip_prefix(name));
    inside.is_empty() || its.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_redacted_as_a_whole_in_part_or_somewhere() {
        for (path, is) in [
            ("call.arguments", true),
            ("call.arguments.key", true),
            ("call.arguments.key.part", true),
            ("call.arguments.keys", false),
            ("call.arguments.other", false),
            ("call.carry", false),
            ("request.body.key", false),
        ] {
            assert_eq!(is_argument(path, "key"), is, "{path}");
        }
    }
}
