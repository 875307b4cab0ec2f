//! The arguments of `galo serve`: those of any node, and what only one that is deployed has.

use std::path::PathBuf;

use clap::Args;
use galo::config::{AccessLog, Mistakes, Settings, StateFolder};
use galo::limits;

use super::node::{NodeArgs, state_folder};

#[derive(Args)]
pub(super) struct ServeArgs {
    /// The folder of galo.toml and the components
    #[arg(long, env = "GALO_HANDLERS", value_name = "DIR", default_value = "handlers")]
    handlers: PathBuf,
    /// A folder of this node alone, for what it remembers across restarts: proved components, and which were taken
    /// back [default: galo/nodes/ID in the user's state folder]
    #[arg(long, env = "GALO_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Seconds between SIGTERM and the drain in which `/ready` says 503 and new connections are still served, so that
    /// whatever balances them notices first; a second signal ends it. Longer than that takes: 5 in Kubernetes
    #[arg(long, env = "GALO_LINGER", value_name = "SECONDS", default_value = "0")]
    linger: String,
    #[command(flatten)]
    pub(super) node: NodeArgs,
}

impl ServeArgs {
    /// The settings and the number of workers; mistakes are noted.
    pub(super) fn parse(self, mistakes: &mut Mistakes) -> Option<(Settings, Option<usize>)> {
        let linger = mistakes.parse_seconds("--linger", &self.linger, 0, limits::LINGER_SECONDS_CEILING);
        let (settings, workers) = self.node.parse(self.handlers, AccessLog::Off, mistakes)?;
        let state = match self.state {
            Some(folder) => StateFolder::Required(folder),
            None => state_folder(&settings.handlers, &settings.listen),
        };
        Some((Settings { state, linger: linger?, ..settings }, workers))
    }
}
