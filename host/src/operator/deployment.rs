//! What `galo deploy` brings to the nodes.

use std::time::Duration;

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
    /// What an answer that differs means, if not what the manifest says.
    pub differences: Option<String>,
    /// Who deploys.
    pub who: String,
    /// Why.
    pub why: String,
}
