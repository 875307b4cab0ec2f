//! The comparison: in each round every contender once for each number of connections, in an order that moves on from
//! one to the next, so that none is always measured behind the same other.

use crate::cluster::{Cluster, Durability};
use crate::contender::Contender;
use crate::figures::{brief, whole};
use crate::measure::{Bench, measure};
use crate::measured::Measured;
use crate::pgbench;
use crate::progress::Progress;
use crate::schedule::Placement;

/// One measurement of the comparison.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub contender: Contender,
    pub connections: usize,
    pub round: usize,
    pub measured: Measured,
}

/// The steps of a comparison.
pub fn steps(contenders: &[Contender], connections: &[usize], rounds: usize) -> usize {
    let http = contenders.iter().filter(|contender| contender.speaks_http()).count();
    rounds * (http * connections.len() + contenders.len() - http)
}

/// Measures a round.
///
/// # Errors
/// The first measurement that is invalid.
pub async fn round(
    bench: &Bench,
    cluster: &mut Cluster,
    placement: Placement,
    contenders: &[Contender],
    connections: &[usize],
    round: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (index, (connections, contenders)) in plan(contenders, connections, round).into_iter().enumerate() {
        for contender in contenders {
            let placed = if placement == Placement::Placed { "placed, " } else { "" };
            progress.begin(format!("round {}: {}, {placed}{connections} connections", round + 1, contender.name()));
            // The same for all contenders of a round, so that they are sent the same.
            let seed = u64::try_from(round * 100 + index)?;
            let measured = measure(bench, cluster, placement, contender, connections, seed).await?;
            progress.end(&in_a_line(&measured));
            samples.push(Sample { contender, connections, round, measured });
        }
    }
    Ok(samples)
}

/// What is measured in a round: numbers of connections, and for each of them contenders in their order.
fn plan(contenders: &[Contender], connections: &[usize], round: usize) -> Vec<(usize, Vec<Contender>)> {
    let (http, other): (Vec<_>, Vec<_>) = contenders.iter().partition(|contender| contender.speaks_http());
    let mut plan: Vec<_> = connections
        .iter()
        .enumerate()
        .map(|(index, &connections)| {
            let mut order = http.clone();
            if !order.is_empty() {
                let by = (round + index) % order.len();
                order.rotate_left(by);
            }
            (connections, order)
        })
        .collect();
    if !other.is_empty() {
        plan.push((pgbench::CONNECTIONS, other));
    }
    plan
}

/// A measurement in a line.
pub fn in_a_line(measured: &Measured) -> String {
    let [half, .., most] = measured.load.latency;
    let cpu = measured.cpu.iter().sum::<f64>();
    format!(
        "{}/s, half in {} ms, all in {} ms, {} µs of CPU each",
        whole(measured.throughput()),
        brief(half),
        brief(most),
        brief(cpu)
    )
}

/// Galo, durable and not.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    pub on: Measured,
    pub off: Measured,
}

/// Measures Galo with and without durability, each on a new cluster, in turn; who comes first changes.
///
/// # Errors
/// The first measurement that is invalid.
pub async fn durable(
    bench: &Bench,
    connections: usize,
    rounds: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let seed = u64::try_from(round)?;
        let one = async |durability| {
            let durable = if durability == Durability::On { "durable" } else { "not durable" };
            progress.begin(format!("round {}: Galo, {durable}, {connections} connections", round + 1));
            let mut cluster = bench.cluster(durability).await?;
            let measured = measure(bench, &mut cluster, Placement::Free, Contender::Galo, connections, seed).await?;
            progress.end(&in_a_line(&measured));
            anyhow::Ok(measured)
        };
        pairs.push(if round.is_multiple_of(2) {
            let on = one(Durability::On).await?;
            Pair { on, off: one(Durability::Off).await? }
        } else {
            let off = one(Durability::Off).await?;
            Pair { on: one(Durability::On).await?, off }
        });
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_moves_on_and_nobody_is_left_out() {
        use Contender::{Galo, Limit, Pgbench, Plain};
        let contenders = [Limit, Pgbench, Plain, Galo];
        let expected = vec![(8, vec![Plain, Galo, Limit]), (64, vec![Galo, Limit, Plain]), (16, vec![Pgbench])];
        assert_eq!(plan(&contenders, &[8, 64], 1), expected);
        assert_eq!(steps(&contenders, &[8, 64], 3), 21);
        assert_eq!(plan(&[Pgbench], &[8], 0), [(8, vec![]), (16, vec![Pgbench])]);
    }
}
