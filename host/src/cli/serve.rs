//! `galo serve`: its arguments, which are those of any node and a few for deployment.

use std::path::PathBuf;

use clap::Args;
use galo::config::{AccessLog, Mistakes, Recording, Settings, StateFolder};
use galo::guest::Engine;
use galo::limits;
use galo::serve::{self, Signals};

use super::folder;
use super::node::{Defaults, NodeArgs, state_folder};
use super::runtime::{Task, decline_huge_pages, run_on};

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
    /// Serve only what is signed by one of the public keys in this file
    ///
    /// For components, the manifest and what `galo deploy` sends; `galo sign` signs. The file must not lie in the
    /// handlers folder.
    #[arg(long, env = "GALO_TRUST", value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Add the header Galo-Generation to responses of handlers: the number and the digest of the generation
    #[arg(long, env = "GALO_GENERATION_HEADER", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "false",
          value_parser = clap::builder::BoolishValueParser::new())]
    generation_header: bool,
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
            decline_huge_pages();
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
        let (trust, generation_header) = (self.trust, self.generation_header);
        Some((Settings { state, linger: linger?, trust, generation_header, ..settings }, workers))
    }
}
