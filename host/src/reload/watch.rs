//! Reports that something in a folder may have changed, but not what: the reloader scans, also from time to time
//! without an event, because no file system reports everything (bind mounts, network folders, a folder that was
//! replaced).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, MetadataKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::folder::aside;
use crate::limits;

/// Device and inode of a folder, if it exists.
type Identity = Option<(u64, u64)>;

/// Watches some folders.
pub struct Watch {
    folders: Vec<PathBuf>,
    depth: Depth,
    news: Arc<Notify>,
    /// An event came that `changed` has not reported yet.
    stirred: bool,
    watching: Option<Watching>,
    /// Whether it was logged that the folder cannot be watched.
    deaf: bool,
}

/// What is watched of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Everything in it, and whether it is replaced.
    Whole,
    /// Its files. The owner lists the folders in it too, or leaves them out.
    Files,
}

/// A watcher, and the identities of the folders when it was created.
struct Watching {
    _watcher: RecommendedWatcher,
    then: Vec<Identity>,
}

impl Watch {
    /// Watches these folders recursively. A folder need not exist yet.
    pub async fn new(folders: Vec<PathBuf>) -> Self {
        let mut watch = Self::with_news(folders, Arc::default());
        watch.renew().await;
        watch
    }

    /// Watches the files of folders that [`Self::set`] names, and no folder in them.
    pub fn of_files() -> Self {
        Self { depth: Depth::Files, ..Self::with_news(Vec::new(), Arc::default()) }
    }

    /// Watches these folders from here on.
    pub async fn set(&mut self, folders: Vec<PathBuf>) {
        if folders != self.folders {
            self.folders = folders;
            self.reopen().await;
        }
    }

    /// With a handle that others notify too. It does not watch before [`Self::renew`].
    pub(super) fn with_news(folders: Vec<PathBuf>, news: Arc<Notify>) -> Self {
        // Events begin with the path that was watched, and only an absolute path has a parent folder to watch.
        let folders = folders.into_iter().map(|folder| std::path::absolute(&folder).unwrap_or(folder)).collect();
        Self { folders, depth: Depth::Whole, news, stirred: false, watching: None, deaf: false }
    }

    /// Waits until something may have changed and has come to rest: a burst is one change. A change while nobody waits
    /// is remembered, once; so is one that was noticed when the wait is dropped before its end.
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

    /// Creates the watcher again in any case.
    pub(super) async fn reopen(&mut self) {
        self.watching = None;
        self.renew().await;
    }

    /// Creates the watcher again if a folder is a different one now: replaced, or a symlink with another target.
    pub async fn renew(&mut self) {
        let (folders, depth, news) = (self.folders.clone(), self.depth, Arc::clone(&self.news));
        let then = self.watching.as_ref().map(|watching| watching.then.clone());
        // Off the threads that serve: each folder below takes one more call to the file system.
        let renewed = aside(move || {
            let now: Vec<_> = folders.iter().map(|folder| identity(folder)).collect();
            (then.as_ref() != Some(&now))
                .then(|| start(&folders, depth, news).map(|watcher| Watching { _watcher: watcher, then: now }))
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

    /// Notes that nothing is watched, and logs it once, not with every attempt.
    fn without(&mut self, cause: impl std::fmt::Display) {
        self.watching = None;
        if !std::mem::replace(&mut self.deaf, true) {
            let seconds = limits::WATCH_INTERVAL.as_secs();
            tracing::warn!(
                "the kernel reports no changes of files ({cause}); they are looked for every {seconds} s instead. Usually \
                 too many files are watched: raise fs.inotify.max_user_watches or fs.inotify.max_user_instances"
            );
        }
    }
}

fn start(folders: &[PathBuf], depth: Depth, news: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let ours = folders.to_vec();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) if is_change(event.kind) && concerns(&event, &ours) => news.notify_one(),
        Ok(_) => {}
        // Usually an overflow of the event queue: something has changed then.
        Err(_) => news.notify_one(),
    })?;
    for folder in folders {
        if depth == Depth::Files {
            // One that was just removed is not in the next list.
            if folder.exists() {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            continue;
        }
        if folder.exists() {
            watcher.watch(folder, RecursiveMode::Recursive)?;
        }
        // The parent folder reports when the folder itself is replaced.
        if let Some(parent) = folder.parent().filter(|parent| parent.exists()) {
            watcher.watch(parent, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

/// Whether an event is a change. Reading a file is an event too; if it counted, every reload would cause another one.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime)) => false,
        _ => true,
    }
}

/// Whether an event is about these folders: not about others beside them, and not about a `target` folder. A file that
/// an editor leaves beside a source costs a scan, or a build that finds nothing to do.
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
    async fn a_burst_is_one_change_and_reading_is_not_one() {
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
        // Given a wait that has noticed the change, when it is dropped before the folder has come to rest,
        tokio::select! {
            biased;
            () = watch.changed() => panic!("it did not wait for the rest"),
            () = tokio::task::yield_now() => {}
        }
        // then the next one reports it.
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
