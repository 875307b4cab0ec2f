//! Everything that a run measured: what tables and plots are made of.

use crate::compare::{Pair, Sample};
use crate::contender::Contender;
use crate::figures::Spread;
use crate::growth::Growth;
use crate::machine::Facts;
use crate::measured::Measured;
use crate::rounds;

/// Where goals are measured, when these connections are among those of the run.
pub const GOAL_CONNECTIONS: usize = 64;

/// Everything that was measured.
pub struct Results {
    pub facts: Facts,
    pub connections: Vec<usize>,
    /// Where goals, CPU and memory are shown.
    pub goal_connections: usize,
    pub seconds: u64,
    pub warm_seconds: u64,
    pub rounds: usize,
    pub nginx_workers: usize,
    /// Requests whose answers were compared.
    pub compared: usize,
    pub samples: Vec<Sample>,
    /// Each process kept on one core, at the connections of the goals only.
    pub placed: Vec<Sample>,
    pub durable: Vec<Pair>,
    pub growth: Option<Growth>,
}

impl Results {
    /// A figure of the measurements that were not placed.
    pub fn of(&self, contender: Contender, connections: usize, value: impl Fn(&Measured) -> f64) -> Option<Spread> {
        rounds::of(&self.samples, contender, connections, value)
    }
}
