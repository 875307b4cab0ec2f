//! What is asked of a reloader while it runs: by who applies `sql/` or builds, and by the operator's SIGHUP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// What others ask of a reloader. It outlasts the one it is of: when that is begun again, it has the same orders.
#[derive(Default)]
pub struct Orders {
    asked: Mutex<Asked>,
    /// Held by a scan, and by who puts files there that belong together.
    pub(super) folder: tokio::sync::Mutex<()>,
    /// Also what the folder's watch tells.
    pub(super) news: Arc<Notify>,
}

/// What was asked since the last scan.
#[derive(Default)]
pub(super) struct Asked {
    /// The procedures may have changed.
    pub(super) database: bool,
    /// Everything is scanned as if for the first time.
    pub(super) again: bool,
    /// What the build took whose result is in the folder.
    pub(super) built: Option<Duration>,
}

impl Orders {
    /// Looks every procedure up again, and prepares their statements anew.
    pub fn procedures_changed(&self) {
        self.asked().database = true;
        self.news.notify_one();
    }

    /// Scans everything again: the folder is watched again, what was refused is tried again, the procedures are looked
    /// up again.
    pub fn scan_again(&self) {
        *self.asked() = Asked { database: true, again: true, built: None };
        self.news.notify_one();
    }

    /// Puts what a build made into the folder, which is looked at when all of it is there. The build took this long.
    /// Waits for a scan under way; not for threads that serve.
    ///
    /// # Errors
    /// Those of `put`.
    pub fn publish(&self, took: Duration, put: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let _no_look = self.folder.blocking_lock();
        self.asked().built = Some(took);
        let done = put();
        self.news.notify_one();
        done
    }

    pub(super) fn take(&self) -> Asked {
        std::mem::take(&mut *self.asked())
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
