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
use crate::registry::Percent;
use crate::report::{CanaryReport, DeployOrder, HandlerReport, NodeReport, Reason, RollbackOrder, StepOrder};

/// One node.
pub(super) struct Member<'a> {
    pub(super) access: &'a Access,
    /// How far the deployment is there.
    pub(super) stand: Stand,
    /// The id of this command's deployment.
    pub(super) id: String,
    /// The id of the deployment that is taken back there; empty if there is none.
    pub(super) deployment: String,
    /// Whether this command has begun it there, or gone on with it.
    pub(super) ours: bool,
    /// How many requests the canary has answered, as far as it was looked at.
    pub(super) calls: Option<u64>,
    /// Since when it has not answered.
    silent: Option<Instant>,
}

/// How far a deployment is on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// The old generation serves, without a canary.
    Old,
    /// It is a canary that answers this share.
    Canary(Percent),
    /// It serves.
    Serves,
}

impl Stand {
    /// Whether it is further than a step.
    pub(super) fn is_beyond(self, step: Percent) -> bool {
        match self {
            Self::Old => false,
            Self::Canary(share) => share > step,
            Self::Serves => true,
        }
    }
}

/// The state of a deployment on a node.
pub(super) enum Found {
    /// Its canary answers a share.
    Canary(CanaryReport),
    /// It serves.
    Serves,
    /// It does neither; with the reason.
    Gone(String),
    /// The node does not answer, for a moment.
    Silent,
}

impl<'a> Member<'a> {
    pub(super) fn new(access: &'a Access, id: &str) -> Self {
        let (id, deployment) = (id.to_owned(), id.to_owned());
        Self { access, stand: Stand::Old, id, deployment, ours: false, calls: None, silent: None }
    }

    /// The handler as the node serves it now.
    pub(super) async fn handler(&self, name: &str) -> anyhow::Result<HandlerReport> {
        let report: NodeReport = ask(self.access, Method::GET, "/handlers").await?.json(StatusCode::OK)?;
        let found = report.handlers.into_iter().find(|handler| handler.name == name);
        let listed = || self.access.command("handlers");
        found.with_context(|| format!("{} has no handler {name}; {} lists them", self.access.admin, listed()))
    }

    /// Whether the node has refused a newer manifest.
    pub(super) async fn waits(&self) -> anyhow::Result<bool> {
        let report: NodeReport = ask(self.access, Method::GET, "/handlers").await?.json(StatusCode::OK)?;
        Ok(report.manifest.refused.is_some())
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
        let its = |id: Option<String>| id.is_none_or(|id| id == self.deployment);
        let taken_over = || Found::Gone("another `galo deploy` has taken this deployment over".to_owned());
        if let Some(canary) = handler.canary.filter(|canary| canary.sha256 == *sha256) {
            if !its(canary.deployment.clone()) {
                return taken_over();
            }
            self.calls = Some(canary.calls);
            return Found::Canary(canary);
        }
        if handler.sha256 == *sha256 {
            return if its(handler.deployment) { Found::Serves } else { taken_over() };
        }
        let cause = handler.rolled_back.filter(|back| back.sha256 == *sha256).map(|back| escaped(&back.cause));
        let otherwise = "it has no canary any more: it was restarted, or its handlers folder was changed";
        Found::Gone(cause.unwrap_or_else(|| otherwise.to_owned()))
    }

    /// Makes a canary that an earlier run of the command has begun one of this deployment.
    pub(super) async fn resume(&mut self, deployment: &Deployment) -> anyhow::Result<()> {
        let Stand::Canary(share) = self.stand else { return Ok(()) };
        self.step(deployment, Some(&share.to_string()), true).await?;
        self.ours = true;
        Ok(())
    }

    /// Goes to a step, unless the node is there or further.
    pub(super) async fn advance(&mut self, deployment: &Deployment, step: &str, share: Percent) -> anyhow::Result<()> {
        match self.stand {
            Stand::Old => self.begin(deployment, step).await?,
            Stand::Canary(its) if its < share => self.step(deployment, Some(step), false).await?,
            Stand::Canary(_) | Stand::Serves => return Ok(()),
        }
        (self.stand, self.ours) = (Stand::Canary(share), true);
        Ok(())
    }

    /// Has the canary serve.
    pub(super) async fn promote(&mut self, deployment: &Deployment) -> anyhow::Result<()> {
        if self.stand != Stand::Serves {
            self.step(deployment, None, false).await?;
            self.stand = Stand::Serves;
        }
        Ok(())
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
            deployment: Some(self.id.clone()),
            who: who.clone(),
            why: why.clone(),
        };
        self.order(&format!("/handlers/{name}/deploy"), &handed_over, limits::DEPLOY_TIMEOUT).await
    }

    /// Changes the share of the canary; none promotes it.
    async fn step(&self, deployment: &Deployment, percent: Option<&str>, resumes: bool) -> anyhow::Result<()> {
        let Deployment { name, sha256, who, why, .. } = deployment;
        let step = StepOrder {
            sha256: sha256.clone(),
            percent: percent.map(str::to_owned),
            deployment: Some(self.id.clone()),
            resumes,
            who: who.clone(),
            why: why.clone(),
        };
        self.order(&format!("/handlers/{name}/canary"), &step, limits::OPERATOR_TIMEOUT).await
    }

    /// Takes this deployment of the component back, and nothing else.
    pub(super) async fn back(&self, deployment: &Deployment, why: &str) -> anyhow::Result<()> {
        let Deployment { name, sha256, who, .. } = deployment;
        let rollback = RollbackOrder {
            only: Some(sha256.clone()),
            deployment: Some(self.deployment.clone()),
            ..RollbackOrder::of(Reason { who: who.clone(), why: why.to_owned() })
        };
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
