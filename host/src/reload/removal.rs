//! Protects against a manifest that is read while it is being written: one that removes a handler, a grant or a limit
//! is applied only after it has not changed for a while. One that only adds or changes is applied at once.

use std::time::{Duration, Instant};

use super::fingerprint::Fingerprint;
use crate::limits;
use crate::manifest::{Claims, Entry, Manifest, Retry};
use crate::registry::Table;

/// A manifest that removes something, if one is waiting.
#[derive(Default)]
pub(super) struct Removal(Option<Seen>);

struct Seen {
    fingerprint: Fingerprint,
    since: Instant,
    /// It may be applied. Remembered, because it is tried again while its components are compiled.
    granted: bool,
}

impl Removal {
    /// Whether this manifest may be applied now.
    pub(super) fn may(&mut self, table: &Table, manifest: &Manifest, fingerprint: &Fingerprint) -> bool {
        let cors = manifest.cors.is_some() || table.cors.is_none();
        let token = manifest.token.is_some() || table.token.is_none();
        let kept = cors
            && token
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

    /// How long until the waiting manifest may be applied, if one waits.
    pub(super) fn left(&self) -> Option<Duration> {
        let waits = self.0.as_ref().filter(|seen| !seen.granted)?;
        Some(limits::REMOVAL_PAUSE.saturating_sub(waits.since.elapsed()))
    }

    /// Whether the waiting manifest may be applied now.
    pub(super) fn is_due(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }
}

/// Whether an entry still has the grants and limits that the handler's old entry had, perhaps with other values. A file
/// that is read while it is written may lack its last lines.
fn keeps(new: &Entry, old: &Entry) -> bool {
    let named = |name: &str| new.config.iter().any(|value| value.name == name);
    old.routes.len() <= new.routes.len()
        && old.config.iter().all(|value| named(&value.name))
        && (new.claims != Claims::Never || old.claims == Claims::Never)
        && old.procedures.iter().all(|granted| new.procedures.contains(granted))
        && old.headers.iter().all(|header| new.headers.contains(header))
        && (new.retry == Retry::Key || old.retry == Retry::Never)
        && (new.content_type.is_some() || old.content_type.is_none())
        && (new.wasi || !old.wasi)
        && new.limits.keeps(&old.limits)
}
