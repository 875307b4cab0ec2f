//! `galo upgrade`: its arguments, and the changes that it prints.

use std::process::ExitCode;

use clap::Args;
use galo::develop::project::{self, Change, Upgrade};
use galo::log;

use super::project::ProjectArgs;

#[derive(Args)]
pub(super) struct UpgradeArgs {
    /// Print what would change, and change nothing; exit with 1 if something would
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    project: ProjectArgs,
}

impl UpgradeArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let root = self.project.locate()?.root;
        let Upgrade { from, to, changes } = project::upgrade(&root, !self.dry_run)?;
        // A file that was removed from the project is none that would change.
        let nothing = from == to && changes.iter().all(|(_, change)| *change == Change::Absent);
        if nothing {
            let rest = if changes.is_empty() { "all files are its own" } else { "nothing changes" };
            log::print(format_args!("the project is of galo {to} already, and {rest}"));
        } else {
            log::print(format_args!("galo {from} -> {to}{}", if self.dry_run { ", not carried out" } else { "" }));
        }
        for (path, change) in &changes {
            let more = match change {
                Change::Edited => ": changed here, so only its versions were replaced".to_owned(),
                Change::Beside => format!(": changed here; compare it with the new text, {path}.new"),
                Change::Absent => ": removed here, and stays so".to_owned(),
                Change::Added | Change::Replaced | Change::Removed => String::new(),
            };
            log::print(format_args!("  {change:<9} {path}{more}"));
        }
        if nothing {
            return Ok(ExitCode::SUCCESS);
        }
        if self.dry_run {
            return Ok(ExitCode::FAILURE);
        }
        log::print(format_args!("Review the changes with `git diff`, then run `galo test`."));
        Ok(ExitCode::SUCCESS)
    }
}
