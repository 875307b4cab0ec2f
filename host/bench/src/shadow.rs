//! What a shadow costs: Galo with one and without, measured in alternation. Each round gives a ratio of throughputs,
//! and the median of the ratios decides.

use anyhow::{Context as _, ensure};

use crate::cluster::Durability;
use crate::compare::in_a_line;
use crate::contender::Contender;
use crate::figures::{brief, ratio, spread};
use crate::measure::{Bench, Measured, measure};
use crate::options::Options;
use crate::progress::Progress;
use crate::schedule::Placement;

/// The least of the throughput with a shadow to that without.
const THROUGHPUT_MIN: f64 = 0.95;

/// Where p99 is among the percentiles of a load.
const P99: usize = 3;

/// Measures, and prints the ratios.
///
/// # Errors
/// What makes a measurement invalid; that the shadow costs too much.
pub async fn run(options: &Options, mut bench: Bench, every: usize) -> anyhow::Result<()> {
    let mut cluster = bench.cluster(Durability::Off).await?;
    let progress = Progress::new(2 * options.rounds() * options.connections().len());
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for connections in options.connections() {
        let mut rounds: [Vec<Measured>; 2] = Default::default();
        for round in 0..options.rounds() {
            // Who comes first changes.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                bench.shadow = (side == 1).then_some(every);
                let name = if side == 1 { "with" } else { "without" };
                progress.begin(format!("round {}: {name} a shadow, {connections} connections", round + 1));
                let seed = u64::try_from(round)?;
                let free = Placement::Free;
                let one = measure(&bench, &mut cluster, free, Contender::Galo, connections, seed).await?;
                progress.end(&in_a_line(&one));
                rounds[side].push(one);
            }
        }
        let [without, with] = &rounds;
        let paired = without.iter().zip(with).map(|(without, with)| with.throughput() / without.throughput());
        let throughput = spread(paired).context("no round was measured")?;
        let p99 = |measured: &[Measured]| spread(measured.iter().map(|one| one.load.latency[P99]));
        let (without, with) = p99(without).zip(p99(with)).context("no round was measured")?;
        lines.push(format!(
            "{connections} connections, shadow on 1 in {every}: throughput {}, p99 {} ms, without it {} ms",
            throughput.shown(ratio),
            with.shown(brief),
            without.shown(brief),
        ));
        if throughput.median < THROUGHPUT_MIN || with.median > without.most {
            failed.push(connections.to_string());
        }
    }
    progress.finish();
    println!("{}", lines.join("\n"));
    ensure!(failed.is_empty(), "a shadow costs too much with {} connections", failed.join(", "));
    Ok(())
}
