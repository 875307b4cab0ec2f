//! `galo deploy`: takes a component through its steps on every node. The nodes decide for themselves whether their
//! canary is sound; this command advances them together, and takes all of them back when one has gone back. If it ends
//! in between, each node holds its step, and another run of the command goes on there.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Instant;

use anyhow::{anyhow, bail, ensure};

use super::ask::Access;
use super::deployment::Deployment;
use super::ending::{ended, proved, taken_back};
use super::fleet::{Found, Member, Stand};
use super::{name, table};
use crate::limits;
use crate::registry::Percent;
use crate::report::{CanaryReport, HandlerReport};

/// Deploys to all nodes. `say` gets a line for each step.
///
/// # Errors
/// When a node cannot be asked or refuses the component, or when the canary was taken back. The error says what each
/// node serves then.
pub async fn deploy(nodes: &[Access], deployment: &Deployment, say: impl Fn(&str)) -> anyhow::Result<()> {
    name::check(&deployment.name)?;
    let id = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    let mut members = members(nodes, deployment, &id).await?;
    signed_again(&members, deployment, &say).await?;
    if members.iter().all(|member| member.stand == Stand::Serves) {
        let who = if members.len() == 1 { "the node serves" } else { "the nodes serve" };
        say(&format!("{}: {who} this component already", deployment.name));
        return Ok(());
    }
    match stages(&mut members, deployment, &say).await {
        Ok(()) => Ok(()),
        Err(error) => Err(taken_back(&members, deployment, &format!("{error:#}")).await),
    }
}

/// Hands the new signature over to nodes that serve the component already, and whose manifest waits: it may grant more
/// than the component was signed for.
async fn signed_again(members: &[Member<'_>], deployment: &Deployment, say: &impl Fn(&str)) -> anyhow::Result<()> {
    let Deployment { name, steps, signature, .. } = deployment;
    for member in members {
        if member.stand == Stand::Serves && signature.is_some() && member.waits().await? {
            member.begin(deployment, steps.first().map_or("100%", String::as_str)).await?;
            let (admin, listed) = (&member.access.admin, member.access.command("handlers"));
            say(&format!(
                "{name}: {admin} has its signature for the manifest that waits there; {listed} shows whether that serves"
            ));
        }
    }
    Ok(())
}

/// The nodes, and how far each of them is: an earlier run of the command may have ended in between.
async fn members<'a>(nodes: &'a [Access], deployment: &Deployment, id: &str) -> anyhow::Result<Vec<Member<'a>>> {
    let mut members = Vec::new();
    for access in nodes {
        let mut member = Member::new(access, id);
        let HandlerReport { sha256, deployment: its, canary, .. } = member.handler(&deployment.name).await?;
        match canary {
            Some(canary) if canary.sha256 == deployment.sha256 => {
                same(&canary, access, deployment)?;
                member.stand = Stand::Canary(share(&canary.percent)?);
            }
            Some(other) => {
                let (name, admin) = (&deployment.name, &access.admin);
                let remedy = deployment.remedy_of(&other.sha256, [admin]);
                bail!("{admin}: {name} has another {}; end it first: {remedy}", table::canary(&other));
            }
            None if sha256 == deployment.sha256 => {
                // A deployment that is not known was not made since the node started: it stays.
                (member.stand, member.deployment) = (Stand::Serves, its.unwrap_or_default());
            }
            None => {}
        }
        members.push(member);
    }
    Ok(members)
}

/// Checks that a canary was begun as this command would begin it. What it was begun with cannot be changed.
fn same(canary: &CanaryReport, access: &Access, deployment: &Deployment) -> anyhow::Result<()> {
    let CanaryReport { percent, by, differences, .. } = canary;
    let wanted = deployment.differences.as_ref().unwrap_or(differences);
    ensure!(
        *by == deployment.by && differences == wanted,
        "{admin}: the canary of {} was begun with --by {by} --differences {differences} and is at {percent}: use these to \
         go on with it, or end it first: {}",
        deployment.name,
        deployment.remedy([&access.admin]),
        admin = access.admin,
    );
    Ok(())
}

fn share(text: &str) -> anyhow::Result<Percent> {
    text.parse().map_err(|wrong: String| anyhow!(wrong))
}

async fn stages(members: &mut [Member<'_>], deployment: &Deployment, say: &impl Fn(&str)) -> anyhow::Result<()> {
    let Deployment { name, steps, hold, .. } = deployment;
    let shares = steps.iter().map(|step| share(step)).collect::<anyhow::Result<Vec<_>>>()?;
    for member in members.iter_mut() {
        member.resume(deployment).await?;
    }
    for (step, percent) in steps.iter().zip(&shares) {
        // No share shrinks: a step that every node has passed is not repeated.
        if members.iter().all(|member| member.stand.is_beyond(*percent)) {
            continue;
        }
        for member in members.iter_mut() {
            member.advance(deployment, step, *percent).await?;
        }
        say(&format!("{name}: {step} for {} s", hold.as_secs()));
        held(members, deployment, say).await?;
    }
    if !deployment.promotes {
        let last = steps.last().map_or("", String::as_str);
        let remedy = deployment.remedy(members.iter().map(|member| &member.access.admin));
        say(&format!("{name}: stays at {last}; deploy it again with further steps, or take it back: {remedy}"));
        return Ok(());
    }
    for member in members.iter_mut() {
        member.promote(deployment).await?;
    }
    ended(members, deployment).await?;
    if let Some(warning) = proved(members, deployment) {
        say(&warning);
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
                Found::Serves => lines.push(format!("{admin}: serves it already")),
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
