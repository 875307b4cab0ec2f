//! `galo explain ID`: its arguments.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use galo::config::Mistakes;
use galo::log;
use galo::operator::{self, Listing};

use super::access::NodesArgs;
use super::runtime::{Task, block_on};

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// Id of the request, as `galo tap` and the log show it: its X-Request-Id, or the one that the node gave it
    #[arg(value_name = "ID")]
    id: String,
    /// Log of a node, to print its lines about the request too; `-` is stdin
    #[arg(long, value_name = "FILE")]
    log_file: Vec<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "log_file")]
    json: bool,
    #[command(flatten)]
    nodes: NodesArgs,
}

impl ExplainArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let nodes = self.nodes.parse(mistakes)?;
        let listing = if self.json { Listing::Json } else { Listing::Table };
        Some(Box::new(move || {
            block_on(Some(1), async {
                let (text, failed) = operator::explain(&nodes, &self.id, listing).await?;
                log::print(format_args!("{}", text.trim_end()));
                for file in &self.log_file {
                    operator::logged(file, &self.id, |line| log::print(format_args!("logged      {line}")))?;
                }
                // Another node may know of it as well: what is printed may not be all.
                failed.iter().for_each(|failure| log::line(failure));
                Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            })
        }))
    }
}
