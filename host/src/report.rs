//! The JSON report of `GET /handlers`: which generation of each handler serves, and what was refused or rolled back.
//! `admin` writes it and `operator` reads it. Both use these types, so they cannot differ.
//!
//! Times are RFC 3339 in UTC with microseconds, digests are hexadecimal.

mod orders;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::orders::{DeployOrder, Reason, RollbackOrder, StepOrder};

/// A node's handlers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The manifest they come from.
    pub manifest: ManifestReport,
    /// In the order of the manifest. Empty while the node starts.
    pub handlers: Vec<HandlerReport>,
}

/// The manifest a node serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestReport {
    /// When it was loaded, if known.
    pub loaded: Option<String>,
    /// Why a newer manifest does not serve.
    pub refused: Option<Refusal>,
}

/// One handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerReport {
    /// Its name in the manifest.
    pub name: String,
    /// Method and path of each of its routes.
    pub routes: Vec<String>,
    /// The number of the generation that serves.
    pub generation: u64,
    /// Its digest.
    pub sha256: String,
    /// The id of the deployment that it is of, if it was deployed since the node started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The state of the serving generation.
    pub state: State,
    /// Since when it serves, if known.
    pub since: Option<String>,
    /// Requests answered.
    pub calls: u64,
    /// Guest calls that trapped, exceeded a limit or violated the contract.
    pub faults: u64,
    /// The generation that a rollback would restore.
    pub previous: Option<Previous>,
    /// The generation that answers a share of the requests, while one is deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryReport>,
    /// The generation that was last rolled back.
    pub rolled_back: Option<RolledBack>,
    /// Why a newer component does not serve.
    pub refused: Option<Refusal>,
    /// Why the last component that was deployed was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_deployment: Option<Refusal>,
    /// What the last new component decides otherwise on recorded requests.
    #[serde(default)]
    pub gate: Option<Gate>,
    /// What the last shadow decides otherwise on live requests.
    #[serde(default)]
    pub shadow: Option<Shadow>,
}

/// What a component decides otherwise on recorded requests than the generation that served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Its digest.
    pub sha256: String,
    /// What follows from a difference: `report` or `refuse`.
    pub policy: String,
    /// All of it in one line: `3 of 256 differ`.
    pub summary: String,
    /// The counts.
    pub counts: Counts,
    /// Requests that differ as changed examples state it.
    pub intended: u64,
    /// An operator has accepted it.
    pub accepted: bool,
}

/// A component that runs beside the live requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// Its digest.
    pub sha256: String,
    /// `verifying`, `running`, `refused` or `ended`.
    pub state: ShadowState,
    /// Why it was refused. It may contain text from a guest.
    pub message: Option<String>,
    /// One request in so many runs on it.
    pub every: usize,
    /// The seconds that it still runs.
    pub seconds_left: u64,
    /// The counts.
    pub counts: Counts,
    /// Requests that it had no time for.
    pub dropped: u64,
}

/// How far a shadow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShadowState {
    /// It is being compiled and verified.
    Verifying,
    /// It runs.
    Running,
    /// It did not pass, and never ran.
    Refused,
    /// It has ended.
    Ended,
}

/// The counts of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that were compared.
    pub compared: u64,
    /// Those of them that are decided otherwise.
    pub differ: u64,
    /// Requests that could not be compared.
    pub skipped: u64,
    /// Where, the most frequent first. The names in a path may come from a body.
    pub paths: Vec<PathCount>,
}

/// In how many requests a path differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathCount {
    /// The path, such as `response.body.items[].price`.
    pub path: String,
    /// In so many.
    pub count: u64,
}

/// What was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The digest of the component.
    pub sha256: String,
    /// The handlers that it is a component of.
    pub handlers: Vec<String>,
}

/// The state of a serving generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It serves. An older node reports `rolled back` where its successor was.
    #[serde(rename = "live", alias = "rolled back")]
    Live,
    /// It serves, but its first faults restore the previous generation.
    #[serde(rename = "probation")]
    Probation,
}

/// A generation that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its number.
    pub generation: u64,
    /// Its digest.
    pub sha256: String,
}

/// A generation that answers a share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryReport {
    /// Its number.
    pub generation: u64,
    /// Its digest.
    pub sha256: String,
    /// The id of the deployment that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// How many requests it answers: `10%`.
    pub percent: String,
    /// By what they are chosen: `id`, `header:x-tenant`, `claim:sub`, `request`.
    pub by: String,
    /// What an answer that differs means: `refuse` or `report`.
    pub differences: String,
    /// When it began.
    pub since: String,
    /// Requests answered.
    pub calls: u64,
    /// Its faults.
    pub faults: u64,
    /// Requests on which it was compared with the old generation.
    pub compared: u64,
    /// Those of them that it decided otherwise.
    pub differed: u64,
    /// Those of them that differ as changed examples state it.
    #[serde(default)]
    pub intended: u64,
    /// How many times as long as the old generation's its guest calls take, in this step: `1.02`.
    pub time: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: String,
    /// The handler; none if it concerns all of them.
    pub handler: Option<String>,
    /// What was done: `canary`, `step`, `promoted`, `ended`, `live`, `rolled back`, `restored`, `signed`, `refused`,
    /// `accepted`, `shadow`, `shadow ended`, `recording`, `records discarded`, `manifest`.
    pub event: String,
    /// The number of the generation, if it has one.
    pub generation: Option<u64>,
    /// The digest of the component, if it concerns one.
    pub sha256: Option<String>,
    /// Who: a person as the command names them, `admin address` for a request that names nobody, `node`, or
    /// `handlers folder`.
    pub who: String,
    /// Why. It may contain text from a guest: escape it before printing it to a terminal.
    pub why: String,
}

/// A generation that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// Its number.
    pub generation: u64,
    /// Its digest.
    pub sha256: String,
    /// Why, in words.
    pub cause: String,
    /// When.
    pub at: String,
    /// The generation that it replaced while that was on probation, and that therefore does not serve again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<u64>,
}

/// A manifest or component that does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The step that failed: `manifest`, `examples`, ...
    pub stage: String,
    /// The reason. It may contain text from a guest: escape it before printing it to a terminal.
    pub message: String,
    /// The digest of the refused component, if it has one.
    pub sha256: Option<String>,
    /// When.
    pub at: String,
}

impl RolledBack {
    /// Why the generation before it does not serve again, to be added to a line.
    pub fn passed_over(&self) -> Option<String> {
        Some(format!("; generation {} had not finished its probation when it was replaced", self.passed_over?))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Live => "live",
            Self::Probation => "probation",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_the_json_that_is_promised() {
        let json = serde_json::json!({
            "manifest": {"loaded": "2026-01-01T00:00:00.000000Z", "refused": {
                "stage": "manifest", "message": "m", "sha256": null, "at": "2026-01-01T00:00:00.000000Z"}},
            "handlers": [{
                "name": "orders", "routes": ["POST /customers/{id}/orders", "GET /orders"], "generation": 4, "sha256": "ab",
                "state": "live", "since": "2026-01-01T00:00:00.000000Z", "calls": 123, "faults": 0,
                "previous": {"generation": 3, "sha256": "cd"},
                "rolled_back": {"generation": 5, "sha256": "ef", "cause": "c", "at": "2026-01-01T00:00:00.000000Z"},
                "refused": {"stage": "examples", "message": "m", "sha256": "ab", "at": "2026-01-01T00:00:00.000000Z"},
                "gate": {"sha256": "ab", "policy": "report", "summary": "1 of 2 differ", "intended": 0, "accepted": false,
                    "counts": {"compared": 2, "differ": 1, "skipped": 0,
                        "paths": [{"path": "response.status", "count": 1}]}},
                "shadow": {"sha256": "ab", "state": "running", "message": null, "every": 10, "seconds_left": 60,
                    "dropped": 0, "counts": {"compared": 0, "differ": 0, "skipped": 0, "paths": []}},
            }],
        });
        let report: NodeReport = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&report).unwrap(), json);
        assert_eq!(report.handlers[0].state.to_string(), "live");
        // As a node of an earlier version reports it.
        assert_eq!(serde_json::from_value::<State>("rolled back".into()).unwrap(), State::Live);
    }
}
