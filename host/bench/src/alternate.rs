//! One round of a measurement that compares: each side once, and who comes first changes with the round. What slows a
//! whole round down is in all of its measurements.

use crate::compare::in_a_line;
use crate::measured::Measured;
use crate::progress::Progress;

/// Measures each side, and returns what was measured in the order of `sides`. `measure` gets the number of the round as
/// the seed of its requests.
///
/// # Errors
/// Those of `measure`.
pub async fn round<S>(
    sides: &mut [S],
    number: usize,
    connections: usize,
    progress: &Progress,
    name: impl Fn(&S) -> String,
    mut measure: impl AsyncFnMut(&mut S, u64) -> anyhow::Result<Measured>,
) -> anyhow::Result<Vec<Measured>> {
    let mut measured = vec![Measured::default(); sides.len()];
    for turn in 0..sides.len() {
        let side = (number + turn) % sides.len();
        progress.begin(format!("round {}: {}, {connections} connections", number + 1, name(&sides[side])));
        measured[side] = measure(&mut sides[side], u64::try_from(number)?).await?;
        progress.end(&in_a_line(&measured[side]));
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_side_comes_first_in_each_round_and_none_is_taken_for_another() {
        let (mut sides, mut order, progress) = ([10, 20, 30], Vec::new(), Progress::new(9));
        for number in 0..3 {
            let measured = round(&mut sides, number, 8, &progress, u64::to_string, async |side, seed| {
                order.push((*side, seed));
                let mut measured = Measured::default();
                measured.load.requests = *side;
                Ok(measured)
            });
            let requests: Vec<_> = measured.await.unwrap().iter().map(|one| one.load.requests).collect();
            assert_eq!(requests, sides);
        }
        let expected = [(10, 0), (20, 0), (30, 0), (20, 1), (30, 1), (10, 1), (30, 2), (10, 2), (20, 2)];
        assert_eq!(order, expected);
    }
}
