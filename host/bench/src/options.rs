//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::contender::Contender;
use crate::serve::ServeArgs;

/// Compares Galo with what bounds it, with itself without WASM, and with a plain service, on this machine
///
/// It needs nginx, wrk, chrt and the binaries of Postgres; it builds the rest, runs everything as plain processes on
/// unix sockets, and writes BENCHMARKS.md and its plots. Half an hour, on a machine that does nothing else.
#[derive(Clone, Parser)]
#[command(name = "galo-bench", max_term_width = 110)]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// A few seconds of everything, to try it; writes nothing without --out
    #[arg(long)]
    pub quick: bool,
    /// How long each measurement lasts [default: 8, or 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// How often each is made; an odd number has a middle [default: 5, 7 with --against or --shadow, or 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: Option<u64>,
    /// Connections to nginx [default: 8,32,64,256, or 64 with --quick, --against or --shadow]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    connections: Vec<usize>,
    /// Measure these parts only; writes nothing without --out
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    only: Vec<Part>,
    /// Rows of the longer ledger that an extrato is read from [default: 10000000, or 100000 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
    rows: Option<u32>,
    /// Workers of nginx, the same for every contender
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub nginx_workers: usize,
    /// A folder on a disk, for the data of Postgres [default: .galo of the checkout]
    #[arg(long, value_name = "DIR")]
    pub disk: Option<PathBuf>,
    /// Compare with the galo of another checkout instead, e.g. of `git worktree add ../before HEAD~9`: both are built
    /// in release mode and measured in alternation, 7 rounds by default. Fails when the median of the paired ratios is
    /// over 1.03 for the nodes' CPU a request, or under 0.97 for throughput
    #[arg(long, value_name = "DIR", conflicts_with_all = ["only", "rows", "out"])]
    pub against: Option<PathBuf>,
    /// Measure what a shadow costs instead: Galo with one of `transacoes` on one request in N and without, in
    /// alternation, 7 rounds by default. Fails when the median of the paired ratios is under 0.95 for throughput, or
    /// when the median p99 with it is over every p99 without
    #[arg(long, value_name = "N", conflicts_with_all = ["only", "rows", "out", "against"])]
    pub shadow: Option<usize>,
    /// Where BENCHMARKS.md and its plots go [default: the checkout]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Subcommand)]
pub enum Command {
    /// One of the servers that are compared
    #[command(hide = true)]
    Serve(ServeArgs),
    /// The guard of a private Postgres, as `galo postgres`
    #[command(hide = true)]
    Postgres {
        #[arg(long)]
        data: PathBuf,
        #[arg(long)]
        throwaway: bool,
        #[arg(long = "set")]
        settings: Vec<String>,
    },
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Limit,
    Pgbench,
    Plain,
    Twin,
    Galo,
    Placed,
    Durable,
    Extrato,
}

impl Options {
    pub fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { 1 } else { 8 })
    }

    /// How long the load before a measurement lasts, which is discarded: pools, caches and branch predictors are warm
    /// after it.
    pub fn warm_seconds(&self) -> u64 {
        (self.seconds() / 4).max(1)
    }

    pub fn rounds(&self) -> usize {
        let default = match (self.quick, self.is_paired()) {
            (true, _) => 1,
            (false, false) => 5,
            // Fewer pairs have no interval for their median.
            (false, true) => 7,
        };
        self.rounds.map_or(default, |rounds| usize::try_from(rounds).unwrap_or(usize::MAX))
    }

    /// Whether each round is a pair of measurements.
    fn is_paired(&self) -> bool {
        self.against.is_some() || self.shadow.is_some()
    }

    pub fn connections(&self) -> Vec<usize> {
        match self.connections.as_slice() {
            [] if self.quick || self.is_paired() => vec![64],
            [] => vec![8, 32, 64, 256],
            chosen => chosen.to_vec(),
        }
    }

    pub fn rows(&self) -> u32 {
        self.rows.unwrap_or(if self.quick { 100_000 } else { 10_000_000 })
    }

    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    pub fn contenders(&self) -> Vec<Contender> {
        let part = |contender| match contender {
            Contender::Limit => Part::Limit,
            Contender::Pgbench => Part::Pgbench,
            Contender::Plain => Part::Plain,
            Contender::Twin => Part::Twin,
            Contender::Galo => Part::Galo,
        };
        Contender::ALL.into_iter().filter(|contender| self.wants(part(*contender))).collect()
    }

    /// Whether anything is measured that runs components.
    pub fn wants_components(&self) -> bool {
        [Part::Twin, Part::Galo, Part::Placed, Part::Durable].into_iter().any(|part| self.wants(part))
    }

    /// Whether BENCHMARKS.md of the checkout may be rewritten: half of its figures would be worse than old ones.
    pub fn is_whole(&self) -> bool {
        !self.quick && self.only.is_empty()
    }
}
