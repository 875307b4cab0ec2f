//! `galo handlers`, `galo rollback` and `galo accept`: their arguments, and the print of what the node answers.

use std::process::ExitCode;

use clap::Args;
use galo::config::Mistakes;
use galo::drain::Outcome;
use galo::log;
use galo::operator::{self, Listing};

use super::access::AccessArgs;
use super::runtime::{Task, run_on};

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
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Args)]
pub(super) struct AcceptArgs {
    /// Digest of the component, or its first digits (6 or more), as the refusal shows it
    #[arg(value_name = "DIGEST")]
    digest: String,
    #[command(flatten)]
    access: AccessArgs,
}

impl AcceptArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let access = self.access.parse(mistakes)?;
        Some(Box::new(move || print(operator::accept(&access, &self.digest))))
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
        Some(Box::new(move || print(operator::rollback(&access, &self.name))))
    }
}

fn print(answer: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<ExitCode> {
    run_on(Some(1), async {
        let text = answer.await?;
        log::print(format_args!("{}", text.trim_end()));
        Ok(Outcome::Graceful)
    })
}
