//! `galo build`: its arguments.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use galo::develop::build::{self, Cancel, Profile};
use galo::drain::Outcome;
use galo::log;
use galo::serve::Signals;
use tokio::task::spawn_blocking;

use super::project::{ProjectArgs, from_here};
use super::runtime::run_on;

#[derive(Args)]
pub(super) struct BuildArgs {
    /// Folder for the components and the manifest [default: dist, in the project]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    project: ProjectArgs,
}

impl BuildArgs {
    pub(super) fn run(self) -> anyhow::Result<std::process::ExitCode> {
        run_on(Some(1), self.build())
    }

    async fn build(self) -> anyhow::Result<Outcome> {
        let mut signals = Signals::new()?;
        let project = self.project.find()?;
        let out = self.out.unwrap_or_else(|| from_here(project.root.join("dist")));
        let folder = out.clone();
        let build = move |cancel: &Cancel| build::handlers(&project, Profile::Release, cancel)?.put(&folder);
        unless_stopped(&mut signals, build).await?;
        log::print(format_args!("{}", out.display()));
        Ok(Outcome::Graceful)
    }
}

/// Builds until a signal, which ends the compilers and the handlers' own commands too.
pub(super) async fn unless_stopped<T: Send + 'static>(
    signals: &mut Signals,
    build: impl FnOnce(&Cancel) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let cancel = Cancel::default();
    let building = spawn_blocking({
        let cancel = cancel.clone();
        move || build(&cancel)
    });
    tokio::select! {
        built = building => built?,
        name = signals.next() => {
            cancel.cancel();
            spawn_blocking(move || cancel.wait()).await?;
            bail!("stopped by {name}");
        }
    }
}
