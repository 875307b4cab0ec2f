//! Requests to a reloader while it runs: by `dev`, which applies `sql/` and builds, and by the operator's SIGHUP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Requests to a reloader. They outlive it: a restarted reloader has the same orders.
#[derive(Default)]
pub struct Orders {
    asked: Mutex<Asked>,
    /// Held by a scan, and while files that belong together are written.
    pub(super) folder: tokio::sync::Mutex<()>,
    /// Also notified by the folder's watch.
    pub(super) news: Arc<Notify>,
}

/// The requests since the last scan.
#[derive(Default)]
pub(super) struct Asked {
    /// The procedures may have changed.
    pub(super) database: bool,
    /// Everything is scanned as if for the first time.
    pub(super) again: bool,
    /// How long the build took whose result is in the folder.
    pub(super) built: Option<Duration>,
}

impl Orders {
    /// Has every procedure looked up again, and their statements prepared again.
    pub fn procedures_changed(&self) {
        self.asked().database = true;
        self.news.notify_one();
    }

    /// Has everything scanned again: the watch is reopened, rejected components are retried, and the procedures are
    /// looked up again.
    pub fn scan_again(&self) {
        *self.asked() = Asked { database: true, again: true, built: None };
        self.news.notify_one();
    }

    /// Puts the results of a build, which took this long, into the folder; no scan sees a part of them. Blocks until a
    /// scan under way has ended, so it must not run on a thread that serves.
    ///
    /// # Errors
    /// Those of `put`.
    pub fn publish(&self, took: Duration, put: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let _no_scan = self.folder.blocking_lock();
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
