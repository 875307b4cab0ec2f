//! `galo record`: its arguments.

use std::process::ExitCode;

use clap::Args;
use galo::config::Mistakes;
use galo::{limits, log, operator};

use super::access::NodesArgs;
use super::runtime::{Task, block_on};

#[derive(Args)]
pub(super) struct RecordArgs {
    /// Records of each handler and node to write, the newest
    #[arg(long, value_name = "N", default_value_t = limits::RECORDS_DEFAULT.to_string())]
    last: String,
    /// Only the records of this handler
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    #[command(flatten)]
    nodes: NodesArgs,
}

impl RecordArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let last = mistakes.parse_within("--last", &self.last, 1, limits::RECORD_EVERY_MAX);
        let nodes = self.nodes.parse(mistakes)?;
        let last = last?;
        Some(Box::new(move || {
            block_on(Some(1), async {
                let (records, failed) = operator::record(&nodes, self.handler.as_deref(), last, log::write).await?;
                log::line(&format!("{records} records"));
                // What was written is a corpus, though not of all nodes.
                failed.iter().for_each(|failure| log::line(failure));
                Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            })
        }))
    }
}
