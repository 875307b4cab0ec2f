//! What shards will cost, from what one costs: a straight line for each component, of its CPU for a request over the
//! statements for a request. Lanes make batches smaller, and so statements more.

use crate::figures::spread;
use crate::measured::{Component, Measured, number};

/// What is behind nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Nodes,
    Router,
    Shards,
}

impl Part {
    /// All, in the order of a call's way.
    pub const ALL: [Self; 3] = [Self::Nodes, Self::Router, Self::Shards];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Router => "router",
            Self::Shards => "shards",
        }
    }

    /// Its microseconds of CPU for a request.
    pub fn cpu(self, measured: &Measured) -> f64 {
        match self {
            Self::Nodes => measured.cpu_of(Component::Nodes),
            Self::Router => measured.router,
            Self::Shards => measured.cpu_of(Component::Postgres) - measured.router,
        }
    }
}

/// How many statements carry the calls of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statements {
    /// The part of requests whose call waits on a lane.
    pub on_lanes: f64,
    /// Statements of lanes for a request. The other calls have one each.
    pub of_lanes: f64,
}

impl Statements {
    /// Of a measurement.
    pub fn of(measured: &Measured) -> Self {
        let requests = number(measured.load.requests);
        Self { on_lanes: measured.sent.calls / requests, of_lanes: measured.sent.statements / requests }
    }

    /// In the middle of several measurements.
    pub fn median<'a>(measured: impl Iterator<Item = &'a Measured> + Clone) -> Option<Self> {
        let middle = |value: fn(Self) -> f64| Some(spread(measured.clone().map(|one| value(Self::of(one))))?.median);
        Some(Self { on_lanes: middle(|one| one.on_lanes)?, of_lanes: middle(|one| one.of_lanes)? })
    }

    /// For a request, all of them.
    pub fn all(self) -> f64 {
        self.of_lanes + 1.0 - self.on_lanes
    }

    /// Calls of a statement of a lane.
    pub fn batch(self) -> f64 {
        self.on_lanes / self.of_lanes
    }

    /// With so many times as many lanes: one call of each statement finds its lane free, and those that join it are
    /// spread over the lanes.
    pub fn with_lanes(self, times: f64) -> Self {
        self.with_batch(1.0 + (self.batch() - 1.0) / times)
    }

    /// With so many calls in a statement of a lane.
    pub fn with_batch(self, calls: f64) -> Self {
        Self { of_lanes: self.on_lanes / calls, ..self }
    }
}

/// Microseconds of CPU for a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// For each statement, however many calls it carries.
    pub statement: f64,
    /// For each request beside that.
    pub request: f64,
}

impl Line {
    /// The line of least squares through points of statements and microseconds; none when they have all as many
    /// statements.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let mean = |value: fn(&(f64, f64)) -> f64| {
            points.iter().map(value).sum::<f64>() / number(u64::try_from(points.len()).unwrap_or(u64::MAX))
        };
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let statement = (spread > f64::EPSILON).then(|| together / spread)?;
        Some(Self { statement, request: y - statement * x })
    }

    pub fn at(self, statements: f64) -> f64 {
        self.statement * statements + self.request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Statements = Statements { on_lanes: 0.96, of_lanes: 0.08 };

    #[test]
    fn a_line_goes_through_its_points() {
        let line = Line::fit(&[(0.1, 12.0), (0.5, 20.0), (0.3, 16.0)]).unwrap();
        assert!((line.statement - 20.0).abs() < 1e-9 && (line.request - 10.0).abs() < 1e-9, "{line:?}");
        assert!((line.at(0.2) - 14.0).abs() < 1e-9);
        assert_eq!(Line::fit(&[(0.1, 12.0), (0.1, 13.0)]), None);
        assert_eq!(Line::fit(&[]), None);
    }

    #[test]
    fn lanes_make_batches_smaller_down_to_one_call() {
        assert!((LOAD.batch() - 12.0).abs() < 1e-9 && (LOAD.all() - 0.12).abs() < 1e-9);
        assert!((LOAD.with_lanes(2.0).batch() - 6.5).abs() < 1e-9);
        assert!((LOAD.with_lanes(1e9).batch() - 1.0).abs() < 1e-6);
        assert!((LOAD.with_batch(6.0).all() - 0.2).abs() < 1e-9);
        assert!((LOAD.with_batch(1.0).all() - 1.0).abs() < 1e-9);
    }
}
