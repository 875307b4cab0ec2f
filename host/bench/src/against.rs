//! Galo against Galo: the program of another checkout and that of this one, each with its own handlers, schema and
//! deployed settings, measured in alternation. What slows a whole round down is in both of its measurements, so each
//! round gives a ratio, and the median of the ratios decides.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use galo::develop::build::{Cancel, Project};

use crate::alternate;
use crate::cluster::{Cluster, Durability};
use crate::contender::Contender;
use crate::figures::{self, Spread, ratio};
use crate::measure::{Bench, measure};
use crate::measured::{Component, Measured};
use crate::options::Options;
use crate::programs::{self, Programs};
use crate::progress::Progress;
use crate::schedule::Placement;

/// The most that a request may cost the nodes, to what it cost before. Two runs of one program differ by as much.
const CPU_MAX: f64 = 1.03;
/// The least of the throughput, likewise.
const THROUGHPUT_MIN: f64 = 0.97;

/// One of the two.
struct Side {
    name: &'static str,
    bench: Bench,
    cluster: Cluster,
}

/// A round: this checkout's program to the other's.
#[derive(Debug, Clone, Copy)]
struct Ratios {
    cpu: f64,
    throughput: f64,
}

/// Builds both, measures them, and prints the ratios.
///
/// # Errors
/// What keeps a measurement from being made or makes it invalid; that this checkout's program is slower.
pub async fn run(options: &Options, checkout: &Project, before: &Path, cancel: &Cancel) -> anyhow::Result<()> {
    let before = Project::find(before)?;
    ensure!(before.root != checkout.root, "--against names this checkout itself; name another one");
    let folder = tempfile::Builder::new().prefix("galo-bench-").tempdir()?;
    let mut sides = Vec::new();
    // This checkout comes last: its program is what remains in the target folder.
    for (name, checkout) in [("before", &before), ("after", checkout)] {
        let (place, checkout) = (folder.path().join(name), checkout.clone());
        let (cancel, options) = (cancel.clone(), options.clone());
        let set_up = move || {
            let programs = Programs::find()?;
            let galo = build(&checkout, &programs.own, &place)?;
            ensure!(!cancel.is_requested(), "the build was stopped");
            Bench::new(&options, checkout, programs, None, galo, place)
        };
        let bench = tokio::task::spawn_blocking(set_up).await??;
        let cluster = bench.cluster(Durability::Off).await?;
        sides.push(Side { name, bench, cluster });
    }
    let progress = Progress::new(2 * options.rounds() * options.connections().len());
    let mut slower = Vec::new();
    let mut lines = Vec::new();
    for connections in options.connections() {
        let ratios = alternate(&mut sides, connections, options.rounds(), &progress).await?;
        let (cpu, throughput) = (of(&ratios, |one| one.cpu)?, of(&ratios, |one| one.throughput)?);
        let interval = interval_shown(ratios.len());
        lines.push(format!(
            "{connections} connections, {} rounds: CPU of the nodes for a request {}, throughput {} ({interval})",
            ratios.len(),
            cpu.shown(ratio),
            throughput.shown(ratio),
        ));
        if cpu.median > CPU_MAX || throughput.median < THROUGHPUT_MIN {
            slower.push(connections.to_string());
        }
    }
    progress.finish();
    println!("after to before, each round a pair:\n{}", lines.join("\n"));
    match slower.is_empty() {
        true => Ok(()),
        false => bail!(
            "slower with {} connections: CPU over {CPU_MAX} or throughput under {THROUGHPUT_MIN}",
            slower.join(", ")
        ),
    }
}

/// Measures both in each round.
async fn alternate(
    sides: &mut [Side],
    connections: usize,
    rounds: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Ratios>> {
    let mut ratios = Vec::new();
    let name = |side: &Side| side.name.to_owned();
    for round in 0..rounds {
        let measured = alternate::round(sides, round, connections, progress, name, async |side, seed| {
            measure(&side.bench, &mut side.cluster, Placement::Free, Contender::Galo, connections, seed).await
        });
        if let [before, after] = measured.await?[..] {
            ratios.push(Ratios::of(&after, &before));
        }
    }
    Ok(ratios)
}

impl Ratios {
    fn of(after: &Measured, before: &Measured) -> Self {
        let nodes = |measured: &Measured| measured.cpu_of(Component::Nodes);
        Self { cpu: nodes(after) / nodes(before), throughput: after.throughput() / before.throughput() }
    }
}

/// The median of the ratios and its interval.
fn of(ratios: &[Ratios], value: impl Fn(&Ratios) -> f64) -> anyhow::Result<Spread> {
    let mut values: Vec<_> = ratios.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let outer = interval(values.len()).map_or(0, |(skipped, _)| skipped);
    let spread = figures::spread(values.iter().copied()).context("no round was measured")?;
    Ok(Spread { least: values[outer], most: values[values.len() - 1 - outer], ..spread })
}

/// How many of the least and of the greatest of `count` values lie outside of an interval that holds the median
/// with 95 % confidence or more, and that confidence. The median is as often over a value as under it, so how many
/// values are under it is binomial. None for fewer than six values.
fn interval(count: usize) -> Option<(usize, f64)> {
    let mut found = None;
    let (mut ways, mut outside) = (0.5_f64.powi(i32::try_from(count).ok()?), 0.0);
    for skipped in 0..count / 2 {
        outside += 2.0 * ways;
        if outside > 0.05 {
            break;
        }
        found = Some((skipped, 1.0 - outside));
        let (remaining, taken) = (u32::try_from(count - skipped).ok()?, u32::try_from(skipped + 1).ok()?);
        ways *= f64::from(remaining) / f64::from(taken);
    }
    found
}

fn interval_shown(count: usize) -> String {
    match interval(count) {
        Some((_, confidence)) => format!("{:.0} % interval of the median", confidence * 100.0),
        None => "least to greatest: too few rounds for an interval".to_owned(),
    }
}

/// Builds the program and the handlers of a checkout into a folder.
fn build(checkout: &Project, own: &Path, place: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(place)?;
    let built = programs::galo_again(checkout, own)?;
    let (galo, handlers) = (place.join("galo"), place.join("handlers"));
    std::fs::copy(&built, &galo).with_context(|| format!("cannot copy {}", built.display()))?;
    let status = Command::new(&galo)
        .args(["build", "--out"])
        .arg(&handlers)
        .current_dir(&checkout.root)
        // Of its own, for the reason that the program is built again for; a handler has few dependencies.
        .env("CARGO_TARGET_DIR", place.join("target"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run the galo that was built")?;
    ensure!(status.success(), "the handlers of {} could not be built", checkout.root.display());
    Ok(galo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_median_leaves_out_what_chance_may_put_there() {
        let rounded = |count| interval(count).map(|(skipped, confidence)| (skipped, (confidence * 1000.0).round()));
        assert_eq!(rounded(5), None);
        assert_eq!(rounded(6), Some((0, 969.0)));
        assert_eq!(rounded(7), Some((0, 984.0)));
        assert_eq!(rounded(9), Some((1, 961.0)));
        assert_eq!(rounded(15), Some((3, 965.0)));
        let ratios: Vec<_> = (1..=9).map(|n| Ratios { cpu: f64::from(n), throughput: 1.0 }).collect();
        assert_eq!(of(&ratios, |one| one.cpu).unwrap(), Spread { median: 5.0, least: 2.0, most: 8.0 });
        assert!(of(&[], |one| one.cpu).is_err());
    }
}
