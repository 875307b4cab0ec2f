//! The commands that change which generation serves: `POST /handlers/NAME/deploy`, `/canary` and `/rollback`, each with
//! an order in JSON (`report`). A rollback may come without one, as curl sends it. `registry` carries them out.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::body::unnamed;
use super::gate::Gate;
use super::out::{json, only, text};
use super::show;
use crate::guest::Digest;
use crate::limits;
use crate::node::Node;
use crate::registry::{Denied, Generation, Handler, Of, Percent, Share, What, Who};
use crate::report::{DeployOrder, HandlerReport, RollbackOrder, StepOrder};
use crate::wire::{Incoming, Outgoing};

/// Why a command is not carried out: the status and the text of the answer.
pub(super) type Denial = (StatusCode, String);

/// Whether this is the path of a command.
pub(super) fn is_command(path: &str) -> bool {
    parts(path).is_some()
}

/// The handler and the command of a path.
fn parts(path: &str) -> Option<(&str, &str)> {
    let (name, command) = path.strip_prefix("/handlers/")?.rsplit_once('/')?;
    ["deploy", "canary", "rollback"].contains(&command).then_some((name, command))
}

/// Answers a request for a command.
pub(super) async fn answer(gate: &Gate, node: Option<&Arc<Node>>, incoming: Incoming) -> Outgoing {
    if incoming.method() != Method::POST {
        return only(incoming.method(), "POST, OPTIONS");
    }
    let Some(node) = node else { return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
    match command(gate, node, incoming).await {
        Ok(report) => json(&report),
        Err((status, message)) => text(status, message + "\n"),
    }
}

/// Carries a command out. Returns the handler as it is afterwards.
async fn command(gate: &Gate, node: &Node, incoming: Incoming) -> Result<HandlerReport, Denial> {
    let path = incoming.uri().path().to_owned();
    let (name, command) = parts(&path).unwrap_or_default();
    let operates = || gate.may_operate().map_err(|why| (StatusCode::FORBIDDEN, why.to_owned()));
    if command != "rollback" {
        operates()?;
    }
    let absent = || (StatusCode::NOT_FOUND, format!("no handler {name}"));
    let table = node.registry.table();
    let handler = Arc::clone(table.handler(name).ok_or_else(absent)?);
    drop(table);
    let body = body(incoming).await?;
    match command {
        "deploy" => deploy(node, name, parsed(&body)?).await?,
        "canary" => step(&handler, &parsed(&body)?)?,
        _ => {
            let order = if body.is_empty() { RollbackOrder::of(unnamed()) } else { parsed(&body)? };
            // Back to what served before goes whoever may ask at all: it is the brake.
            if order.to.is_some() {
                operates()?;
            }
            rollback(node, &handler, order).await?;
        }
    }
    // A manifest may have replaced it in the meantime.
    let table = node.registry.table();
    Ok(show::handler(table.handler(name).ok_or_else(absent)?, &node.gates))
}

/// The body of a command, within its bounds.
pub(super) async fn body(incoming: Incoming) -> Result<Vec<u8>, Denial> {
    let body = incoming.into_body();
    let wait = body.timeout();
    let bad = |text: String| (StatusCode::BAD_REQUEST, text);
    match timeout(wait, Limited::new(body, limits::DEPLOY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().into()),
        Ok(Err(error)) => Err(bad(format!("the order cannot be read: {error}"))),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the order did not come in time".to_owned())),
    }
}

pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Denial> {
    serde_json::from_slice(body).map_err(|error| {
        (StatusCode::BAD_REQUEST, format!("the order is malformed: {error}; do node and `galo` have the same version?"))
    })
}

/// Refuses an order without a reason: the audit log is read when it is too late to ask.
fn reasoned(who: &str, why: &str) -> Result<(), Denial> {
    match who.trim().is_empty() || why.trim().is_empty() {
        true => Err(bad("`who` and `why` are for the audit log: give both".to_owned())),
        false => Ok(()),
    }
}

fn bad(text: String) -> Denial {
    (StatusCode::BAD_REQUEST, text)
}

async fn deploy(node: &Node, name: &str, order: DeployOrder) -> Result<(), Denial> {
    let DeployOrder { component, signature, percent, by, differences, deployment, who, why } = order;
    reasoned(&who, &why)?;
    let component = BASE64_STANDARD.decode(component).map_err(|error| bad(format!("component: {error}")))?;
    if component.len() as u64 > limits::COMPONENT_BYTES_MAX {
        return Err(bad(format!("a component may have {} bytes", limits::COMPONENT_BYTES_MAX)));
    }
    let share = Share { percent: percent.parse().map_err(bad)?, by: by.parse().map_err(bad)? };
    let differences = differences.map(|text| text.parse()).transpose().map_err(bad)?;
    let what = What::Canary { component, signature, share, differences, deployment };
    node.registry.deployments.order(name.to_owned(), what, Who::person(&who), why).await.map_err(denial)
}

fn step(handler: &Handler, order: &StepOrder) -> Result<(), Denial> {
    let digest = Digest::parse(&order.sha256).ok_or_else(|| bad("sha256: not a digest".to_owned()))?;
    reasoned(&order.who, &order.why)?;
    let (who, why) = (Who::person(&order.who), &*order.why);
    let of = match &order.deployment {
        Some(id) if order.resumes => Of::Resumed(id),
        Some(id) => Of::Only(id),
        None => Of::Any,
    };
    let conflict = |text| (StatusCode::CONFLICT, text);
    let name = &handler.entry.name;
    match &order.percent {
        Some(percent) => {
            let percent: Percent = percent.parse().map_err(bad)?;
            handler.step(digest, percent, of, (&who, why)).map_err(conflict)?;
            tracing::info!("{name}: the canary answers {percent}");
        }
        None => {
            let serving = handler.promote(digest, of, (&who, why)).map_err(conflict)?;
            let text = format!("promoted from a canary by {}: {}", order.who, order.why);
            handler.metrics.swapped(serving.number, &text);
            tracing::info!(sha256 = %digest, "{name}: generation {} live — promoted from a canary", serving.number);
        }
    }
    Ok(())
}

async fn rollback(node: &Node, handler: &Handler, order: RollbackOrder) -> Result<(), Denial> {
    reasoned(&order.who, &order.why)?;
    for given in [&order.to, &order.only].into_iter().flatten() {
        if given.is_empty() || !given.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad(format!("`{given}` is not the beginning of a digest")));
        }
    }
    let Some(to) = order.to.clone() else { return back(handler, &order) };
    let lineage = handler.lineage();
    let is_it = |generation: &Generation| generation.component.compiled.digest.to_string().starts_with(&to);
    // What is in memory needs no verification.
    let before = match &lineage.canary {
        Some(_) => is_it(&lineage.current),
        None => lineage.previous.as_deref().is_some_and(is_it),
    };
    if before {
        return back(handler, &order);
    }
    let what = What::Restore { digest: to };
    let (name, who) = (handler.entry.name.clone(), Who::person(&order.who));
    node.registry.deployments.order(name, what, who, order.why).await.map_err(denial)
}

/// Ends the canary, or goes back to the generation before.
pub(super) fn back(handler: &Handler, order: &RollbackOrder) -> Result<(), Denial> {
    let (name, from) = (&handler.entry.name, newest(handler));
    // Whoever asks for a certain one has nothing against any other.
    let is_it = |only: &String| !only.is_empty() && from.component.compiled.digest.to_string().starts_with(only);
    if !order.only.as_ref().is_none_or(is_it) || !order.deployment.as_ref().is_none_or(|id| from.is_of(id)) {
        return Ok(());
    }
    let none = || (StatusCode::CONFLICT, format!("{name} has no previous generation"));
    let serving = handler.roll_back(&from, &Who::person(&order.who), order.why.clone()).ok_or_else(none)?;
    let (back, number) = (serving.number, from.number);
    let text = format!("generation {number} rolled back, as requested by {}: {}", order.who, order.why);
    handler.metrics.rolled_back(back, &text);
    tracing::warn!("{name}: rolled back from generation {number} to generation {back}, as requested");
    Ok(())
}

/// What a rollback begins with: the canary, or what serves.
pub(super) fn newest(handler: &Handler) -> Arc<Generation> {
    let lineage = handler.lineage();
    Arc::clone(lineage.canary.as_ref().map_or(&lineage.current, |canary| &canary.generation))
}

fn denial(denied: Denied) -> Denial {
    match denied {
        Denied::Absent(text) => (StatusCode::NOT_FOUND, text),
        Denied::Conflict(text) => (StatusCode::CONFLICT, text),
        Denied::Refused(text) => (StatusCode::UNPROCESSABLE_ENTITY, text),
        Denied::Busy => (StatusCode::SERVICE_UNAVAILABLE, "other deployments are under way: try it again".to_owned()),
    }
}
