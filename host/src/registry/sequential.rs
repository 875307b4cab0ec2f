//! A sequential test of whether a canary's guest calls take longer than those of the generation that serves. It may be
//! looked at after each request, and still raises a false alarm in at most one of [`limits::CANARY_FALSE_ALARM_ONE_IN`]
//! deployments, however long they last.
//!
//! It is a test by betting (Ramdas, Grünwald, Vovk, Shafer, "Game-Theoretic Statistics and Safe Anytime-Valid
//! Inference", Statistical Science 38(4), 2023). Each pair has the time of the old generation and that of the canary,
//! both on the same request, in an order that alternates. If the canary takes as long as the old one, the two times
//! are exchangeable: one that exceeds the other by some factor is as likely to be the one as the other. So a gambler
//! who bets on the canary's side at even odds has, at any moment, on average no more than at the beginning, and by
//! Ville's inequality exceeds 1/α times that with a probability of at most α. No distribution is assumed: a machine
//! that is busy slows both. The tolerance makes the bet worse, so a canary that is only a little slower raises no
//! alarm either.
//!
//! There are several gamblers, one for each factor and stake, and their mean is what counts: a small factor sees that
//! every request is slower, a large one that a few are much slower.

use std::time::Duration;

use crate::limits;

/// By how much one time must exceed the other, for a pair to count.
const FACTORS: [f64; 2] = [1.0, 3.0];

/// The part of its wealth that a gambler bets on each pair.
const STAKES: [f64; 4] = [0.1, 0.3, 0.6, 0.9];

/// What the pairs of one step have shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// For each factor, the pairs in which the canary's time exceeded the other one, and those in which it was
    /// exceeded.
    longer: [u32; FACTORS.len()],
    shorter: [u32; FACTORS.len()],
    /// Pairs, and the sums of their times.
    pub(super) pairs: u64,
    old: f64,
    canary: f64,
    /// The steps before this one.
    earlier: u32,
}

impl Evidence {
    /// Adds a pair. Returns whether the canary is slower.
    pub(super) fn add(&mut self, old: Duration, canary: Duration) -> bool {
        let (old, canary) = (old.as_secs_f64(), canary.as_secs_f64());
        self.pairs += 1;
        self.old += old;
        self.canary += canary;
        let tolerated = canary / limits::CANARY_TOLERANCE;
        for (index, factor) in FACTORS.into_iter().enumerate() {
            self.longer[index] += u32::from(tolerated > factor * old);
            self.shorter[index] += u32::from(old > factor * tolerated);
        }
        self.is_alarming()
    }

    /// How many times as long as the old generation the canary takes, on average.
    pub(super) fn ratio(&self) -> Option<f64> {
        (self.old > 0.0).then(|| self.canary / self.old)
    }

    /// The evidence of the next step, which begins with nothing. What was lost on a canary that was fast at first must
    /// not hide that it is slow under more load. The steps share the probability of a false alarm: the sum of 1/n² is
    /// π²/6.
    pub(super) fn next_step(&self) -> Self {
        Self { earlier: self.earlier + 1, ..Self::default() }
    }

    fn is_alarming(&self) -> bool {
        let bets = || self.longer.iter().zip(&self.shorter);
        // No gambler has won anything yet.
        if bets().all(|(longer, shorter)| longer <= shorter) {
            return false;
        }
        let wealth = |stake: f64| {
            let log = |(longer, shorter): (&u32, &u32)| {
                f64::from(*longer) * stake.ln_1p() + f64::from(*shorter) * (-stake).ln_1p()
            };
            bets().map(|bet| log(bet).exp()).sum::<f64>()
        };
        let gamblers = (FACTORS.len() * STAKES.len()) as f64;
        let mean = STAKES.into_iter().map(wealth).sum::<f64>() / gamblers;
        let step = f64::from(self.earlier + 1);
        let share = std::f64::consts::PI.powi(2) / 6.0 * step.powi(2);
        mean >= limits::CANARY_FALSE_ALARM_ONE_IN * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator with a fixed seed (xorshift): the test gives the same result each time.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * self.next().ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos()
        }
    }

    /// How guest calls vary. All of them were seen: a quiet machine, a busy one, requests of very different work.
    #[derive(Debug, Clone, Copy)]
    struct Noise {
        /// The spread of a call's time from one try to the next (of its logarithm).
        spread: f64,
        /// The spread of the work from request to request, which both generations share.
        work: f64,
        /// How often another process takes the core, which makes a call 20 times as long.
        preempted: f64,
        /// How much longer the second one of a pair takes.
        second: f64,
    }

    const NOISES: [Noise; 4] = [
        Noise { spread: 0.05, work: 0.0, preempted: 0.0, second: 1.0 },
        Noise { spread: 0.3, work: 0.5, preempted: 0.01, second: 0.8 },
        Noise { spread: 0.6, work: 1.5, preempted: 0.05, second: 1.3 },
        Noise { spread: 0.05, work: 1.0, preempted: 0.0, second: 0.5 },
    ];

    /// The request at which a deployment is taken back, if it is: `slower` is the truth, steps of `requests` each.
    fn alarm(random: &mut Random, noise: Noise, slower: impl Fn(f64) -> f64, requests: u32, steps: u32) -> Option<u32> {
        let mut evidence = Evidence::default();
        for step in 0..steps {
            for request in 0..requests {
                let work = 10e-6 * (noise.work * random.normal()).exp();
                let mut time = |position: f64| {
                    let preempted = if random.next() < noise.preempted { 20.0 } else { 1.0 };
                    work * (noise.spread * random.normal()).exp() * preempted * position
                };
                let canary_first = request % 2 == 0;
                let (first, second) = (time(1.0), time(noise.second));
                let (old, canary) = if canary_first { (second, first) } else { (first, second) };
                let canary = canary * slower(random.next());
                if evidence.add(Duration::from_secs_f64(old), Duration::from_secs_f64(canary)) {
                    return Some(step * requests + request + 1);
                }
            }
            evidence = evidence.next_step();
        }
        None
    }

    #[test]
    fn clean_deployments_raise_at_most_one_false_alarm_in_a_thousand() {
        // 4,000 deployments of three steps with 700 requests each, and as many of a canary that is as much slower as is
        // tolerated, which is the hardest case.
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for slower in [1.0, limits::CANARY_TOLERANCE] {
            let mut alarms = 0;
            for run in 0..4000 {
                let noise = NOISES[run % NOISES.len()];
                alarms += u32::from(alarm(&mut random, noise, |_| slower, 700, 3).is_some());
            }
            assert!(alarms <= 4, "{slower}: {alarms} of 4000");
        }
    }

    #[test]
    fn a_canary_that_takes_twice_as_long_is_found_within_500_requests() {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        for noise in NOISES {
            let mut found: Vec<_> = (0..400).filter_map(|_| alarm(&mut random, noise, |_| 2.0, 500, 1)).collect();
            assert!(found.len() >= 396, "{noise:?}: {} of 400", found.len());
            found.sort_unstable();
            assert!(found[found.len() / 2] < 250, "{noise:?}: half of them at {}", found[found.len() / 2]);
        }
    }

    #[test]
    fn a_canary_of_which_one_request_in_ten_is_much_slower_is_found() {
        let mut random = Random(0x1234_5678_9abc_def1);
        for noise in &NOISES[..2] {
            let slower = |drawn: f64| if drawn < 0.1 { 10.0 } else { 1.0 };
            let found = (0..200).filter(|_| alarm(&mut random, *noise, slower, 2000, 1).is_some()).count();
            assert!(found >= 198, "{noise:?}: {found} of 200");
        }
    }

    #[test]
    fn the_next_step_begins_anew() {
        let mut evidence = Evidence::default();
        let (fast, slow) = (Duration::from_micros(10), Duration::from_micros(20));
        assert!((0..5000).all(|_| !evidence.add(fast, fast)));
        let mut evidence = evidence.next_step();
        assert!((0..100).any(|_| evidence.add(fast, slow)));
        assert!(evidence.ratio().is_some_and(|ratio| (1.9..2.1).contains(&ratio)));
    }
}
