//! What a person tells a running node: `galo handlers` and `galo rollback`, over its admin address. It knows a node by
//! its answers only. Called by `cli`; what comes back is the text for stdout.

mod ask;
mod table;

use anyhow::{Context as _, bail, ensure};
use http::{Method, StatusCode};

use self::ask::ask;
use self::table::escaped;
use crate::config::{Address, Token};
use crate::report::{HandlerReport, NodeReport};

/// How to reach a node.
#[derive(Debug, Clone)]
pub struct Access {
    /// Its admin address.
    pub admin: Address,
    /// What to show there.
    pub token: Option<Token>,
}

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
/// When nobody listens there, the node refuses, or its answer is none of ours.
pub async fn handlers(access: &Access, listing: Listing) -> anyhow::Result<String> {
    let answer = ask(access, Method::GET, "/handlers").await?;
    let report: NodeReport = answer.json(StatusCode::OK)?;
    match listing {
        Listing::Table => Ok(table::table(&report)),
        Listing::Json => Ok(table::json(&report)?),
    }
}

/// Takes the current generation of a handler back and has the one before it serve again.
///
/// # Errors
/// As [`handlers`]; also when the node has no such handler, or the handler no previous generation.
pub async fn rollback(access: &Access, name: &str) -> anyhow::Result<String> {
    // The name becomes a part of a path, and a manifest takes no other.
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.chars().all(well_formed),
        "`{}` is no name of a handler: letters, digits, `-` and `_` make one",
        escaped(name)
    );
    let answer = ask(access, Method::POST, &format!("/handlers/{name}/rollback")).await?;
    if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
        bail!("{}; `galo handlers` shows what there is", answer.told());
    }
    let handler: HandlerReport = answer.json(StatusCode::OK)?;
    let taken_back = handler.rolled_back.context("the node does not say which generation it took back")?;
    let name = escaped(&handler.name);
    Ok(format!(
        "{name}: generation {} live again, generation {} taken back\n",
        handler.generation, taken_back.generation
    ))
}
