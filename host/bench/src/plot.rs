//! The plots of BENCHMARKS.md, as SVG.

use std::path::Path;

use anyhow::{Context as _, anyhow};

use crate::chart::{Bars, Lines, Series, bars, lines};
use crate::contender::Contender;
use crate::load::PERCENTILES;
use crate::measured::{Component, Measured};
use crate::results::Results;

/// Draws all of them into a folder, except those of parts that were not measured.
///
/// # Errors
/// When they cannot be written.
pub fn all(results: &Results, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let connections = results.goal_connections;
    let shown: Vec<_> =
        Contender::ALL.into_iter().filter(|&contender| results.of(contender, connections, |_| 0.0).is_some()).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let draw = |name: &str, drawn: Result<String, String>| -> anyhow::Result<()> {
        let file = folder.join(name).with_extension("svg");
        let text = drawn.map_err(|error| anyhow!("cannot draw {name}: {error}"))?;
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    let names: Vec<_> = shown.iter().map(|&contender| name(contender)).collect();

    // pgbench has one figure, which is a line across.
    let series = shown.iter().map(|&contender| {
        let points = results.connections.iter().map(|&c| results.of(contender, c, |m| m.throughput() / 1e3));
        Series { name: name(contender), colour: colour(contender), points: points.collect() }
    });
    let chart = Lines {
        title: "Throughput",
        unit: "thousand requests a second",
        below: "connections",
        places: results.connections.iter().map(ToString::to_string).collect(),
        series: series.collect(),
        powers: false,
    };
    draw("throughput", lines(&chart))?;

    let series = shown.iter().map(|&contender| {
        let points = (0..PERCENTILES.len()).map(|place| results.of(contender, connections, |m| m.load.latency[place]));
        Series { name: name(contender), colour: colour(contender), points: points.collect() }
    });
    let chart = Lines {
        title: &format!("Time to an answer, {connections} connections"),
        unit: "milliseconds",
        below: "percentile",
        places: PERCENTILES.map(str::to_owned).to_vec(),
        series: series.collect(),
        powers: true,
    };
    draw("latency", lines(&chart))?;

    let stacks = |first: usize, value: &dyn Fn(&Measured, usize) -> f64| -> Vec<Vec<f64>> {
        let stack = |&contender: &Contender| {
            let of = |place| results.of(contender, connections, |m| value(m, place)).map_or(0.0, |found| found.median);
            (first..Component::ALL.len()).map(of).collect()
        };
        shown.iter().map(stack).collect()
    };
    let components = Component::ALL.map(Component::name);
    let chart = Bars {
        title: &format!("CPU for a request, {connections} connections"),
        unit: "microseconds",
        places: &names,
        parts: &components,
        colour: 0,
        stacks: stacks(0, &|measured, place| measured.cpu[place]),
    };
    draw("cpu", bars(&chart))?;
    let chart = Bars {
        title: &format!("Memory, {connections} connections"),
        unit: "MiB (Pss)",
        places: &names,
        parts: &components[1..],
        colour: 1,
        stacks: stacks(1, &|measured, place| measured.memory[place].share),
    };
    draw("memory", bars(&chart))
}

fn name(contender: Contender) -> &'static str {
    match contender {
        Contender::Pgbench => "pgbench, 16",
        other => other.name(),
    }
}

/// Each has one colour in all plots, whichever others are in them.
fn colour(contender: Contender) -> usize {
    Contender::ALL.iter().position(|other| *other == contender).unwrap_or_default()
}
