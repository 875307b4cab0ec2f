//! When something that was rejected is tried again although its files have not changed: only if the cause may pass by
//! itself, after pauses that double.

use std::time::{Duration, Instant};

use crate::limits;
use crate::registry::Refusal;

/// The next attempt, if there is to be one.
#[derive(Debug, Default)]
pub(super) struct Retry(Option<(Instant, Duration)>);

impl Retry {
    /// Whether the next attempt is due.
    pub(super) fn is_due(&self) -> bool {
        self.0.is_some_and(|(at, _)| Instant::now() >= at)
    }

    /// Nothing has to be tried again.
    pub(super) fn passed(&mut self) {
        self.0 = None;
    }

    /// Tries again with the next scan, because a compiler is under way. The pauses continue from where they were.
    pub(super) fn soon(&mut self) {
        self.0.get_or_insert((Instant::now(), Duration::ZERO)).0 = Instant::now();
    }

    /// Plans the next attempt after a refusal.
    pub(super) fn after(&mut self, refusal: &Refusal) {
        let pause = match self.0 {
            _ if !refusal.passing => return self.passed(),
            // The first retry is at the next scan.
            None => Duration::ZERO,
            // It was tried early, for another reason. The planned time stays: otherwise every component that is swapped
            // while the database is unavailable would double the pause.
            Some((at, _)) if Instant::now() < at => return,
            Some((_, pause)) => (pause * 2).clamp(limits::WATCH_INTERVAL, limits::RETRY_PAUSE_MAX),
        };
        self.0 = Some((Instant::now() + pause, pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Stage;

    #[test]
    fn pauses_double_up_to_their_limit_and_what_cannot_pass_is_not_tried() {
        let mut retry = Retry::default();
        assert!(!retry.is_due());
        let passing = Refusal::new(Stage::Procedures, "");
        retry.after(&passing);
        assert!(retry.is_due());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            retry.after(&passing);
            assert!(!retry.is_due());
            // An early attempt changes nothing.
            let before = retry.0;
            retry.after(&passing);
            assert_eq!(retry.0, before);
            pauses.extend(retry.0.map(|(_, pause)| pause.as_secs()));
            retry.soon();
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30, 30]);
        retry.after(&Refusal::new(Stage::Compile, ""));
        assert!(retry.0.is_none());
    }
}
