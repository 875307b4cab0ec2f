//! The commands for a running node over its admin address. `galo handlers`, `galo rollback` and `galo explain` return
//! the text for stdout; `galo tap` and `galo record` write as they go.

mod ask;
mod explain;
mod filter;
mod line;
mod logged;
mod record;
mod table;
mod tap;

use anyhow::{Context as _, bail, ensure};
use http::{Method, StatusCode};

pub use self::ask::Access;
use self::ask::ask;
pub use self::explain::explain;
pub use self::filter::{Filter, Statuses};
pub use self::line::Colour;
pub use self::logged::logged;
pub use self::record::record;
pub use self::tap::{Tap, tap};
use crate::log::escaped;
use crate::report::{HandlerReport, NodeReport};

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

/// Rolls a handler back to its previous generation.
///
/// # Errors
/// As [`handlers`]; also when the node has no such handler, or the handler no previous generation.
pub async fn rollback(access: &Access, name: &str) -> anyhow::Result<String> {
    check_name(name)?;
    let answer = ask(access, Method::POST, &format!("/handlers/{name}/rollback")).await?;
    if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
        bail!("{}; `galo handlers` lists the handlers and their generations", answer.message());
    }
    let handler: HandlerReport = answer.json(StatusCode::OK)?;
    let rolled_back = handler.rolled_back.context("the answer does not name the generation that was rolled back")?;
    let name = escaped(&handler.name);
    Ok(format!("{name}: rolled back from generation {} to generation {}\n", rolled_back.generation, handler.generation))
}

/// Checks the name of a handler, which becomes part of a path. A manifest has the same rule.
fn check_name(name: &str) -> anyhow::Result<()> {
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.chars().all(well_formed),
        "invalid handler name `{}`: use letters, digits, `-` and `_`",
        escaped(name)
    );
    Ok(())
}

/// The handlers of a node that are meant: the one of this name, or all.
async fn names(access: &Access, wanted: Option<&str>) -> anyhow::Result<Vec<String>> {
    let report: NodeReport = ask(access, Method::GET, "/handlers").await?.json(StatusCode::OK)?;
    let names: Vec<_> = report.handlers.into_iter().map(|handler| handler.name).collect();
    let Some(wanted) = wanted else { return Ok(names) };
    check_name(wanted)?;
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
