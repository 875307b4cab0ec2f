//! What is compared.

use clap::ValueEnum;

/// Something that answers the contest's requests, or bounds what does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Contender {
    /// nginx in front of an upstream that answers at once.
    Limit,
    /// The same contract by hand in Rust, without Galo.
    Plain,
    /// The same contract in Go.
    Peer,
    /// The host with its handlers linked natively.
    Twin,
    /// Two nodes.
    Galo,
    /// The procedures, without HTTP.
    Pgbench,
}

impl Contender {
    /// All, in the order of tables and plots.
    pub const ALL: [Self; 6] = [Self::Limit, Self::Pgbench, Self::Plain, Self::Peer, Self::Twin, Self::Galo];

    /// Those whose answers must be the same.
    pub const SERVICES: [Self; 4] = [Self::Galo, Self::Twin, Self::Plain, Self::Peer];

    /// Those that are also measured with each process kept on one core.
    pub const PLACED: [Self; 5] = [Self::Limit, Self::Plain, Self::Peer, Self::Twin, Self::Galo];

    /// Its name in tables and plots.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Plain => "plain",
            Self::Peer => "Go peer",
            Self::Twin => "native twin",
            Self::Galo => "Galo",
            Self::Pgbench => "pgbench",
        }
    }

    /// Whether nginx stands in front of it.
    pub fn speaks_http(self) -> bool {
        self != Self::Pgbench
    }
}
