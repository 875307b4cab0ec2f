//! What `galo deploy` brings to the nodes.

use std::time::Duration;

use anyhow::ensure;

use super::table::escaped;

/// What is deployed, and how.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The handler.
    pub name: String,
    /// The component.
    pub component: Vec<u8>,
    /// Its digest, in hexadecimal.
    pub sha256: String,
    /// Its signature.
    pub signature: Option<String>,
    /// The shares, in order.
    pub steps: Vec<String>,
    /// Whether the last step is every request, after which it is promoted.
    pub promotes: bool,
    /// How long each step is held.
    pub hold: Duration,
    /// By what requests are chosen.
    pub by: String,
    /// What an answer that differs means.
    pub differences: String,
    /// Who deploys.
    pub who: String,
    /// Why.
    pub why: String,
}

/// Checks the name of a handler, which becomes part of a path. A manifest has the same rule.
pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.chars().all(well_formed),
        "invalid handler name `{}`: use letters, digits, `-` and `_`",
        escaped(name)
    );
    Ok(())
}
