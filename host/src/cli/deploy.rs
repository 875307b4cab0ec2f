//! `galo deploy`: its arguments, and what it reports as it goes. Ctrl-C ends the command, not the deployment: each node
//! holds its step.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use galo::config::Mistakes;
use galo::guest::Digest;
use galo::operator::{self, Access, Deployment};
use galo::registry::{By, Differences, Percent};
use galo::signals::Signals;
use galo::{file, limits, log, trust};

use super::access::NodesArgs;
use super::runtime::{Task, block_on};
use super::who::{WhoArgs, reason};

#[derive(Args)]
pub(super) struct DeployArgs {
    /// Name of the handler in the manifest
    #[arg(value_name = "NAME")]
    name: String,
    /// The component; its signature, if it has one, lies beside it as X.wasm.minisig
    #[arg(value_name = "X.wasm")]
    component: PathBuf,
    /// Shares of the requests that the new generation answers, step by step
    ///
    /// After a last step of 100% it serves. After any other it stays at that share.
    #[arg(long, value_name = "STEPS", default_value = "1%,10%,100%")]
    canary: String,
    /// How long each step is held: `30s`, `5m`, `1h`
    #[arg(long, value_name = "TIME", default_value = "60s")]
    hold: String,
    /// By what requests are chosen: a parameter of the route, `header:NAME`, `claim:NAME`, or `request`
    ///
    /// Its value is hashed, so that every node chooses alike, and a client stays with its generation. `request` chooses
    /// each request by itself.
    #[arg(long, value_name = "WHAT", default_value = "request")]
    by: String,
    /// What an answer that differs from that of the old generation means, `refuse` or `report` [default: `gate` of the
    /// manifest]
    ///
    /// `refuse` gives the client the old answer and rolls back. Use `report` when answers are meant to change: they are
    /// counted, and only faults, slowness and new 5xx roll back. A handler without a `gate` in the manifest refuses; a
    /// component that `galo accept` has accepted reports, and what a changed example states is counted.
    #[arg(long, value_name = "POLICY")]
    differences: Option<String>,
    /// The same as --admin, and in place of it: admin addresses of the nodes, separated by commas
    #[arg(long, value_name = "NODE,NODE", value_delimiter = ',')]
    to: Vec<String>,
    /// Why, for the audit log
    #[arg(short = 'm', long = "why", value_name = "WHY", default_value = "no reason given", value_parser = reason)]
    why: String,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    nodes: NodesArgs,
}

/// What is deployed, before its file was read.
struct Order {
    path: PathBuf,
    nodes: Vec<Access>,
    deployment: Deployment,
}

impl DeployArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let order = self.parse(mistakes)?;
        Some(Box::new(|| order.run()))
    }

    fn parse(self, mistakes: &mut Mistakes) -> Option<Order> {
        let nodes = match self.to.is_empty() {
            true => self.nodes.parse(mistakes),
            false => self.nodes.of("--to", &self.to, mistakes),
        };
        let steps = steps(&self.canary).map_err(|mistake| mistakes.note("--canary", mistake)).ok();
        let hold = hold(&self.hold).map_err(|mistake| mistakes.note("--hold", mistake)).ok();
        let by = mistakes.parse::<By>("--by", &self.by);
        let differences = match &self.differences {
            Some(text) => mistakes.parse::<Differences>("--differences", text).map(|parsed| Some(parsed.to_string())),
            None => Some(None),
        };
        let (nodes, steps) = (nodes?, steps?);
        let deployment = Deployment {
            name: self.name,
            component: Vec::new(),
            sha256: String::new(),
            signature: None,
            promotes: steps.last() == Some(&Percent::ALL),
            steps: steps.iter().map(ToString::to_string).collect(),
            hold: hold?,
            by: by?.to_string(),
            differences: differences?,
            who: self.who.name(),
            why: self.why,
        };
        Some(Order { path: self.component, nodes, deployment })
    }
}

impl Order {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Self { path, nodes, deployment } = self;
        let shown = path.display();
        let component =
            file::read(&path, limits::COMPONENT_BYTES_MAX).with_context(|| format!("cannot read {shown}"))?;
        let signature = trust::beside(&path).with_context(|| format!("cannot read the signature of {shown}"))?;
        let sha256 = Digest::of(&component).to_string();
        let deployment = Deployment { component, sha256, signature, ..deployment };
        block_on(Some(1), async {
            let mut signals = Signals::new()?;
            let say = |line: &str| log::print(format_args!("{line}"));
            tokio::select! {
                done = operator::deploy(&nodes, &deployment, say) => done.map(|()| ExitCode::SUCCESS),
                signal = signals.next() => {
                    let remedy = deployment.remedy(nodes.iter().map(|node| &node.admin));
                    bail!(
                        "{signal}: each node holds its step, and goes back by itself if the canary fails; run the same \
                         command again to go on there, or take it back: {remedy}"
                    )
                }
            }
        })
    }
}

/// The steps, which must grow.
fn steps(text: &str) -> Result<Vec<Percent>, String> {
    let steps = text.split(',').map(str::parse).collect::<Result<Vec<Percent>, _>>()?;
    match steps.iter().zip(&steps[1..]).find(|(step, next)| next <= step) {
        Some((step, next)) => Err(format!("{next} after {step}: steps must grow")),
        None if steps.len() > limits::CANARY_STEPS_MAX => Err(format!("at most {} steps", limits::CANARY_STEPS_MAX)),
        None => Ok(steps),
    }
}

/// A time with its unit; a number alone is seconds.
fn hold(text: &str) -> Result<Duration, String> {
    let most = limits::CANARY_HOLD_SECONDS_CEILING;
    let wrong = || format!("`{text}` is not a time of at most {most} s, such as 30s, 5m or 1h");
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let seconds = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
    if seconds > most { Err(wrong()) } else { Ok(Duration::from_secs(seconds as u64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_and_times_have_units() {
        assert_eq!(steps("1%,10%,100%").unwrap().len(), 3);
        for wrong in ["", "1%,", "10%,1%", "10%,10%", "0%", "1%;2%"] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h", 3600), ("0", 0), ("24h", 86_400)] {
            assert_eq!(hold(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "s", "1d", "-1s", "25h", "1.5m", "ß"] {
            assert!(hold(wrong).is_err(), "{wrong}");
        }
    }
}
