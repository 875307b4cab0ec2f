//! The plots of BENCHMARKS.md, as SVG. Called by `run`.

use std::path::Path;

use anyhow::{Context as _, anyhow};

use crate::chart::{Bars, Lines, Series, bars, lines};
use crate::measure::{Component, PERCENTILES};
use crate::run::Results;
use crate::subject::Subject;
use crate::tables::of;

/// Draws all of them into a folder; of what was not measured there is none.
///
/// # Errors
/// When they cannot be written.
pub fn all(results: &Results, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let connections = results.goal_connections;
    let shown: Vec<_> =
        Subject::ALL.into_iter().filter(|&subject| of(results, subject, connections, |_| 0.0).is_some()).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let draw = |name: &str, drawn: Result<String, String>| -> anyhow::Result<()> {
        let file = folder.join(name).with_extension("svg");
        let text = drawn.map_err(|error| anyhow!("cannot draw {name}: {error}"))?;
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    let names: Vec<_> = shown.iter().map(|&subject| name(subject)).collect();

    // pgbench has one figure, which is a line across.
    let series = shown.iter().map(|&subject| {
        let points = results.connections.iter().map(|&c| of(results, subject, c, |m| m.throughput() / 1e3));
        Series { name: name(subject), colour: colour(subject), points: points.collect() }
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

    let series = shown.iter().map(|&subject| {
        let points = (0..PERCENTILES.len()).map(|place| of(results, subject, connections, |m| m.load.latency[place]));
        Series { name: name(subject), colour: colour(subject), points: points.collect() }
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

    let stacks = |first: usize, value: &dyn Fn(&crate::measure::Measured, usize) -> f64| -> Vec<Vec<f64>> {
        let stack = |&subject: &Subject| {
            let of = |place| of(results, subject, connections, |m| value(m, place)).map_or(0.0, |found| found.median);
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

fn name(subject: Subject) -> &'static str {
    match subject {
        Subject::Pgbench => "pgbench, 16",
        other => other.name(),
    }
}

/// Each has one colour in all plots, whoever else is in them.
fn colour(subject: Subject) -> usize {
    Subject::ALL.iter().position(|other| *other == subject).unwrap_or_default()
}
