//! What a measurement found: what the load generator saw, and what each component cost for a request.

use crate::load::Load;
use crate::process::Memory;

/// What takes CPU and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    Generator,
    Nginx,
    Nodes,
    Postgres,
}

impl Component {
    /// All, in the order of a request's way.
    pub const ALL: [Self; 4] = [Self::Generator, Self::Nginx, Self::Nodes, Self::Postgres];

    pub fn name(self) -> &'static str {
        match self {
            Self::Generator => "load generator",
            Self::Nginx => "nginx",
            Self::Nodes => "nodes",
            Self::Postgres => "Postgres",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    pub load: Load,
    /// Microseconds of CPU for a request, by component.
    pub cpu: [f64; 4],
    /// Context switches for a request, by component.
    pub switches: [f64; 4],
    /// The part of all cores that was idle, in percent.
    pub idle: f64,
    /// At the end of the window, by component; none of the load generator, which has ended then.
    pub memory: [Memory; 4],
    /// Of Postgres's CPU for a request, what a router in front of shards took.
    pub router: f64,
    /// What the lanes of Galo sent.
    pub sent: Sent,
}

impl Measured {
    /// Requests a second.
    pub fn throughput(&self) -> f64 {
        number(self.load.requests) / self.load.seconds
    }

    /// Microseconds of CPU of a component for a request.
    pub fn cpu_of(&self, component: Component) -> f64 {
        Component::ALL.iter().position(|one| *one == component).map_or(f64::NAN, |place| self.cpu[place])
    }

    /// Microseconds of CPU of all components for a request.
    pub fn cpu_of_all(&self) -> f64 {
        self.cpu.iter().sum()
    }

    /// The part of requests that were refused, in percent.
    pub fn refused(&self) -> f64 {
        100.0 * number(self.load.refused) / number(self.load.requests)
    }
}

/// What lanes have sent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sent {
    pub calls: f64,
    /// Which carried these calls.
    pub statements: f64,
}

impl Sent {
    /// From the metrics of a node.
    pub fn read(metrics: &str) -> Option<Self> {
        let count = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            line.trim().parse().ok()
        };
        Some(Self { calls: count("galo_batch_calls_sum")?, statements: count("galo_batch_calls_count")? })
    }

    /// What was sent since then.
    pub fn since(self, before: Self) -> Self {
        Self { calls: self.calls - before.calls, statements: self.statements - before.statements }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lanes_sent_is_read_from_the_metrics() {
        let text = "galo_batch_calls_sum 34.0\ngalo_batch_calls_count 4\ngalo_batch_calls_bucket{le=\"1.0\"} 1\n";
        assert_eq!(Sent::read(text), Some(Sent { calls: 34.0, statements: 4.0 }));
        assert_eq!(Sent::read("galo_batch_calls_sum 34.0\n"), None);
        let later = Sent { calls: 40.0, statements: 6.0 };
        assert_eq!(later.since(Sent { calls: 34.0, statements: 4.0 }), Sent { calls: 6.0, statements: 2.0 });
    }
}
