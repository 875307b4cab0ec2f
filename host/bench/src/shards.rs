//! What shards cost and bring on this machine: Galo in front of one Postgres, and of a router with several shards, in
//! alternation. Everything shares the cores, so throughput does not grow here; what a request costs each component
//! says what more machines would carry.

use crate::alternate;
use crate::figures::{brief, ratio, spread, whole};
use crate::layout::{Ground, Layout};
use crate::machine;
use crate::measure::Bench;
use crate::measured::{Component, Measured};
use crate::model::{Line, Part, Statements};
use crate::options::Options;
use crate::progress::Progress;

/// Sizes of batches for which the capacity of a core is printed.
const BATCHES: [f64; 4] = [1.0, 4.0, 16.0, 64.0];

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Sample {
    layout: Layout,
    connections: usize,
    round: usize,
    measured: Measured,
}

/// All of them.
struct Samples {
    all: Vec<Sample>,
    /// How many lanes have clients.
    used: Vec<(Layout, u32)>,
}

/// Measures one Postgres and so many shards, and prints the figures.
///
/// # Errors
/// What makes a measurement invalid.
pub async fn run(options: &Options, mut bench: Bench, counts: &[usize]) -> anyhow::Result<()> {
    let mut layouts = layouts(counts);
    let (connections, rounds) = (options.connections(), options.rounds());
    let mut ground = Ground::start(&bench, &layouts).await?;
    let progress = Progress::new(layouts.len() * rounds * connections.len());
    let mut samples = Vec::new();
    for round in 0..rounds {
        for &connections in &connections {
            let name = |layout: &Layout| layout.name();
            let measured = alternate::round(&mut layouts, round, connections, &progress, name, async |layout, seed| {
                ground.measure(&mut bench, *layout, connections, seed).await
            });
            for (measured, &layout) in measured.await?.into_iter().zip(&layouts) {
                samples.push(Sample { layout, connections, round, measured });
            }
        }
    }
    progress.finish();
    let used = layouts.iter().map(|&layout| (layout, ground.used(layout))).collect();
    let samples = Samples { all: samples, used };
    println!("{}, {rounds} rounds of {} s", machine::in_a_line(), bench.seconds);
    for &connections in &connections {
        println!("\n{}", samples.table(&layouts, connections));
        println!("{}", samples.price(connections));
    }
    println!("\n{}", samples.prediction(&layouts, &connections));
    Ok(())
}

/// One Postgres, one with the lanes of one shard, and the shards; one shard is always among them.
fn layouts(counts: &[usize]) -> Vec<Layout> {
    let mut counts: Vec<_> = counts.iter().copied().chain([1]).collect();
    counts.sort_unstable();
    counts.dedup();
    let one = [1, Layout::Shards(1).lanes()].map(|lanes| Layout::One { lanes });
    one.into_iter().chain(counts.into_iter().map(Layout::Shards)).collect()
}

impl Samples {
    fn of(&self, layout: Layout, connections: usize) -> impl Iterator<Item = &Sample> + Clone {
        self.all.iter().filter(move |sample| sample.layout == layout && sample.connections == connections)
    }

    fn measured(&self, layout: Layout, connections: usize) -> impl Iterator<Item = &Measured> + Clone {
        self.of(layout, connections).map(|sample| &sample.measured)
    }

    fn median(&self, layout: Layout, connections: usize, value: impl Fn(&Measured) -> f64) -> f64 {
        spread(self.measured(layout, connections).map(value)).map_or(f64::NAN, |spread| spread.median)
    }

    /// What the two of each round give, in one text.
    fn paired(
        &self,
        [one, other]: [Layout; 2],
        connections: usize,
        value: impl Fn(&Measured, &Measured) -> f64,
        write: impl Fn(f64) -> String,
    ) -> String {
        let values = self.of(other, connections).filter_map(|sample| {
            let its = self.of(one, connections).find(|one| one.round == sample.round)?;
            Some(value(&its.measured, &sample.measured))
        });
        spread(values).map_or_else(String::new, |spread| spread.shown(write))
    }

    fn table(&self, layouts: &[Layout], connections: usize) -> String {
        let mut lines = vec![
            format!(
                "| {connections} connections | requests/s | to one Postgres | p99, ms | calls a batch | nginx, µs | nodes | \
                 router | Postgres | all |"
            ),
            "|---|---|---|---|---|---|---|---|---|---|".to_owned(),
        ];
        for &layout in layouts {
            let of = |value: &dyn Fn(&Measured) -> f64| self.median(layout, connections, value);
            let throughput = |one: &Measured, other: &Measured| other.throughput() / one.throughput();
            let cells = [
                layout.name(),
                whole(of(&Measured::throughput)),
                self.paired([Layout::One { lanes: 1 }, layout], connections, throughput, ratio),
                brief(of(&|one| one.load.latency[3])),
                brief(of(&|one| Statements::of(one).batch())),
                brief(of(&|one| one.cpu_of(Component::Nginx))),
                brief(of(&|one| Part::Nodes.cpu(one))),
                brief(of(&|one| Part::Router.cpu(one))),
                brief(of(&|one| Part::Shards.cpu(one))),
                brief(of(&Measured::cpu_of_all)),
            ];
            lines.push(format!("| {} |", cells.join(" | ")));
        }
        lines.join("\n")
    }

    /// What the router costs: one shard behind it, to one Postgres with as many lanes.
    fn price(&self, connections: usize) -> String {
        let pair = [Layout::One { lanes: Layout::Shards(1).lanes() }, Layout::Shards(1)];
        let more =
            |of: &dyn Fn(&Measured) -> f64| self.paired(pair, connections, |one, other| of(other) - of(one), brief);
        format!(
            "The router's price, µs of CPU for a request: {}; its own {}, of nodes {}, of the shard {}. Half of the requests \
             take {} ms longer; throughput {}.",
            more(&|one| one.cpu[1..].iter().sum()),
            more(&|one| Part::Router.cpu(one)),
            more(&|one| Part::Nodes.cpu(one)),
            more(&|one| Part::Shards.cpu(one)),
            more(&|one| one.load.latency[0]),
            self.paired(pair, connections, |one, other| other.throughput() / one.throughput(), ratio),
        )
    }

    /// What one shard says of several, beside what was measured.
    fn prediction(&self, layouts: &[Layout], connections: &[usize]) -> String {
        let one = Layout::Shards(1);
        let lines = Part::ALL.map(|part| {
            let points = connections.iter().filter_map(|&connections| {
                let statements = Statements::median(self.measured(one, connections))?.all();
                Some((statements, self.median(one, connections, |measured| part.cpu(measured))))
            });
            Line::fit(&points.collect::<Vec<_>>())
        });
        let [Some(nodes), Some(router), Some(shard)] = lines else {
            return "A prediction needs one shard measured with two numbers of connections.".to_owned();
        };
        let parts = [nodes, router, shard];
        let mut text = vec![
            "| µs of CPU with one shard | for a statement | for each call beside that |".to_owned(),
            "|---|---|---|".to_owned(),
        ];
        for (part, line) in Part::ALL.iter().zip(parts) {
            text.push(format!("| {} | {} | {} |", part.name(), brief(line.statement), brief(line.request)));
        }
        text.push(
            "\n| from one shard | calls a batch: predicted, measured | µs of CPU for a request | requests/s |\n|---|---|---|---|"
                .to_owned(),
        );
        for &connections in connections {
            let others = layouts.iter().filter(|layout| matches!(layout, Layout::Shards(count) if *count > 1));
            text.extend(others.filter_map(|&layout| self.predicted(layout, connections, parts)));
        }
        text.push(capacity(parts, Statements::median(self.measured(one, connections[0]))));
        text.join("\n")
    }

    /// A line for so many shards.
    fn predicted(&self, layout: Layout, connections: usize, parts: [Line; 3]) -> Option<String> {
        let one = Layout::Shards(1);
        let before = Statements::median(self.measured(one, connections))?;
        let lanes =
            |layout: Layout| self.used.iter().find(|(of, _)| *of == layout).map_or(f64::NAN, |used| used.1.into());
        let after = before.with_lanes(lanes(layout) / lanes(one));
        let more: f64 = parts.iter().map(|line| line.at(after.all()) - line.at(before.all())).sum();
        let cpu = self.median(one, connections, Measured::cpu_of_all) + more;
        // As busy as with one shard.
        let busy = |measured: &Measured| measured.throughput() * measured.cpu_of_all();
        let throughput = self.median(one, connections, busy) / cpu;
        let found = |value: &dyn Fn(&Measured) -> f64| self.median(layout, connections, value);
        Some(format!(
            "| {} ({} with clients), {connections} connections | {}, {} | {}, {} | {}, {} |",
            layout.name(),
            lanes(layout),
            brief(after.batch()),
            brief(found(&|one| Statements::of(one).batch())),
            brief(cpu),
            brief(found(&Measured::cpu_of_all)),
            whole(throughput),
            whole(found(&Measured::throughput)),
        ))
    }
}

/// How many requests a second a core of each carries.
fn capacity(parts: [Line; 3], statements: Option<Statements>) -> String {
    let Some(statements) = statements else { return String::new() };
    let mut lines = vec![
        "\n| requests/s that a core carries | nodes | router | shards |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for calls in BATCHES {
        let at = statements.with_batch(calls).all();
        let [nodes, router, shard] = parts.map(|line| whole(1e6 / line.at(at)));
        lines.push(format!("| {calls:.0} calls a batch | {nodes} | {router} | {shard} |"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;
    use crate::measured::Sent;

    #[test]
    fn one_shard_is_always_measured_and_one_postgres_with_its_lanes() {
        let lanes = |lanes| Layout::One { lanes };
        let expected = [lanes(1), lanes(2), Layout::Shards(1), Layout::Shards(4)];
        assert_eq!(layouts(&[4, 4]), expected);
        assert_eq!(Layout::Shards(4).lanes(), 4);
    }

    /// A measurement in which a statement costs each component 20 µs and a call 5 more.
    fn sample(layout: Layout, connections: usize, batch: f64) -> Sample {
        let load = Load { requests: 1000, seconds: 1.0, ..Load::default() };
        let sent = Sent { calls: 1000.0, statements: 1000.0 / batch };
        let each = 20.0 / batch + 5.0;
        let measured =
            Measured { load, sent, router: each, cpu: [10.0, 10.0, each, 2.0 * each], ..Measured::default() };
        Sample { layout, connections, round: 0, measured }
    }

    #[test]
    fn two_points_of_one_shard_predict_four() {
        let (one, four) = (Layout::Shards(1), Layout::Shards(4));
        let all = vec![sample(one, 8, 2.0), sample(one, 64, 16.0), sample(four, 64, 8.5)];
        let samples = Samples { all, used: vec![(one, 2), (four, 4)] };
        let text = samples.prediction(&[one, four], &[8, 64]);
        assert!(text.contains("| router | 20.0 | 5.00 |"), "{text}");
        let expected = "| router, 4 shards (4 with clients), 64 connections | 8.50, 8.50 | 42.1, 42.1 | 921, 1,000 |";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("| 1 calls a batch | 40,000 | 40,000 | 40,000 |"), "{text}");
        assert!(samples.prediction(&[one, four], &[64]).contains("two numbers of connections"));
    }
}
