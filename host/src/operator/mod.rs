//! The commands for running nodes, over their admin addresses. `galo handlers`, `galo rollback`, `galo audit`,
//! `galo accept` and `galo explain` return the text for stdout; `galo deploy`, `galo tap`, `galo record` and
//! `galo shadow` report or write as they go.

mod ask;
mod deploy;
mod deployment;
mod ending;
mod explain;
mod filter;
mod fleet;
mod line;
mod logged;
mod name;
mod record;
mod shadow;
mod table;
mod tap;

use anyhow::{Context as _, bail, ensure};
use http::{Method, StatusCode};

pub use self::ask::Access;
use self::ask::{ask, order};
pub use self::deploy::deploy;
pub use self::deployment::Deployment;
pub use self::explain::explain;
pub use self::filter::{Filter, Statuses};
pub use self::line::Colour;
pub use self::logged::logged;
pub use self::record::record;
pub use self::shadow::{Ended, Shadowing};
pub use self::tap::{Tap, tap};
use crate::limits;
use crate::log::escaped;
use crate::report::{Acceptance, AuditEntry, HandlerReport, NodeReport, Reason, RollbackOrder};

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

/// Rolls a handler back to its previous generation, or to one that the node has kept; if only a certain component is to
/// be taken back, nothing is changed where that neither serves nor is a canary.
///
/// # Errors
/// As [`handlers`]; also when the node has no such handler, or the handler no such generation.
pub async fn rollback(access: &Access, name: &str, rollback: &RollbackOrder) -> anyhow::Result<String> {
    name::check(name)?;
    if let Some(only) = &rollback.only {
        let report: NodeReport = ask(access, Method::GET, "/handlers").await?.json(StatusCode::OK)?;
        let handler = report.handlers.iter().find(|handler| handler.name == name);
        let newest = handler.map(|handler| handler.canary.as_ref().map_or(&handler.sha256, |canary| &canary.sha256));
        if newest.is_some_and(|newest| !newest.starts_with(only)) {
            let only = escaped(only);
            return Ok(format!("{name}: {only} neither serves nor is a canary, nothing was changed\n"));
        }
    }
    let wait = if rollback.to.is_some() { limits::DEPLOY_TIMEOUT } else { limits::OPERATOR_TIMEOUT };
    let answer = order(access, &format!("/handlers/{name}/rollback"), rollback, wait).await?;
    if answer.status.is_client_error() {
        bail!("{}; {} lists the handlers and their generations", answer.message(), access.command("handlers"));
    }
    let handler: HandlerReport = answer.json(StatusCode::OK)?;
    let rolled_back = handler.rolled_back.context("the answer does not name the generation that was rolled back")?;
    let name = escaped(&handler.name);
    let (from, to) = (rolled_back.generation, handler.generation);
    let passed = rolled_back.passed_over().unwrap_or_default();
    Ok(format!("{name}: rolled back from generation {from} to generation {to}{passed}\n"))
}

/// The audit log of a node: its last entries, or those that concern one handler.
///
/// # Errors
/// As [`handlers`].
pub async fn audit(access: &Access, name: Option<&str>, last: usize, listing: Listing) -> anyhow::Result<String> {
    let answer = ask(access, Method::GET, "/api/audit").await?;
    let entries: Vec<AuditEntry> = answer.json_lines()?;
    if name.is_some() && entries.iter().all(|entry| entry.handler.as_deref() != name) {
        // One that was removed has its entries still.
        names(access, name).await?;
    }
    let wanted: Vec<_> = entries
        .into_iter()
        .filter(|entry| name.is_none_or(|name| entry.handler.as_deref().is_none_or(|its| its == name)))
        .collect();
    let wanted = &wanted[wanted.len().saturating_sub(last)..];
    match listing {
        Listing::Table if wanted.is_empty() => Ok("no entry yet\n".to_owned()),
        Listing::Table => Ok(table::audit(wanted)),
        Listing::Json => Ok(wanted.iter().map(table::line).collect::<serde_json::Result<String>>()?),
    }
}

/// Accepts what a candidate decides otherwise on recorded requests.
///
/// # Errors
/// As [`handlers`]; also when no candidate has such a digest, or several have.
pub async fn accept(access: &Access, digest: &str, asked: &Reason) -> anyhow::Result<String> {
    // It becomes part of a path.
    ensure!(
        digest.len() >= limits::ACCEPT_DIGITS_MIN && digest.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "invalid digest `{}`: use at least {} of its digits, as `galo handlers` lists it",
        escaped(digest),
        limits::ACCEPT_DIGITS_MIN
    );
    let path = format!("/candidates/{}/accept", digest.to_ascii_lowercase());
    let answer = order(access, &path, asked, limits::OPERATOR_TIMEOUT).await?;
    if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
        bail!("{}; {} lists what the gate found", answer.message(), access.command("handlers --json"));
    }
    let Acceptance { sha256, handlers } = answer.json(StatusCode::OK)?;
    let names: Vec<_> = handlers.iter().map(|name| escaped(name)).collect();
    Ok(format!("{}: {} is accepted\n", names.join(", "), escaped(&sha256)))
}

/// The handlers of a node that are meant: the one of this name, or all.
async fn names(access: &Access, wanted: Option<&str>) -> anyhow::Result<Vec<String>> {
    let report: NodeReport = ask(access, Method::GET, "/handlers").await?.json(StatusCode::OK)?;
    let names: Vec<_> = report.handlers.into_iter().map(|handler| handler.name).collect();
    let Some(wanted) = wanted else { return Ok(names) };
    name::check(wanted)?;
    ensure!(
        names.is_empty() || names.iter().any(|name| name == wanted),
        "{} has no handler {wanted}; it has: {}",
        access.admin,
        escaped(&names.join(", "))
    );
    Ok(vec![wanted.to_owned()])
}

/// What a node says about recording when it has no record.
fn nothing(admin: &crate::config::Address, recording: &str) -> String {
    match recording {
        "0" => format!(
            "{admin} records nothing: start the node with --record 1 (or GALO_RECORD=1; N for one request in N), or switch \
             it on while it runs: POST /api/recording?every=1 there"
        ),
        _ => format!("{admin} has no record yet"),
    }
}
