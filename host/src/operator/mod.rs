//! The commands for running nodes, `galo handlers`, `galo deploy`, `galo rollback` and `galo audit`, over their admin
//! addresses. They return the text for stdout, except `deploy`, which reports as it goes.

mod ask;
mod deploy;
mod deployment;
mod fleet;
mod table;

use anyhow::{Context as _, bail};
use http::{Method, StatusCode};

pub use self::ask::Access;
use self::ask::{ask, order};
pub use self::deploy::deploy;
pub use self::deployment::Deployment;
use self::deployment::check_name;
use self::table::escaped;
use crate::limits;
use crate::report::{AuditEntry, HandlerReport, NodeReport, RollbackOrder};

/// How handlers are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// A table for people.
    Table,
    /// The node's own JSON.
    Json,
}

/// Lists the handlers of a node.
///
/// # Errors
/// When nobody listens there, the node refuses the request, or the answer is not that of a node.
pub async fn handlers(access: &Access, listing: Listing) -> anyhow::Result<String> {
    let answer = ask(access, Method::GET, "/handlers").await?;
    let report: NodeReport = answer.json(StatusCode::OK)?;
    match listing {
        Listing::Table => Ok(table::table(&report)),
        Listing::Json => Ok(table::json(&report)?),
    }
}

/// Rolls a handler back to its previous generation, or to one that the node has kept.
///
/// # Errors
/// As [`handlers`]; also when the node has no such handler, or the handler no such generation.
pub async fn rollback(access: &Access, name: &str, rollback: &RollbackOrder) -> anyhow::Result<String> {
    check_name(name)?;
    let wait = if rollback.to.is_some() { limits::DEPLOY_TIMEOUT } else { limits::OPERATOR_TIMEOUT };
    let answer = order(access, &format!("/handlers/{name}/rollback"), rollback, wait).await?;
    if answer.status.is_client_error() {
        bail!("{}; `galo handlers` lists the handlers and their generations", answer.message());
    }
    let handler: HandlerReport = answer.json(StatusCode::OK)?;
    let rolled_back = handler.rolled_back.context("the answer does not name the generation that was rolled back")?;
    let name = escaped(&handler.name);
    Ok(format!("{name}: rolled back from generation {} to generation {}\n", rolled_back.generation, handler.generation))
}

/// The audit log of a node: its last entries, of one handler or of all.
///
/// # Errors
/// As [`handlers`].
pub async fn audit(access: &Access, name: Option<&str>, last: usize, listing: Listing) -> anyhow::Result<String> {
    let answer = ask(access, Method::GET, "/api/audit").await?;
    let entries: Vec<AuditEntry> = answer.lines(StatusCode::OK)?;
    let wanted: Vec<_> = entries.into_iter().filter(|entry| name.is_none_or(|name| entry.handler == name)).collect();
    let wanted = &wanted[wanted.len().saturating_sub(last)..];
    match listing {
        Listing::Table => Ok(table::audit(wanted)),
        Listing::Json => Ok(wanted.iter().map(table::line).collect::<serde_json::Result<String>>()?),
    }
}
