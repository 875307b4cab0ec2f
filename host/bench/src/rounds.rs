//! What a contender did over the rounds, and what Galo did to it in the same ones: what slows a whole round down is in
//! both.

use crate::compare::Sample;
use crate::contender::Contender;
use crate::figures::{Spread, spread};
use crate::measure::Measured;
use crate::pgbench;

/// The spread of a figure.
pub fn of(
    samples: &[Sample],
    contender: Contender,
    connections: usize,
    value: impl Fn(&Measured) -> f64,
) -> Option<Spread> {
    spread(chosen(samples, contender, connections).map(|sample| value(&sample.measured)))
}

/// The throughput of Galo to that of another.
pub fn galo_to(samples: &[Sample], other: Contender, connections: usize) -> Option<Spread> {
    spread(
        chosen(samples, Contender::Galo, connections)
            .filter_map(|galo| Some(galo.measured.throughput() / throughput(samples, other, connections, galo.round)?)),
    )
}

/// The throughput of Galo placed to that of another, placed or not, whichever does more in the round: it was placed as
/// suits Galo, and that may not suit the other. None without both.
pub fn placed_galo_to(free: &[Sample], placed: &[Sample], other: Contender, connections: usize) -> Option<Spread> {
    spread(chosen(placed, Contender::Galo, connections).filter_map(|galo| {
        let of = |samples| throughput(samples, other, connections, galo.round);
        Some(galo.measured.throughput() / of(free)?.max(of(placed)?))
    }))
}

fn throughput(samples: &[Sample], contender: Contender, connections: usize, round: usize) -> Option<f64> {
    let found = chosen(samples, contender, connections).find(|sample| sample.round == round)?;
    Some(found.measured.throughput())
}

/// pgbench has the connections of the pools, whatever nginx has.
fn chosen(samples: &[Sample], contender: Contender, connections: usize) -> impl Iterator<Item = &Sample> {
    let connections = if contender.speaks_http() { connections } else { pgbench::CONNECTIONS };
    samples.iter().filter(move |sample| sample.contender == contender && sample.connections == connections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;
    use crate::process::Memory;

    fn sample(contender: Contender, round: usize, requests: u64) -> Sample {
        let load = Load { requests, refused: 0, seconds: 1.0, latency: [0.0; 6] };
        let measured = Measured { load, cpu: [0.0; 4], switches: [0.0; 4], idle: 0.0, memory: [Memory::default(); 4] };
        Sample { contender, connections: 64, round, measured }
    }

    #[test]
    fn galo_is_held_against_what_the_other_did_in_the_same_round() {
        use Contender::{Galo, Limit};
        let free = [sample(Galo, 0, 30), sample(Limit, 0, 60), sample(Limit, 1, 120), sample(Galo, 1, 30)];
        let to_it = galo_to(&free, Limit, 64).unwrap();
        assert_eq!((to_it.least, to_it.most), (0.25, 0.5));
        assert_eq!(galo_to(&free, Limit, 8), None);
        let placed = [sample(Galo, 0, 60), sample(Limit, 0, 50), sample(Galo, 1, 60), sample(Limit, 1, 240)];
        let to_better = placed_galo_to(&free, &placed, Limit, 64).unwrap();
        assert_eq!((to_better.least, to_better.most), (0.25, 1.0));
        assert_eq!(placed_galo_to(&[], &placed, Limit, 64), None);
    }
}
