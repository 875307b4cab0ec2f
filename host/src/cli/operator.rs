//! `galo handlers`, `galo rollback`, `galo audit` and `galo accept`: their arguments, and the print of what the node
//! answers.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use galo::config::Mistakes;
use galo::drain::Outcome;
use galo::operator::{self, Access, Listing};
use galo::report::{Reason, RollbackOrder};
use galo::{limits, log};

use super::access::NodesArgs;
use super::runtime::{Task, run_on};
use super::who::{WhoArgs, reason};

#[derive(Args)]
pub(super) struct HandlersArgs {
    /// Print the node's JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: NodesArgs,
}

#[derive(Args)]
pub(super) struct RollbackArgs {
    /// Name of the handler in the manifest
    #[arg(value_name = "NAME")]
    name: String,
    /// The kept generation that is to serve: how its digest begins [default: the one before the current one]
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    /// Take back only the component whose digest begins so; where it neither serves nor is a canary, nothing is changed
    #[arg(long, value_name = "DIGEST", conflicts_with = "to")]
    only: Option<String>,
    /// Why, for the audit log
    #[arg(short = 'm', long = "why", value_name = "WHY", value_parser = reason)]
    why: String,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    nodes: NodesArgs,
}

#[derive(Args)]
pub(super) struct AuditArgs {
    /// Only what was done with this handler
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// How many entries
    #[arg(long, value_name = "N", default_value = "50")]
    last: String,
    /// Print lines of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: NodesArgs,
}

#[derive(Args)]
pub(super) struct AcceptArgs {
    /// Digest of the component, or its first digits (6 or more), as the refusal shows it
    #[arg(value_name = "DIGEST")]
    digest: String,
    /// Why, for the audit log
    #[arg(short = 'm', long = "why", value_name = "WHY", default_value = "no reason given", value_parser = reason)]
    why: String,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    nodes: NodesArgs,
}

impl AcceptArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let nodes = self.nodes.parse(mistakes)?;
        let asked = Reason { who: self.who.name(), why: self.why };
        Some(Box::new(move || {
            print(&nodes, Listing::Table, async |node| operator::accept(node, &self.digest, &asked).await)
        }))
    }
}

impl HandlersArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let nodes = self.nodes.parse(mistakes)?;
        let listing = if self.json { Listing::Json } else { Listing::Table };
        Some(Box::new(move || print(&nodes, listing, async |node| operator::handlers(node, listing).await)))
    }
}

impl RollbackArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let nodes = self.nodes.parse(mistakes);
        let to = digest("--to", self.to, mistakes);
        let only = digest("--only", self.only, mistakes);
        let ((nodes, to), only) = nodes.zip(to).zip(only)?;
        let order = RollbackOrder { to, only, ..RollbackOrder::of(Reason { who: self.who.name(), why: self.why }) };
        Some(Box::new(move || {
            print(&nodes, Listing::Table, async |node| operator::rollback(node, &self.name, &order).await)
        }))
    }
}

/// The beginning of a digest, if one is given; the outer `None` is a mistake. `--to` of `galo deploy` has nodes.
fn digest(option: &str, given: Option<String>, mistakes: &mut Mistakes) -> Option<Option<String>> {
    let Some(text) = given else { return Some(None) };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        mistakes.note(option, format!("`{text}` is not the beginning of a digest; nodes are given with --admin"));
        return None;
    }
    Some(Some(text.to_ascii_lowercase()))
}

impl AuditArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let nodes = self.nodes.parse(mistakes);
        let last = mistakes.parse_within("--last", &self.last, 1, limits::AUDIT_ENTRIES_MAX);
        let (nodes, last) = nodes.zip(last)?;
        let listing = if self.json { Listing::Json } else { Listing::Table };
        let name = self.name;
        Some(Box::new(move || {
            print(&nodes, listing, async |node| operator::audit(node, name.as_deref(), last, listing).await)
        }))
    }
}

/// Asks each node, and prints what it answers, under its address if there are several and people read it. One that
/// fails does not keep the others from being asked.
fn print(
    nodes: &[Access],
    listing: Listing,
    ask: impl AsyncFn(&Access) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    run_on(Some(1), async {
        let mut failed = Vec::new();
        for node in nodes {
            match ask(node).await {
                // Such as an audit log in JSON without an entry.
                Ok(text) if text.is_empty() => {}
                Ok(text) if nodes.len() > 1 && listing == Listing::Table => {
                    log::print(format_args!("{}:\n{}", node.admin, text.trim_end()));
                }
                Ok(text) => log::print(format_args!("{}", text.trim_end())),
                Err(error) if nodes.len() == 1 => return Err(error),
                Err(error) => failed.push(format!("{}: {error:#}", node.admin)),
            }
        }
        match failed.is_empty() {
            true => Ok(Outcome::Graceful),
            false => bail!("{} of {} nodes failed:\n{}", failed.len(), nodes.len(), failed.join("\n")),
        }
    })
}
