//! What a feature costs that is off unless it is asked for: Galo with it and without, measured in alternation. Each
//! round gives a ratio of throughputs, and the median of the ratios decides.

use anyhow::{Context as _, ensure};

use crate::alternate;
use crate::cluster::Durability;
use crate::collector::Collector;
use crate::contender::Contender;
use crate::feature::{Feature, Sampled};
use crate::figures::{brief, ratio, spread};
use crate::measure::{Bench, measure};
use crate::measured::{Component, Measured};
use crate::options::Options;
use crate::progress::Progress;
use crate::schedule::Placement;

/// Where p99 is among the percentiles of a load.
const P99: usize = 3;

/// Measures, and prints the ratios.
///
/// # Errors
/// What makes a measurement invalid; that the feature costs too much.
pub async fn run(options: &Options, mut bench: Bench, feature: Feature) -> anyhow::Result<()> {
    let collector = Collector::start().context("the collector of the traces")?;
    let every = options.every().unwrap_or_else(|| feature.every());
    let on = Sampled { feature, every, collector: collector.address };
    let mut cluster = bench.cluster(Durability::Off).await?;
    let progress = Progress::new(2 * options.rounds() * options.connections().len());
    let name = |sampled: &Option<Sampled>| String::from(if sampled.is_some() { "with" } else { "without" });
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for connections in options.connections() {
        let mut rounds: [Vec<Measured>; 2] = Default::default();
        for round in 0..options.rounds() {
            let sides = &mut [None, Some(on)];
            let measured = alternate::round(sides, round, connections, &progress, name, async |sampled, seed| {
                bench.sampled = *sampled;
                measure(&bench, &mut cluster, Placement::Free, Contender::Galo, connections, seed).await
            });
            rounds.iter_mut().zip(measured.await?).for_each(|(all, one)| all.push(one));
        }
        let (line, is_cheap) = judged(feature, &rounds)?;
        lines.push(format!("{connections} connections, {feature:?} of 1 request in {every}: {line}"));
        if !is_cheap {
            failed.push(connections.to_string());
        }
    }
    progress.finish();
    println!("{}", lines.join("\n"));
    if feature == Feature::Traces {
        ensure!(collector.received() > 0, "no trace arrived");
        println!("{} MiB of traces arrived", collector.received() >> 20);
    }
    ensure!(failed.is_empty(), "it costs too much with {} connections", failed.join(", "));
    Ok(())
}

/// The figures without and with a feature, and whether they are within its bounds.
fn judged(feature: Feature, [without, with]: &[Vec<Measured>; 2]) -> anyhow::Result<(String, bool)> {
    let paired = |value: &dyn Fn(&Measured) -> f64| {
        spread(without.iter().zip(with).map(|(without, with)| value(with) / value(without)))
            .context("no round was measured")
    };
    let p99 = |measured: &[Measured]| spread(measured.iter().map(|one| one.load.latency[P99]));
    let throughput = paired(&Measured::throughput)?;
    let cpu = paired(&|one| one.cpu_of(Component::Nodes))?;
    let (without, with) = p99(without).zip(p99(with)).context("no round was measured")?;
    let line = format!(
        "throughput {}, CPU of the nodes for a request {}, p99 {} ms, without it {} ms",
        throughput.shown(ratio),
        cpu.shown(ratio),
        with.shown(brief),
        without.shown(brief),
    );
    // A shadow runs after the answers went out, so they must not come later.
    let is_late = feature == Feature::Shadow && with.median > without.most;
    Ok((line, throughput.median >= feature.throughput_min() && !is_late))
}
