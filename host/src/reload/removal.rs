//! Whether a manifest may be caught in the middle: one that takes away a handler, a grant or a limit counts only after
//! it was the same for a while. What only adds or changes counts at once.

use std::time::{Duration, Instant};

use super::fingerprint::Fingerprint;
use crate::limits;
use crate::manifest::{Entry, Manifest, Retry};
use crate::registry::Table;

/// A manifest that is to take something away.
#[derive(Default)]
pub(super) struct Removal(Option<Seen>);

struct Seen {
    fingerprint: Fingerprint,
    since: Instant,
    /// It counts. Remembered, for it may be tried more than once: its components are compiled.
    granted: bool,
}

impl Removal {
    /// Whether this manifest counts now.
    pub(super) fn may(&mut self, table: &Table, manifest: &Manifest, fingerprint: &Fingerprint) -> bool {
        let cors = manifest.cors.is_some() || table.cors.is_none();
        let kept = cors
            && table.handlers.iter().all(|handler| {
                let old = &handler.entry;
                manifest.handlers.iter().any(|entry| entry.name == old.name && keeps(entry, old))
            });
        let since = match self.0.take() {
            _ if kept => return true,
            Some(seen) if seen.fingerprint == *fingerprint => seen.since,
            _ => Instant::now(),
        };
        let granted = since.elapsed() >= limits::REMOVAL_PAUSE;
        self.0 = Some(Seen { fingerprint: fingerprint.clone(), since, granted });
        granted
    }

    /// How long until the one that waits counts, if one does.
    pub(super) fn left(&self) -> Option<Duration> {
        let waits = self.0.as_ref().filter(|seen| !seen.granted)?;
        Some(limits::REMOVAL_PAUSE.saturating_sub(waits.since.elapsed()))
    }

    /// Whether its time has come.
    pub(super) fn is_due(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }
}

/// Whether an entry has what the old one of the same handler had, grants and limits, if perhaps other ones. A file that
/// is caught while it is written may lack the last lines.
fn keeps(new: &Entry, old: &Entry) -> bool {
    old.procedures.iter().all(|granted| new.procedures.contains(granted))
        && old.headers.iter().all(|header| new.headers.contains(header))
        && (new.retry == Retry::Key || old.retry == Retry::Never)
        && (new.content_type.is_some() || old.content_type.is_none())
        && (new.wasi || !old.wasi)
        && new.limits.keeps(&old.limits)
}
