//! `galo tap`: its arguments, and its end by Ctrl-C.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use galo::config::Mistakes;
use galo::limits;
use galo::operator::{self, Colour, Filter, Statuses, Tap};
use galo::signals::Signals;

use super::access::NodesArgs;
use super::runtime::{Task, block_on};

#[derive(Args)]
pub(super) struct TapArgs {
    /// Handler to follow; without it, all of them
    #[arg(value_name = "HANDLER")]
    handler: Option<String>,
    /// Only answers with one of these statuses: `404`, `5xx`, `400-499`, or several with commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<String>,
    /// Only requests with one of these methods
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    method: Vec<String>,
    /// Only requests with this text in their path
    #[arg(long, value_name = "TEXT")]
    path: Option<String>,
    /// Only requests that took at least so many milliseconds
    #[arg(long, value_name = "MS")]
    slower: Option<String>,
    /// Only requests in which a guest faulted
    #[arg(long)]
    faults: bool,
    /// Earlier requests to show first
    #[arg(long, value_name = "N", default_value = "10")]
    last: String,
    /// Print the records as JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: NodesArgs,
}

impl TapArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let statuses: Vec<_> = self.status.iter().map(|it| mistakes.parse::<Statuses>("--status", it)).collect();
        let ms = |text| mistakes.parse_within("--slower", text, 0, limits::TAP_SLOWER_MS_MAX);
        let slower = self.slower.as_deref().map(ms);
        let last = mistakes.parse_within("--last", &self.last, 0, limits::TAP_RECORDS_MAX);
        let nodes = self.nodes.parse(mistakes)?;
        // https://no-color.org
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = if std::io::stdout().is_terminal() && !plain { Colour::On } else { Colour::Off };
        let slower = match slower {
            Some(ms) => Some(Duration::from_millis(ms? as u64)),
            None => None,
        };
        let filter = Filter {
            statuses: statuses.into_iter().collect::<Option<_>>()?,
            methods: self.method,
            path: self.path,
            slower,
            faults: self.faults,
        };
        let tap = Tap { nodes, handler: self.handler, filter, last: last?, colour: (!self.json).then_some(colour) };
        Some(Box::new(move || {
            block_on(Some(1), async {
                let mut signals = Signals::new()?;
                tokio::select! {
                    ended = operator::tap(&tap) => ended?,
                    _ = signals.next() => {}
                }
                Ok(ExitCode::SUCCESS)
            })
        }))
    }
}
