//! Tells that something in a folder may have changed. It does not say what: the parent looks, and looks again from
//! time to time, because no file system tells everything (bind mounts, network folders, a folder that was replaced).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, MetadataKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::folder::aside;
use crate::limits;

/// Device and inode of a folder, when it is there.
type Identity = Option<(u64, u64)>;

/// Watches some folders.
pub struct Watch {
    folders: Vec<PathBuf>,
    news: Arc<Notify>,
    /// Something was heard, and nobody has been told yet.
    stirred: bool,
    watching: Option<Watching>,
    /// That it cannot be watched was told.
    deaf: bool,
}

/// A watcher, and the folders it was made for, as they were then.
struct Watching {
    _watcher: RecommendedWatcher,
    then: Vec<Identity>,
}

impl Watch {
    /// Watches these folders with all that is in them. Also one that is not there yet.
    pub async fn new(folders: Vec<PathBuf>) -> Self {
        let mut watch = Self::with_news(folders, Arc::default());
        watch.renew().await;
        watch
    }

    /// Does not watch before it is renewed. With a handle that others have already.
    pub(super) fn with_news(folders: Vec<PathBuf>, news: Arc<Notify>) -> Self {
        // What is told of a folder begins with the path it was asked for, and only a whole path has a folder above it.
        let folders = folders.into_iter().map(|folder| std::path::absolute(&folder).unwrap_or(folder)).collect();
        Self { folders, news, stirred: false, watching: None, deaf: false }
    }

    /// Waits until something may have changed and has come to rest: a burst is one change. What happens while nobody
    /// waits is remembered, once; so is what was heard when the wait is given up before the end.
    pub async fn changed(&mut self) {
        if !self.stirred {
            self.news.notified().await;
            self.stirred = true;
        }
        let rest = async { while timeout(limits::WATCH_QUIET, self.news.notified()).await.is_ok() {} };
        // A folder that never settles is scanned anyway.
        let _ = timeout(limits::WATCH_QUIET_MAX, rest).await;
        self.renew().await;
        self.stirred = false;
    }

    /// Watches anew, whatever the folders are.
    pub(super) async fn reopen(&mut self) {
        self.watching = None;
        self.renew().await;
    }

    /// Watches anew when a folder is not the one it was: replaced, or a symlink that leads elsewhere.
    pub async fn renew(&mut self) {
        let (folders, news) = (self.folders.clone(), Arc::clone(&self.news));
        let then = self.watching.as_ref().map(|watching| watching.then.clone());
        // Each folder below is one more question to the file system.
        let renewed = aside(move || {
            let now: Vec<_> = folders.iter().map(|folder| identity(folder)).collect();
            (then.as_ref() != Some(&now))
                .then(|| start(&folders, news).map(|watcher| Watching { _watcher: watcher, then: now }))
        });
        match renewed.await {
            Ok(None) => {}
            Ok(Some(Ok(watching))) => {
                self.deaf = false;
                self.watching = Some(watching);
            }
            Ok(Some(Err(error))) => self.without(error),
            Err(cause) => self.without(cause),
        }
    }

    /// Nothing is watched, which is told once, not with every try.
    fn without(&mut self, cause: impl std::fmt::Display) {
        self.watching = None;
        if !std::mem::replace(&mut self.deaf, true) {
            tracing::warn!("cannot watch the folder, so changes are noticed with a delay: {cause}");
        }
    }
}

fn start(folders: &[PathBuf], news: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let ours = folders.to_vec();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) if is_change(event.kind) && concerns(&event, &ours) => news.notify_one(),
        Ok(_) => {}
        // Most often too many at once: then something has changed.
        Err(_) => news.notify_one(),
    })?;
    for folder in folders {
        if folder.exists() {
            watcher.watch(folder, RecursiveMode::Recursive)?;
        }
        // Whether the folder itself is replaced is seen from above.
        if let Some(parent) = folder.parent().filter(|parent| parent.exists()) {
            watcher.watch(parent, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

/// Reading a file is an event too; taken for a change, a reload would follow every reload.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime)) => false,
        _ => true,
    }
}

/// The folder above is full of things that are not ours, and so is a target folder. A file that an editor leaves beside
/// a source costs a look, or a build that finds nothing to do.
fn concerns(event: &Event, folders: &[PathBuf]) -> bool {
    let inside = |path: &PathBuf| {
        let below = folders.iter().find_map(|folder| path.strip_prefix(folder).ok());
        below.is_some_and(|below| !below.components().any(|part| part.as_os_str() == "target"))
    };
    event.paths.is_empty() || event.paths.iter().any(inside)
}

fn identity(folder: &Path) -> Identity {
    let metadata = std::fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_is_one_change_and_reading_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let mut watch = Watch::new(vec![folder.path().to_owned()]).await;
        for n in 0..20 {
            std::fs::write(&file, [n]).unwrap();
        }
        watch.changed().await;
        std::fs::read(&file).unwrap();
        assert!(timeout(limits::WATCH_QUIET_MAX, watch.changed()).await.is_err());
    }

    #[tokio::test]
    async fn a_change_outlasts_a_wait_that_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(vec![folder.path().to_owned()]).await;
        watch.news.notify_one();
        // Given a wait that has heard of the change, when it is given up before the folder has come to rest,
        tokio::select! {
            biased;
            () = watch.changed() => panic!("it did not wait for the rest"),
            () = tokio::task::yield_now() => {}
        }
        // then the next one tells it.
        assert!(timeout(limits::WATCH_QUIET_MAX * 2, watch.changed()).await.is_ok());
    }

    #[tokio::test]
    async fn a_folder_that_is_replaced_is_watched_again() {
        let above = tempfile::tempdir().unwrap();
        let (folder, other) = (above.path().join("folder"), above.path().join("other"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(&other).unwrap();
        let mut watch = Watch::new(vec![folder.clone()]).await;
        std::fs::remove_dir(&folder).unwrap();
        watch.changed().await;
        std::os::unix::fs::symlink(&other, &folder).unwrap();
        watch.changed().await;
        std::fs::write(other.join("a"), "a").unwrap();
        watch.changed().await;
    }
}
