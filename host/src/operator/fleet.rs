//! The nodes of one deployment, as `deploy` asks them: the state of the canary on each, and the orders that change it.

use std::time::Instant;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};

use super::ask::{Access, ask, order};
use super::deployment::Deployment;
use crate::limits;
use crate::log::escaped;
use crate::report::{CanaryReport, DeployOrder, HandlerReport, NodeReport, RollbackOrder, StepOrder};

/// One node.
pub(super) struct Member<'a> {
    pub(super) access: &'a Access,
    /// Since when it has not answered.
    silent: Option<Instant>,
}

/// The state of a deployment on a node.
pub(super) enum Found {
    /// Its canary answers a share.
    Canary(CanaryReport),
    /// It does not; with the reason.
    Gone(String),
    /// The node does not answer, for a moment.
    Silent,
}

impl<'a> Member<'a> {
    pub(super) fn new(access: &'a Access) -> Self {
        Self { access, silent: None }
    }

    /// The handler as the node serves it now.
    pub(super) async fn handler(&self, name: &str) -> anyhow::Result<HandlerReport> {
        let report: NodeReport = ask(self.access, Method::GET, "/handlers").await?.json(StatusCode::OK)?;
        let found = report.handlers.into_iter().find(|handler| handler.name == name);
        found.with_context(|| format!("{} has no handler {name}; `galo handlers` lists them", self.access.admin))
    }

    /// What has become of the canary. A node that has not answered for a moment may be restarting.
    pub(super) async fn look(&mut self, deployment: &Deployment) -> Found {
        let handler = match self.handler(&deployment.name).await {
            Ok(handler) => handler,
            Err(error) => {
                let since = *self.silent.get_or_insert_with(Instant::now);
                if since.elapsed() < limits::OPERATOR_TIMEOUT {
                    return Found::Silent;
                }
                return Found::Gone(format!("it does not answer: {error:#}"));
            }
        };
        self.silent = None;
        let sha256 = &deployment.sha256;
        if let Some(canary) = handler.canary.filter(|canary| canary.sha256 == *sha256) {
            return Found::Canary(canary);
        }
        let cause = handler.rolled_back.filter(|back| back.sha256 == *sha256).map(|back| escaped(&back.cause));
        let otherwise = "it has no canary any more: it was restarted, or its handlers folder was changed";
        Found::Gone(cause.unwrap_or_else(|| otherwise.to_owned()))
    }

    /// Hands the component over, which the node verifies.
    pub(super) async fn begin(&self, deployment: &Deployment, percent: &str) -> anyhow::Result<()> {
        let Deployment { name, component, signature, by, differences, who, why, .. } = deployment;
        let handed_over = DeployOrder {
            component: BASE64_STANDARD.encode(component),
            signature: signature.clone(),
            percent: percent.to_owned(),
            by: by.clone(),
            differences: differences.clone(),
            who: who.clone(),
            why: why.clone(),
        };
        self.order(&format!("/handlers/{name}/deploy"), &handed_over, limits::DEPLOY_TIMEOUT).await
    }

    /// Changes the share of the canary; none promotes it.
    pub(super) async fn step(&self, deployment: &Deployment, percent: Option<&str>) -> anyhow::Result<()> {
        let Deployment { name, sha256, who, why, .. } = deployment;
        let step = StepOrder {
            sha256: sha256.clone(),
            percent: percent.map(str::to_owned),
            who: who.clone(),
            why: why.clone(),
        };
        self.order(&format!("/handlers/{name}/canary"), &step, limits::OPERATOR_TIMEOUT).await
    }

    /// Takes this component back, and nothing else.
    pub(super) async fn back(&self, deployment: &Deployment, why: &str) -> anyhow::Result<()> {
        let Deployment { name, sha256, who, .. } = deployment;
        let rollback = RollbackOrder { to: None, only: Some(sha256.clone()), who: who.clone(), why: why.to_owned() };
        self.order(&format!("/handlers/{name}/rollback"), &rollback, limits::OPERATOR_TIMEOUT).await
    }

    async fn order(&self, path: &str, what: &impl serde::Serialize, wait: std::time::Duration) -> anyhow::Result<()> {
        let answer = order(self.access, path, what, wait).await?;
        if answer.status != StatusCode::OK {
            bail!("{}: {}", self.access.admin, answer.message());
        }
        Ok(())
    }
}
