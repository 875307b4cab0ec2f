//! `galo handlers`, `galo rollback`, `galo audit` and `galo accept`: their arguments, and the print of what the node
//! answers.

use std::process::ExitCode;

use clap::Args;
use galo::config::Mistakes;
use galo::drain::Outcome;
use galo::operator::{self, Listing};
use galo::report::{Reason, RollbackOrder};
use galo::{limits, log};

use super::access::AccessArgs;
use super::runtime::{Task, run_on};
use super::who::WhoArgs;

#[derive(Args)]
pub(super) struct HandlersArgs {
    /// Print the node's JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Args)]
pub(super) struct RollbackArgs {
    /// Name of the handler in the manifest
    #[arg(value_name = "NAME")]
    name: String,
    /// The kept generation that is to serve: how its digest begins [default: the one before the current one]
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    /// Why, for the audit log
    #[arg(short = 'm', long = "why", value_name = "WHY")]
    why: String,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    access: AccessArgs,
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
    access: AccessArgs,
}

#[derive(Args)]
pub(super) struct AcceptArgs {
    /// Digest of the component, or its first digits (6 or more), as the refusal shows it
    #[arg(value_name = "DIGEST")]
    digest: String,
    /// Why, for the audit log
    #[arg(short = 'm', long = "why", value_name = "WHY", default_value = "no reason given")]
    why: String,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    access: AccessArgs,
}

impl AcceptArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let access = self.access.parse(mistakes)?;
        let asked = Reason { who: self.who.name(), why: self.why };
        Some(Box::new(move || print(async move { operator::accept(&access, &self.digest, &asked).await })))
    }
}

impl HandlersArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let access = self.access.parse(mistakes)?;
        let listing = if self.json { Listing::Json } else { Listing::Table };
        Some(Box::new(move || print(operator::handlers(&access, listing))))
    }
}

impl RollbackArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let access = self.access.parse(mistakes)?;
        let order = RollbackOrder { to: self.to, only: None, who: self.who.name(), why: self.why };
        Some(Box::new(move || print(async move { operator::rollback(&access, &self.name, &order).await })))
    }
}

impl AuditArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let access = self.access.parse(mistakes);
        let last = mistakes.parse_within("--last", &self.last, 1, limits::AUDIT_ENTRIES_MAX);
        let (access, last) = access.zip(last)?;
        let listing = if self.json { Listing::Json } else { Listing::Table };
        Some(Box::new(move || {
            print(async move { operator::audit(&access, self.name.as_deref(), last, listing).await })
        }))
    }
}

fn print(answer: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<ExitCode> {
    run_on(Some(1), async {
        let text = answer.await?;
        log::print(format_args!("{}", text.trim_end()));
        Ok(Outcome::Graceful)
    })
}
