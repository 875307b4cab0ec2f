//! What an operator orders at the admin address: the bodies of `POST /handlers/NAME/deploy`, `/canary` and `/rollback`,
//! and of `POST /candidates/DIGEST/accept`. `galo` writes them, and `admin` reads them.

use serde::{Deserialize, Serialize};

/// Who asks for something, and why. `POST /candidates/DIGEST/accept` takes it; a shadow has it in its query.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Who asks.
    pub who: String,
    /// Why.
    pub why: String,
}

/// What `POST /handlers/NAME/deploy` takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployOrder {
    /// The component, in base64.
    pub component: String,
    /// Its signature in the format of minisign.
    #[serde(default)]
    pub signature: Option<String>,
    /// The share: `1%`.
    pub percent: String,
    /// By what requests are chosen: `id`, `header:x-tenant`, `claim:sub`, `request`.
    pub by: String,
    /// What an answer that differs means: `refuse` or `report`; none is what the manifest says.
    #[serde(default)]
    pub differences: Option<String>,
    /// The id of the deployment, which the command has made up: further orders of the same deployment have it.
    #[serde(default)]
    pub deployment: Option<String>,
    /// Who deploys.
    pub who: String,
    /// Why.
    pub why: String,
}

/// What `POST /handlers/NAME/canary` takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepOrder {
    /// The digest of the canary.
    pub sha256: String,
    /// Its next share; none promotes it: it serves from then on.
    pub percent: Option<String>,
    /// Only if the canary is of this deployment.
    #[serde(default)]
    pub deployment: Option<String>,
    /// The canary becomes one of this deployment, whatever it was of.
    #[serde(default)]
    pub resumes: bool,
    /// Who asks.
    pub who: String,
    /// Why.
    pub why: String,
}

/// What `POST /handlers/NAME/rollback` takes. A request without a body rolls back as well.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackOrder {
    /// How the digest of the kept generation begins that is to serve; none is the one before.
    #[serde(default)]
    pub to: Option<String>,
    /// Only if the digest of the canary, or of what serves if there is none, begins so. Otherwise nothing is changed.
    #[serde(default)]
    pub only: Option<String>,
    /// Only if that is of this deployment. Otherwise nothing is changed.
    #[serde(default)]
    pub deployment: Option<String>,
    /// Who asks.
    pub who: String,
    /// Why.
    pub why: String,
}

impl RollbackOrder {
    /// Of the canary, or to the generation before.
    #[must_use]
    pub fn of(Reason { who, why }: Reason) -> Self {
        Self { to: None, only: None, deployment: None, who, why }
    }
}
