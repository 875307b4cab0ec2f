//! The commands for a running node, `galo handlers` and `galo rollback`, over its admin address. They return the text
//! for stdout.

mod ask;
mod table;

use anyhow::{Context as _, bail, ensure};
use http::{Method, StatusCode};

pub use self::ask::Access;
use self::ask::ask;
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
    // The name becomes part of a path. A manifest has the same rule.
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.chars().all(well_formed),
        "invalid handler name `{}`: use letters, digits, `-` and `_`",
        escaped(name)
    );
    let answer = ask(access, Method::POST, &format!("/handlers/{name}/rollback")).await?;
    if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
        bail!("{}; `galo handlers` lists the handlers and their generations", answer.message());
    }
    let handler: HandlerReport = answer.json(StatusCode::OK)?;
    let rolled_back = handler.rolled_back.context("the answer does not name the generation that was rolled back")?;
    let name = escaped(&handler.name);
    Ok(format!("{name}: rolled back from generation {} to generation {}\n", rolled_back.generation, handler.generation))
}
