//! The generations of a handler that were rolled back. None of them is taken from the handlers folder again, until the
//! folder holds another component or the handler has another config.

use super::config::Config;
use super::generation::RolledBack;
use crate::guest::Digest;
use crate::limits;

/// What was rolled back, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct Bars(Vec<RolledBack>);

impl Bars {
    /// Those that an earlier run of the node recorded.
    pub fn of(bars: impl IntoIterator<Item = RolledBack>) -> Self {
        bars.into_iter().fold(Self::default(), Self::with)
    }

    /// Whether this component with this config was rolled back.
    pub fn has(&self, digest: Digest, config: &Config) -> bool {
        self.iter().any(|back| back.digest == digest && back.config == *config)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &RolledBack> {
        self.0.iter()
    }

    /// These and another one. What was deployed gives way first: only what came from the folder may still lie there.
    pub(super) fn with(self, back: RolledBack) -> Self {
        let Self(mut bars) = self.without(back.digest, &back.config);
        if bars.len() >= limits::BARS_MAX {
            let oldest = bars.iter().position(|back| back.over.is_some()).unwrap_or_default();
            bars.remove(oldest);
        }
        bars.push(back);
        Self(bars)
    }

    /// These without a component that serves again, because somebody asked for it.
    pub(super) fn without(mut self, digest: Digest, config: &Config) -> Self {
        self.0.retain(|back| back.digest != digest || back.config != *config);
        self
    }

    /// Those of the component over which the next generation counts as deployed. The others leave with the component
    /// that the folder held before.
    pub(super) fn of_folder(mut self, over: Option<Digest>) -> Self {
        self.0.retain(|back| Some(back.digest) == over);
        self
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_came_from_the_folder_stays_barred_however_much_is_deployed() {
        let config = Config::new([]);
        let back = |number: u64, over| RolledBack {
            number,
            digest: Digest::of(&number.to_le_bytes()),
            config: config.clone(),
            cause: String::new(),
            at: Timestamp::UNIX_EPOCH,
            over,
            passed_over: None,
        };
        let of_folder = back(0, None);
        let bars = Bars::of([of_folder.clone()]);
        let bars = (1..100).fold(bars, |bars, number| bars.with(back(number, Some(of_folder.digest))));
        assert_eq!(bars.iter().count(), limits::BARS_MAX);
        assert!(bars.has(of_folder.digest, &config) && bars.has(back(99, None).digest, &config));
        assert!(!bars.has(back(1, None).digest, &config));
        // Rolled back once more, it counts once.
        let bars = bars.with(back(99, None));
        assert_eq!(bars.iter().filter(|found| found.number == 99).count(), 1);
        let held = bars.clone().of_folder(Some(of_folder.digest));
        assert_eq!(held.iter().map(|back| back.number).collect::<Vec<_>>(), [0]);
        assert_eq!(bars.of_folder(None).without(of_folder.digest, &config).iter().count(), 0);
    }
}
