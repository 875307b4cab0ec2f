//! Components that no record names yet: those of deployments that are under way, or about to go live. Removing what no
//! record names passes them over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The pinned components, by their digests in hexadecimal.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<Pinned>);

#[derive(Debug, Default)]
struct Pinned {
    held: Vec<String>,
    /// Not held any more. The record that is being written may have been made before what serves named them.
    released: Vec<String>,
}

/// Keeps a component in the state folder until it is dropped, and then until the next record was made.
pub struct Pin {
    pins: Arc<Pins>,
    sha256: String,
}

impl Pins {
    pub(super) fn pin(self: &Arc<Self>, sha256: &str) -> Pin {
        self.lock().held.push(sha256.to_owned());
        Pin { pins: Arc::clone(self), sha256: sha256.to_owned() }
    }

    /// A record is about to be made: it names what was released before, if that is needed.
    pub(super) fn forget_released(&self) {
        self.lock().released.clear();
    }

    /// What must not be removed.
    pub(super) fn all(&self) -> Vec<String> {
        let pinned = self.lock();
        pinned.held.iter().chain(&pinned.released).cloned().collect()
    }

    /// Whether a component must not be removed.
    pub(super) fn has(&self, sha256: &str) -> bool {
        let pinned = self.lock();
        pinned.held.iter().chain(&pinned.released).any(|pinned| pinned == sha256)
    }

    fn lock(&self) -> MutexGuard<'_, Pinned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pins.lock();
        if let Some(place) = pinned.held.iter().position(|held| *held == self.sha256) {
            pinned.held.swap_remove(place);
        }
        let sha256 = std::mem::take(&mut self.sha256);
        // Once: what is tried again and again is released as often, while a disk that hangs holds the next record up.
        if !pinned.released.contains(&sha256) {
            pinned.released.push(sha256);
        }
    }
}
