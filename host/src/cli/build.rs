//! `galo build`: its arguments.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use galo::develop::build::{self, Cancel, Profile};
use galo::drain::Outcome;
use galo::log;
use galo::serve::Signals;
use tokio::task::spawn_blocking;

use super::project::ProjectArgs;
use super::runtime::run_on;

#[derive(Args)]
pub(super) struct BuildArgs {
    /// Folder for the components and the manifest
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    #[command(flatten)]
    project: ProjectArgs,
}

impl BuildArgs {
    pub(super) fn run(self) -> anyhow::Result<std::process::ExitCode> {
        run_on(Some(1), self.build())
    }

    /// Builds until a signal, which ends the compilers and the handlers' own commands too.
    async fn build(self) -> anyhow::Result<Outcome> {
        let Self { out, project } = self;
        let mut signals = Signals::new()?;
        let cancel = Cancel::default();
        let building = spawn_blocking({
            let (out, cancel) = (out.clone(), cancel.clone());
            move || build::handlers(&project.find()?, Profile::Release, &cancel)?.put(&out)
        });
        tokio::select! {
            built = building => built??,
            name = signals.next() => {
                cancel.cancel();
                spawn_blocking(move || cancel.wait()).await?;
                bail!("stopped by {name}");
            }
        }
        log::print(format_args!("{}", out.display()));
        Ok(Outcome::Graceful)
    }
}
