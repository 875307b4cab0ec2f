//! `galo deploy`: takes a component through its steps on every node. The nodes decide for themselves whether their
//! canary is sound; this command advances them together, and takes all of them back when one has gone back. If it ends
//! in between, each node holds its step.

use std::time::Instant;

use anyhow::{anyhow, bail, ensure};

use super::ask::Access;
use super::deployment::Deployment;
use super::fleet::{Found, Member};
use super::{name, table};
use crate::limits;

/// Deploys to all nodes. `say` gets a line for each step.
///
/// # Errors
/// When a node cannot be asked or refuses the component, or when the canary was taken back. Then no node serves it.
pub async fn deploy(nodes: &[Access], deployment: &Deployment, say: impl Fn(&str)) -> anyhow::Result<()> {
    name::check(&deployment.name)?;
    let (mut members, resumed) = members(nodes, deployment).await?;
    let mut begun = resumed.contains(&true);
    match stages(&mut members, deployment, (&resumed, &mut begun), &say).await {
        Ok(()) => Ok(()),
        Err(error) if !begun => {
            // The answer of a node may have been lost.
            for member in &members {
                let _ = member.back(deployment, "it was not deployed").await;
            }
            Err(error)
        }
        Err(error) => {
            let why = format!("{error:#}");
            let mut left = Vec::new();
            for member in &members {
                if let Err(error) = member.back(deployment, &why).await {
                    left.push(format!("{}: {error:#}", member.access.admin));
                }
            }
            let name = &deployment.name;
            if !left.is_empty() {
                let left = left.join("; ");
                bail!("{why}\nnot taken back everywhere, run `galo rollback {name} -m WHY` there: {left}");
            }
            let nodes = if nodes.len() == 1 { "the node serves" } else { "all nodes serve" };
            Err(anyhow!("{why}\n{name}: rolled back, {nodes} the old generation"))
        }
    }
}

/// The nodes that do not serve the component yet, and which of them have it as a canary, because an earlier run of the
/// command ended in between.
async fn members<'a>(nodes: &'a [Access], deployment: &Deployment) -> anyhow::Result<(Vec<Member<'a>>, Vec<bool>)> {
    let Deployment { name, sha256, .. } = deployment;
    let (mut members, mut resumed) = (Vec::new(), Vec::new());
    for access in nodes {
        let member = Member::new(access);
        let handler = member.handler(name).await?;
        if handler.sha256 == *sha256 {
            continue;
        }
        let same = handler.canary.as_ref().is_some_and(|canary| canary.sha256 == *sha256);
        if let Some(other) = handler.canary.filter(|_| !same) {
            let (admin, other) = (&access.admin, table::canary(&other));
            bail!("{admin}: {name} has another {other}; end it first: galo rollback {name} -m WHY");
        }
        members.push(member);
        resumed.push(same);
    }
    ensure!(!members.is_empty(), "{name} serves this component already");
    Ok((members, resumed))
}

async fn stages(
    members: &mut [Member<'_>],
    deployment: &Deployment,
    (resumed, begun): (&[bool], &mut bool),
    say: &impl Fn(&str),
) -> anyhow::Result<()> {
    let Deployment { name, steps, hold, .. } = deployment;
    for (number, percent) in steps.iter().enumerate() {
        for (member, resumed) in members.iter().zip(resumed) {
            match number {
                0 if !resumed => {
                    member.begin(deployment, percent).await?;
                    *begun = true;
                }
                _ => member.step(deployment, Some(percent)).await?,
            }
        }
        say(&format!("{name}: {percent} for {} s", hold.as_secs()));
        held(members, deployment, say).await?;
    }
    if !deployment.promotes {
        let last = steps.last().map_or("", String::as_str);
        say(&format!(
            "{name}: stays at {last}; deploy it again with further steps, or run `galo rollback {name} -m WHY`"
        ));
        return Ok(());
    }
    for member in members.iter() {
        member.step(deployment, None).await?;
    }
    say(&format!("{name}: deployed"));
    Ok(())
}

/// Holds a step, and looks whether a node has gone back.
async fn held(members: &mut [Member<'_>], deployment: &Deployment, say: &impl Fn(&str)) -> anyhow::Result<()> {
    let until = Instant::now() + deployment.hold;
    loop {
        let ends = Instant::now() >= until;
        let mut lines = Vec::new();
        let mut silent = false;
        for member in members.iter_mut() {
            let admin = &member.access.admin.clone();
            match member.look(deployment).await {
                Found::Canary(canary) => lines.push(format!("{admin}: {}", table::canary(&canary))),
                Found::Gone(why) => bail!("{admin}: {why}"),
                Found::Silent => silent = true,
            }
        }
        if ends && !silent {
            lines.iter().for_each(|line| say(&format!("  {line}")));
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        let pause = if silent { limits::CANARY_ASK_INTERVAL } else { left.min(limits::CANARY_ASK_INTERVAL) };
        tokio::time::sleep(pause).await;
    }
}
