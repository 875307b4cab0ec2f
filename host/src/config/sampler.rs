//! Which traces are exported, as `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say. It is asked when a request
//! has been answered. Faults, 5xx and slow answers are exported whatever it says.

/// Which traces are exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// The share of the traces that begin here, from 0 to 1.
    ratio: f64,
    /// Whether a caller that decided is followed.
    parent_based: bool,
}

/// The names of the samplers: whether they follow the caller, and their ratio, if that is not the argument.
const SAMPLERS: [(&str, bool, Option<f64>); 6] = [
    ("always_on", false, Some(1.0)),
    ("always_off", false, Some(0.0)),
    ("traceidratio", false, None),
    ("parentbased_always_on", true, Some(1.0)),
    ("parentbased_always_off", true, Some(0.0)),
    ("parentbased_traceidratio", true, None),
];

impl Default for Sampler {
    /// Of the specification: `parentbased_always_on`.
    fn default() -> Self {
        Self { ratio: 1.0, parent_based: true }
    }
}

impl Sampler {
    /// Reads a name; `argument` is the ratio of those that have one, 1 if it is not given.
    ///
    /// # Errors
    /// The variable with the mistake, and a description.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Self, (&'static str, String)> {
        let Some((_, parent_based, fixed)) = SAMPLERS.into_iter().find(|(known, ..)| *known == name) else {
            let known: Vec<_> = SAMPLERS.iter().map(|(known, ..)| *known).collect();
            let what = format!("`{name}` is not supported: use one of {}", known.join(", "));
            return Err(("OTEL_TRACES_SAMPLER", what));
        };
        let ratio = match (fixed, argument) {
            (Some(ratio), _) => ratio,
            (None, None) => 1.0,
            (None, Some(text)) => {
                let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                let wrong = || ("OTEL_TRACES_SAMPLER_ARG", format!("`{text}` is not a number from 0 to 1"));
                ratio.ok_or_else(wrong)?
            }
        };
        Ok(Self { ratio, parent_based })
    }

    /// Whether a trace is exported: `random` are the low bits of its id, `parent` is what its caller decided, if it has
    /// one. All nodes decide alike.
    pub fn samples(self, random: u64, parent: Option<bool>) -> bool {
        match parent.filter(|_| self.parent_based) {
            Some(decided) => decided,
            // 53 bits: as many as an `f64` holds exactly.
            None => ((random & ((1 << 53) - 1)) as f64) < self.ratio * (1_u64 << 53) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_followed_and_a_ratio_counts_the_traces_that_begin_here() {
        let sampler = Sampler::parse("parentbased_traceidratio", Some("0.25")).unwrap();
        let id = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let sampled = (0..10_000).filter(|number| sampler.samples(id(*number), None)).count();
        assert!((2_400..2_600).contains(&sampled), "{sampled}");
        assert!(sampler.samples(u64::MAX, Some(true)) && !sampler.samples(0, Some(false)));
        let alone = Sampler::parse("traceidratio", Some("0")).unwrap();
        assert!(!alone.samples(0, Some(true)) && !alone.samples(0, None));
        assert!(Sampler::default().samples(u64::MAX, None) && !Sampler::default().samples(0, Some(false)));
        assert!(!Sampler::parse("always_off", Some("1")).unwrap().samples(0, Some(true)));
    }

    #[test]
    fn what_is_not_a_sampler_is_refused_with_its_variable() {
        let refused = |name, argument| Sampler::parse(name, argument).unwrap_err();
        let (name, what) = refused("jaeger_remote", None);
        assert_eq!(name, "OTEL_TRACES_SAMPLER");
        assert!(what.starts_with("`jaeger_remote` is not supported: use one of always_on"), "{what}");
        for argument in ["", "1%", "-0.1", "1.01", "NaN"] {
            let what = format!("`{argument}` is not a number from 0 to 1");
            assert_eq!(refused("traceidratio", Some(argument)), ("OTEL_TRACES_SAMPLER_ARG", what));
        }
    }
}
