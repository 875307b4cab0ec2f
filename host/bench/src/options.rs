//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::contender::Contender;
use crate::feature::Feature;
use crate::serve::ServeArgs;

/// Each is a Postgres of its own on this machine.
const SHARDS_MAX: usize = 8;

/// Compares Galo with what bounds it, with itself without WASM, and with services in Rust and Go, on this machine
///
/// It needs nginx, wrk, chrt, the binaries of Postgres, and Go with two libraries; it builds the rest, runs everything
/// as plain processes on unix sockets, and writes BENCHMARKS.md and its plots. Half an hour, on a machine that does
/// nothing else.
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
    /// How often each is made; an odd number has a middle [default: 5; 7 in pairs; 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: Option<u64>,
    /// Connections to nginx [default: 8,32,64,256; 8,64 with --shards; 64 with --quick, --against or
    /// --cost-of]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    connections: Vec<usize>,
    /// Measure these parts only; writes nothing without --out
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    only: Vec<Part>,
    /// Leave these parts out, e.g. the peer where Go is not installed; writes nothing without --out
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    without: Vec<Part>,
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
    #[arg(long, value_name = "DIR", conflicts_with_all = ["only", "without", "rows", "out"])]
    pub against: Option<PathBuf>,
    /// Measure what a feature costs instead: Galo with it and without, in alternation, 7 rounds by default. Fails when
    /// the median of the paired ratios of throughput is under 0.98, or under 0.95 for a shadow; and when the median p99
    /// with a shadow is over every p99 without
    #[arg(long, value_name = "FEATURE", conflicts_with_all = ["only", "without", "rows", "out", "against"])]
    pub cost_of: Option<Feature>,
    /// The feature works on one request in N [default: 100, or 10 for a shadow]
    #[arg(long, value_name = "N", requires = "cost_of", value_parser = clap::value_parser!(u32).range(1..))]
    every: Option<u32>,
    /// Measure shards instead: Galo in front of one Postgres, and of a router with so many shards, each a cluster of
    /// its own, in alternation, 7 rounds by default; and predict the cost of several from one. It needs PL/Proxy
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = shards)]
    #[arg(conflicts_with_all = ["only", "without", "rows", "out", "against", "cost_of"])]
    pub shards: Vec<usize>,
    /// A galo that is built already, for tests of this program
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "against")]
    pub galo: Option<PathBuf>,
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
    Peer,
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
        self.against.is_some() || self.cost_of.is_some() || !self.shards.is_empty()
    }

    pub fn connections(&self) -> Vec<usize> {
        match self.connections.as_slice() {
            // Batches of two sizes.
            [] if !self.shards.is_empty() => vec![8, 64],
            [] if self.quick || self.is_paired() => vec![64],
            [] => vec![8, 32, 64, 256],
            chosen => chosen.to_vec(),
        }
    }

    /// A feature works on one request in so many.
    pub fn every(&self) -> Option<usize> {
        self.every.and_then(|every| usize::try_from(every).ok())
    }

    pub fn rows(&self) -> u32 {
        self.rows.unwrap_or(if self.quick { 100_000 } else { 10_000_000 })
    }

    pub fn wants(&self, part: Part) -> bool {
        (self.only.is_empty() || self.only.contains(&part)) && !self.without.contains(&part)
    }

    /// Whether all that was chosen is left out again.
    pub fn leaves_nothing(&self) -> bool {
        !Part::value_variants().iter().any(|&part| self.wants(part))
    }

    pub fn contenders(&self) -> Vec<Contender> {
        Contender::ALL.into_iter().filter(|contender| self.wants(part(*contender))).collect()
    }

    /// Those that are measured with each process kept on one core. They do not depend on --only.
    pub fn placed(&self) -> Vec<Contender> {
        let placed = |contender: &Contender| self.wants(Part::Placed) && !self.without.contains(&part(*contender));
        Contender::PLACED.into_iter().filter(placed).collect()
    }

    /// Whether the peer in Go is measured.
    pub fn wants_peer(&self) -> bool {
        !self.is_paired() && (self.wants(Part::Peer) || self.placed().contains(&Contender::Peer))
    }

    /// Whether anything is measured that runs components.
    pub fn wants_components(&self) -> bool {
        [Part::Twin, Part::Galo, Part::Placed, Part::Durable].into_iter().any(|part| self.wants(part))
    }

    /// Whether BENCHMARKS.md of the checkout may be rewritten: half of its figures would be worse than old ones.
    pub fn is_whole(&self) -> bool {
        !self.quick && self.only.is_empty() && self.without.is_empty() && self.galo.is_none() && !self.is_paired()
    }
}

/// A number of shards.
fn shards(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count: &usize| count.is_power_of_two() && *count <= SHARDS_MAX);
    count.ok_or_else(|| format!("a power of two, at most {SHARDS_MAX}"))
}

fn part(contender: Contender) -> Part {
    match contender {
        Contender::Limit => Part::Limit,
        Contender::Pgbench => Part::Pgbench,
        Contender::Plain => Part::Plain,
        Contender::Peer => Part::Peer,
        Contender::Twin => Part::Twin,
        Contender::Galo => Part::Galo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        Options::try_parse_from(std::iter::once(&"galo-bench").chain(arguments)).unwrap()
    }

    #[test]
    fn what_is_left_out_is_measured_nowhere() {
        let all = options(&[]);
        assert!(all.wants_peer() && all.is_whole() && all.contenders().contains(&Contender::Peer));
        let without = options(&["--without", "peer,extrato"]);
        assert!(!without.wants_peer() && !without.is_whole() && !without.wants(Part::Extrato));
        assert_eq!(without.contenders().len(), Contender::ALL.len() - 1);
        assert_eq!(without.placed().len(), Contender::PLACED.len() - 1);
    }

    #[test]
    fn shards_are_powers_of_two_and_measured_alone() {
        let chosen = options(&["--shards", "1,2,4"]);
        assert_eq!((chosen.shards.as_slice(), chosen.connections()), (&[1, 2, 4][..], vec![8, 64]));
        assert!(!chosen.wants_peer() && !chosen.is_whole() && chosen.rounds() == 7);
        for wrong in [&["--shards", "3"][..], &["--shards", "16"], &["--shards", "2", "--cost-of", "traces"]] {
            assert!(Options::try_parse_from(std::iter::once(&"galo-bench").chain(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_part_alone_needs_no_go_unless_it_has_the_peer() {
        assert!(!options(&["--only", "plain,galo"]).wants_peer());
        assert!(options(&["--only", "placed"]).wants_peer());
        assert!(!options(&["--only", "placed", "--without", "peer"]).wants_peer());
        assert!(options(&["--only", "peer", "--without", "peer"]).leaves_nothing());
    }
}
