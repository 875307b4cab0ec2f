//! `galo serve`: its arguments, which are those of any node and a few for deployment.

use std::path::PathBuf;

use clap::Args;
use galo::config::{AccessLog, Mistakes, Recording, Settings, StateFolder};
use galo::guest::Engine;
use galo::limits;
use galo::serve::{self, Signals};

use super::folder;
use super::node::{Defaults, NodeArgs, state_folder};
use super::runtime::{Task, run_on};

#[derive(Args)]
pub(super) struct ServeArgs {
    /// Folder with galo.toml and the components
    #[arg(long, env = "GALO_HANDLERS", value_name = "DIR", default_value = "handlers")]
    handlers: PathBuf,
    /// Folder for this node's state [default: galo/nodes/ID in the user's state folder]
    ///
    /// A node remembers across restarts which components have proved themselves, and which were rolled back. Nodes
    /// must not share the folder.
    #[arg(long, env = "GALO_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Seconds to keep serving after SIGTERM, before the drain
    ///
    /// `/ready` returns 503 from the signal on, so that load balancers stop sending connections. Use more than they
    /// take to notice: 5 in Kubernetes. A second signal ends the wait.
    #[arg(long, env = "GALO_LINGER", value_name = "SECONDS", default_value = "0")]
    linger: String,
    #[command(flatten)]
    node: NodeArgs,
}

impl ServeArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let target = self.node.database.required(mistakes);
        let node = self.parse(mistakes);
        let (target, (settings, workers)) = target.zip(node)?;
        Some(Box::new(move || {
            folder::check_built(&settings.handlers)?;
            run_on(workers, async {
                serve::serve(&settings, &target, &Engine::start()?, &mut Signals::of_a_node()?, |_| {}).await
            })
        }))
    }

    /// The settings and the number of workers; mistakes are noted.
    fn parse(self, mistakes: &mut Mistakes) -> Option<(Settings, Option<usize>)> {
        let linger = mistakes.parse_seconds("--linger", &self.linger, 0, limits::LINGER_SECONDS_CEILING);
        let defaults = Defaults { access_log: AccessLog::Off, recording: Recording::OFF };
        let (settings, workers) = self.node.parse(self.handlers, defaults, mistakes)?;
        let state = match self.state {
            Some(folder) => StateFolder::Required(folder),
            None => state_folder(&settings.handlers, &settings.listen),
        };
        Some((Settings { state, linger: linger?, ..settings }, workers))
    }
}
