//! How a deployment ends: what each node serves then is looked up there, not concluded from what was ordered.

use anyhow::{anyhow, bail};

use super::deployment::Deployment;
use super::fleet::{Found, Member, Stand};
use super::table::DIGEST_SHOWN;
use crate::config::Address;
use crate::limits;
use crate::report::HandlerReport;

/// What is left of a deployment that was taken back.
enum Left {
    /// Nothing.
    Nothing,
    /// It belongs to another command by now.
    Others,
    /// It serves or is a canary.
    Itself(String),
    /// The node does not answer.
    Unknown(String),
}

/// Checks that every node serves the component.
///
/// # Errors
/// One does not.
pub(super) async fn ended(members: &mut [Member<'_>], deployment: &Deployment) -> anyhow::Result<()> {
    for member in members {
        loop {
            match member.look(deployment).await {
                Found::Serves => break,
                Found::Silent => tokio::time::sleep(limits::CANARY_ASK_INTERVAL).await,
                Found::Canary(_) => bail!("{}: it is still a canary", member.access.admin),
                Found::Gone(why) => bail!("{}: {why}", member.access.admin),
            }
        }
    }
    Ok(())
}

/// A warning, if some nodes promoted it without a request that it answered.
pub(super) fn proved(members: &[Member<'_>], deployment: &Deployment) -> Option<String> {
    let idle: Vec<_> = members.iter().filter(|member| member.calls == Some(0)).collect();
    let place = match idle.len() {
        0 => return None,
        all if all == members.len() => String::new(),
        _ => format!(" on {}", admins(idle.iter().map(|member| &member.access.admin))),
    };
    let name = &deployment.name;
    Some(format!(
        "warning: {name}: no request was answered by it before it was promoted{place}, so nothing is shown by it"
    ))
}

/// Takes a deployment back on all nodes. Returns the error of the command: why, and what each node serves now.
pub(super) async fn taken_back(members: &[Member<'_>], deployment: &Deployment, why: &str) -> anyhow::Error {
    let Deployment { name, .. } = deployment;
    let begun = members.iter().any(|member| member.ours);
    let (mut left, mut others) = (Vec::new(), false);
    for member in members {
        // What served before this command began goes back with what it has begun, and not without that. An order
        // whose answer was lost is taken back as well.
        let goes_back = begun || member.stand != Stand::Serves;
        let why = if begun { why } else { "it was not deployed" };
        if goes_back && !member.deployment.is_empty() {
            let _ = member.back(deployment, why).await;
        }
        match found(member, deployment).await {
            Left::Nothing => {}
            Left::Others => others = true,
            Left::Itself(what) => left.push((member, what)),
            Left::Unknown(_) if !begun => {}
            Left::Unknown(error) => left.push((member, error)),
        }
    }
    if !left.is_empty() {
        let what = if begun { "not taken back everywhere" } else { "not begun, and there from before" };
        let lines: Vec<_> = left.iter().map(|(member, what)| format!("  {}: {what}", member.access.admin)).collect();
        let remedy = deployment.remedy(left.iter().map(|(member, _)| &member.access.admin));
        return anyhow!(
            "{why}\n{name}: {what}:\n{}\nTo take it back there, and nothing else:\n  {remedy}",
            lines.join("\n")
        );
    }
    match (begun, others) {
        (true, false) => {
            let nodes = if members.len() == 1 { "the node serves" } else { "all nodes serve" };
            anyhow!("{why}\n{name}: rolled back, {nodes} the old generation")
        }
        _ => anyhow!("{why}"),
    }
}

/// What is left on a node.
async fn found(member: &Member<'_>, deployment: &Deployment) -> Left {
    let handler = match member.handler(&deployment.name).await {
        Ok(handler) => handler,
        Err(error) => return Left::Unknown(format!("{error:#}; a node that restarts has no canary")),
    };
    let HandlerReport { generation, sha256, deployment: its, canary, .. } = handler;
    let canary = canary.filter(|canary| canary.sha256 == deployment.sha256);
    let (what, its) = match canary {
        Some(canary) => {
            (format!("generation {} is a canary at {}", canary.generation, canary.percent), canary.deployment)
        }
        None if sha256 == deployment.sha256 => {
            (format!("generation {generation} serves, which is this component"), its)
        }
        None => return Left::Nothing,
    };
    let is_others = its.is_some_and(|its| its != member.deployment && its != member.id);
    if is_others { Left::Others } else { Left::Itself(what) }
}

/// Addresses, as `--admin` takes them.
pub(super) fn admins<'a>(admins: impl IntoIterator<Item = &'a Address>) -> String {
    admins.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Deployment {
    /// The command that takes this component back on some nodes, and nothing else.
    pub fn remedy<'a>(&self, nodes: impl IntoIterator<Item = &'a Address>) -> String {
        self.remedy_of(&self.sha256, nodes)
    }

    /// The same for another component of the handler.
    pub(super) fn remedy_of<'a>(&self, sha256: &str, nodes: impl IntoIterator<Item = &'a Address>) -> String {
        let digest: String = sha256.chars().take(DIGEST_SHOWN).collect();
        format!("galo rollback {} --only {digest} --admin {} -m WHY", self.name, admins(nodes))
    }
}
