//! `galo put FROM`: puts what `galo build` wrote into the folder that nodes watch, so that they swap. The handlers are
//! compiled into the nodes' cache and verified with the database first: a running node would refuse one that does not
//! fit, but a node that starts finds nothing else there, and would not start.

use std::path::PathBuf;

use clap::Args;
use galo::config::{Missing, Mistakes};
use galo::database::Target;
use galo::drain::Outcome;
use galo::put::{self, Handlers};
use galo::trust::Trust;
use galo::{log, manifest};

use super::check::{Check, CheckArgs};
use super::compile::{Compile, CompileArgs};
use super::database::DatabaseArgs;
use super::folder;
use super::runtime::{Task, decline_huge_pages, run_on};

#[derive(Args)]
pub(super) struct PutArgs {
    /// The folder that `galo build` wrote
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The folder that nodes watch
    #[arg(long, env = "GALO_HANDLERS", value_name = "DIR")]
    handlers: PathBuf,
    /// The nodes' private folder for compiled components [default: galo/components in the user's cache folder]
    #[arg(long, env = "GALO_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Refuse the handlers if a secret of the manifest is missing here, which is logged otherwise
    #[arg(long)]
    require_secrets: bool,
    /// Refuse what is not signed by one of the public keys in this file, as `galo serve --trust` does
    ///
    /// The file must not lie in the folder that nodes watch.
    #[arg(long, env = "GALO_TRUST", value_name = "FILE")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What is put, where to, and what it is verified with.
struct Put {
    from: PathBuf,
    compile: Compile,
    target: Target,
    to: PathBuf,
    /// The secrets are those of the nodes, so they may be missing here.
    missing: Missing,
    trust: Option<PathBuf>,
}

impl PutArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let put = self.parse(mistakes)?;
        Some(Box::new(|| {
            folder::check_built(&put.from)?;
            decline_huge_pages();
            run_on(None, put.run())
        }))
    }

    fn parse(self, mistakes: &mut Mistakes) -> Option<Put> {
        let target = self.database.required(mistakes);
        let compile = CompileArgs { handlers: self.from.clone(), cache: self.cache, memory: None }.parse(mistakes);
        let missing = if self.require_secrets { Missing::Refused } else { Missing::Logged };
        Some(Put { from: self.from, compile: compile?, target: target?, to: self.handlers, missing, trust: self.trust })
    }
}

impl Put {
    async fn run(self) -> anyhow::Result<Outcome> {
        let trust = self.trust.as_deref().map(Trust::read).transpose()?;
        trust.iter().try_for_each(|trust| trust.outside_of(&self.to))?;
        let manifest = manifest::read_trusted(&self.from, trust.as_ref())?;
        // Always: the nodes' cache may be new when nothing else is.
        self.compile.run().await?;
        let components: Vec<_> = manifest.handlers.iter().map(|entry| entry.component.clone()).collect();
        let handlers = Handlers::list(&manifest, &components)?;
        let digest = handlers.digest()?;
        let is_recorded = put::is_recorded(&self.to, &digest);
        let how = Check { missing: self.missing, trust: self.trust, memory: None };
        // What was put without keys is not known to be signed.
        if !is_recorded || how.trust.is_some() {
            CheckArgs::run(self.from.clone(), &self.target, how).await?;
        }
        if is_recorded {
            log::print(format_args!("nothing new"));
            return Ok(Outcome::Graceful);
        }
        for changed in handlers.put(&self.to)? {
            log::print(format_args!("{}", changed.display()));
        }
        put::record(&self.to, &digest)?;
        Ok(Outcome::Graceful)
    }
}
