//! The state that a node keeps across restarts, in one folder per node. For each handler it has the generation that
//! serves, the last proved one with a copy of its bytes, and the one that was rolled back.
//!
//! `reload` reads it at the start and writes to it. Requests never wait for it. The records are kept in memory too, so
//! reading them does not wait for a write to disk. Files are replaced atomically and synced. A damaged file is set
//! aside and reported; of the record there is a copy. A folder with a newer format, or of another node or user, is
//! refused, and so is one whose record and copy are both damaged.

mod audit;
mod folder;
mod handed;
mod pins;
mod record;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::folder::{Folder, InUse};
use self::handed::Handed;
pub use self::pins::Pin;
use self::pins::Pins;
pub use self::record::{Barred, Found, Mark, Record};
use crate::config::StateFolder;
use crate::report::AuditEntry;
use crate::{file, limits};

/// The state of one node.
#[derive(Debug)]
pub struct State {
    /// The last recorded state. Its lock is held only briefly.
    handlers: Mutex<BTreeMap<String, Record>>,
    /// `None` once the node has ended, because another node may then use the folder.
    folder: Mutex<Option<Arc<Folder>>>,
    /// Held during a write, for as long as the disk takes.
    writing: Mutex<()>,
    /// Held from the making of a record until it is written, so that an older one is never written after a newer one.
    recording: Mutex<()>,
    /// What no record names yet.
    pins: Arc<Pins>,
    /// What went live and is not in the folder yet.
    handed: Handed,
}

impl State {
    /// The state as configured. `None` when the node has no state folder.
    ///
    /// # Errors
    /// As [`State::open`] for a folder that was configured. Also for the default folder if it may contain a record that
    /// cannot be read, because the node must not serve a generation again that it rolled back. If the default folder
    /// contains no record, or another node uses it, the problem is only logged.
    pub fn configured(folder: &StateFolder) -> anyhow::Result<Option<Self>> {
        const FORGOTTEN: &str = "what is proved or rolled back is forgotten when this node ends";
        match folder {
            StateFolder::Unwanted => Ok(None),
            StateFolder::Missing => {
                tracing::warn!("{FORGOTTEN}: this user has no folder for it; give --state");
                Ok(None)
            }
            StateFolder::Required(path) => Self::open(path).map(Some),
            StateFolder::Preferred(path) => match Self::open(path) {
                Ok(state) => Ok(Some(state)),
                Err(error) if Folder::remembers(path) && !error.is::<InUse>() => {
                    Err(error.context("what this node took back is not known; mend its state folder or give --state"))
                }
                Err(error) => {
                    tracing::warn!("{FORGOTTEN}: {error:#}");
                    Ok(None)
                }
            },
        }
    }

    /// Opens the folder for this node alone, and creates it if necessary.
    ///
    /// # Errors
    /// When it cannot be made or written, belongs to another user, is in use by another node, has a newer format, or
    /// its record is damaged and so is the copy.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let folder = Folder::open(path)?;
        let handlers = folder.read()?;
        let folder = Mutex::new(Some(Arc::new(folder)));
        let handlers = Mutex::new(handlers);
        let (writing, recording) = (Mutex::default(), Mutex::default());
        Ok(Self { handlers, folder, writing, recording, pins: Arc::default(), handed: Handed::default() })
    }

    /// The record of a handler.
    pub fn past(&self, handler: &str) -> Option<Record> {
        self.handlers().get(handler).cloned()
    }

    /// The bytes of a component, if they were kept and `digest_of` confirms that they are unchanged.
    ///
    /// # Errors
    /// When they cannot be read now.
    pub fn component(
        &self,
        sha256: &str,
        digest_of: impl Fn(&[u8]) -> String,
    ) -> Result<Option<Vec<u8>>, file::Unreadable> {
        let Some(folder) = self.folder() else { return Ok(None) };
        let Some(bytes) = folder.component(sha256)? else { return Ok(None) };
        if digest_of(&bytes) == sha256 {
            return Ok(Some(bytes));
        }
        folder.set_aside(&Folder::component_name(sha256));
        Ok(None)
    }

    /// Whether its bytes were kept.
    pub fn has(&self, sha256: &str) -> bool {
        self.folder().is_some_and(|folder| folder.has(sha256))
    }

    /// The signature of a component, if one was kept.
    ///
    /// # Errors
    /// When it cannot be read now.
    pub fn signature(&self, sha256: &str) -> Result<Option<String>, file::Unreadable> {
        self.folder().map_or(Ok(None), |folder| folder.signature(sha256))
    }

    /// Keeps the bytes of a component and its signature until no record names it any more. If there is no space for
    /// them, the generations that are kept only for `galo rollback --to` give way.
    ///
    /// # Errors
    /// When there is no space for it or it cannot be written.
    pub fn keep(&self, sha256: &str, bytes: &[u8], signature: Option<&str>) -> anyhow::Result<()> {
        let _turn = lock(&self.writing);
        let Some(folder) = self.folder() else { return Ok(()) };
        if let Some(signature) = signature {
            folder.keep_signature(sha256, signature)?;
        }
        if folder.has(sha256) {
            return Ok(());
        }
        if !folder.has_space(bytes.len())? {
            let mut handlers = self.handlers().clone();
            handlers.values_mut().for_each(|record| record.history.clear());
            folder.write(&handlers)?;
            folder.sweep(&handlers, &self.pins.all());
            *self.handlers() = handlers;
        }
        folder.keep(sha256, bytes)
    }

    /// Keeps the signature of a component that is kept: it may have been signed again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_signature(&self, sha256: &str, signature: &str) -> anyhow::Result<()> {
        let _turn = lock(&self.writing);
        self.folder().map_or(Ok(()), |folder| folder.keep_signature(sha256, signature))
    }

    /// Keeps a component that no record names yet, once it is there, until the pin is dropped and a record that was
    /// made after that is written.
    pub fn pin(&self, sha256: &str) -> Pin {
        self.pins.pin(sha256)
    }

    /// Takes the bytes of a component that is about to go live, and has them until they are kept. Does not wait for a
    /// disk. The pin is to be dropped when the component serves: then the next record that is made names it.
    pub fn hand(&self, sha256: &str, bytes: &Arc<[u8]>) -> Pin {
        let pin = self.pin(sha256);
        if let Err(waiting) = self.handed.take(sha256, bytes) {
            tracing::warn!(
                sha256,
                waiting,
                "a component waits in its file alone until it is put into the state folder, because the bytes that wait \
                 in memory leave no room for it: if the file is replaced before, a restart cannot go back to it"
            );
        }
        pin
    }

    /// The bytes of a component that were handed over and are not kept yet.
    pub fn handed(&self, sha256: &str) -> Option<Arc<[u8]>> {
        self.handed.get(sha256)
    }

    /// Appends entries to the audit log.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&self, entries: &[AuditEntry]) -> anyhow::Result<()> {
        let _turn = lock(&self.writing);
        self.folder().map_or(Ok(()), |folder| audit::append(folder.path(), entries))
    }

    /// The last entries of the audit log, the oldest first.
    pub fn audited(&self, most: usize) -> Vec<AuditEntry> {
        self.folder().map_or_else(Vec::new, |folder| audit::last(folder.path(), most))
    }

    /// Records what `made` finds, if that is new. One record is made and written after the other. What was handed over
    /// and is kept now does not stay in memory.
    ///
    /// # Errors
    /// When the record cannot be written. Then nothing changes.
    pub fn update(&self, made: impl FnOnce() -> Found) -> anyhow::Result<()> {
        let _turn = lock(&self.recording);
        self.pins.forget_released();
        let Found { handlers, gone, serving } = made();
        let gone = self.unrecorded(gone);
        let is_news = !gone.is_empty() || self.is_news(&handlers);
        let recorded = if is_news { self.record(handlers, gone) } else { Ok(()) };
        self.give_back(&serving, recorded.is_ok());
        recorded
    }

    /// Gives the memory of handed components back, except of those that are needed and not kept. What is in the folder
    /// counts as kept once it is recorded.
    fn give_back(&self, serving: &HashSet<String>, is_recorded: bool) {
        // Nothing is removed from the folder meanwhile.
        let _turn = lock(&self.writing);
        let kept: Vec<_> = self.handed.digests().into_iter().filter(|sha256| is_recorded && self.has(sha256)).collect();
        // Looked up while nothing can be handed over: what is has been pinned before.
        let is_needed = |sha256: &str| serving.contains(sha256) || self.pins.has(sha256);
        self.handed.retain(|sha256| is_needed(sha256) && !kept.iter().any(|kept| kept == sha256));
    }

    /// Those of the handlers that left that differ from what was recorded last. One that is not recorded may have had
    /// to give way to others: it is among them only if there is room.
    fn unrecorded(&self, mut gone: BTreeMap<String, Record>) -> BTreeMap<String, Record> {
        let recorded = self.handlers();
        let has_room = recorded.values().filter(|record| record.left.is_some()).count() < limits::STATE_LEFT_MAX;
        gone.retain(|name, record| match recorded.get(name) {
            Some(known) => {
                record.left = known.left;
                record != known
            }
            None => has_room,
        });
        gone
    }

    /// Whether a record would change anything.
    fn is_news(&self, handlers: &BTreeMap<String, Record>) -> bool {
        let recorded = self.handlers();
        let known = |(name, record): (&String, &Record)| recorded.get(name) == Some(record);
        let left = |(name, record): (&String, &Record)| handlers.contains_key(name) || record.left.is_some();
        !(handlers.iter().all(known) && recorded.iter().all(left))
    }

    /// Records the handlers of a node. The record of a handler that is no longer among them is kept for a while, as it
    /// was or as it is in `gone`. Components that no record names any more are removed.
    fn record(&self, mut handlers: BTreeMap<String, Record>, gone: BTreeMap<String, Record>) -> anyhow::Result<()> {
        let _turn = lock(&self.writing);
        let mut recorded = self.handlers().clone();
        recorded.extend(gone);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let gone = recorded.iter().filter(|(name, _)| !handlers.contains_key(*name));
        let mut gone: Vec<_> = gone.map(|(name, record)| (record.left.unwrap_or(now), name, record)).collect();
        gone.retain(|(left, ..)| now.saturating_sub(*left) < limits::STATE_LEFT_KEPT.as_secs());
        gone.sort_by_key(|(left, ..)| std::cmp::Reverse(*left));
        gone.truncate(limits::STATE_LEFT_MAX);
        let gone: Vec<_> = gone
            .into_iter()
            .map(|(left, name, record)| (name.clone(), Record { left: Some(left), ..record.clone() }))
            .collect();
        handlers.extend(gone);
        let folder = self.folder();
        if let Some(folder) = &folder {
            folder.write(&handlers)?;
        }
        // Before components are removed: what is named is there.
        self.handlers().clone_from(&handlers);
        folder.into_iter().for_each(|folder| folder.sweep(&handlers, &self.pins.all()));
        Ok(())
    }

    /// Releases the folder for the next node. Waits for a write in progress.
    pub fn close(&self) {
        let _turn = lock(&self.writing);
        *lock(&self.folder) = None;
    }

    fn handlers(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        lock(&self.handlers)
    }

    fn folder(&self) -> Option<Arc<Folder>> {
        lock(&self.folder).clone()
    }
}

/// No change is half-done when a lock is released, even by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mark(sha256: &str, generation: u64) -> Option<Mark> {
        Some(Mark { sha256: sha256.repeat(64), generation, over: None })
    }

    fn record(proved: &str) -> Record {
        Record { last: 2, current: mark("b", 2), proved: mark(proved, 1), ..Record::default() }
    }

    fn handlers(names: &[&str]) -> BTreeMap<String, Record> {
        names.iter().map(|name| ((*name).to_owned(), record("a"))).collect()
    }

    #[test]
    fn what_was_recorded_is_there_again() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a/state");
        let state = State::open(&path).unwrap();
        let (a, c) = ("a".repeat(64), "c".repeat(64));
        state.keep(&a, b"bytes", Some("signature")).unwrap();
        state.keep(&c, b"other", Some("signature")).unwrap();
        assert!(state.is_news(&handlers(&["x"])));
        state.record(handlers(&["x"]), BTreeMap::new()).unwrap();
        assert!(!state.is_news(&handlers(&["x"])));
        // Components that no record names are removed, foreign files are kept.
        assert!(state.has(&a) && !state.has(&c));
        assert_eq!((state.signature(&a).unwrap().as_deref(), state.signature(&c).unwrap()), (Some("signature"), None));
        std::fs::write(path.join("note.txt"), "mine").unwrap();
        // Two nodes cannot share a folder.
        assert!(State::open(&path).unwrap_err().to_string().contains("another node"));
        state.close();
        let state = State::open(&path).unwrap();
        assert_eq!(state.past("x"), Some(record("a")));
        assert_eq!(state.component(&a, |_| "a".repeat(64)).unwrap().unwrap(), b"bytes");
        // Damaged bytes are set aside, once.
        assert!(state.component(&a, |_| String::new()).unwrap().is_none());
        assert!(!state.has(&a) && path.join("note.txt").exists());
        // The record of a removed handler is kept, with the time of its removal.
        state.record(handlers(&["y"]), BTreeMap::new()).unwrap();
        assert!(state.past("x").unwrap().left.is_some() && state.past("y").unwrap().left.is_none());
        assert!(!state.is_news(&handlers(&["y"])));
    }

    #[test]
    fn who_asks_what_is_remembered_does_not_wait_for_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state")).unwrap();
        state.record(handlers(&["x"]), BTreeMap::new()).unwrap();
        // The held lock simulates a write to a disk that hangs.
        let _hung = lock(&state.writing);
        let (asked, told) = std::sync::mpsc::channel();
        let state = &state;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let remembered = state.past("x") == Some(record("a"));
                let news = state.is_news(&handlers(&["x"])) || state.has("none") || state.folder().is_none();
                // Nor does a component that goes live.
                let _pin = state.hand("c", &Arc::from(&b"bytes"[..]));
                asked.send(remembered && !news && state.handed("c").is_some()).unwrap();
            });
            let answer = told.recv_timeout(std::time::Duration::from_secs(60));
            assert_eq!(answer, Ok(true));
        });
    }

    #[test]
    fn a_node_that_cannot_know_what_it_took_back_does_not_start() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("state");
        let preferred = StateFolder::Preferred(path.clone());
        let first = State::configured(&preferred).unwrap().unwrap();
        first.record(handlers(&["x"]), BTreeMap::new()).unwrap();
        // While another node runs, the folder belongs to it. A node configured to use that folder is refused.
        assert!(State::configured(&preferred).unwrap().is_none());
        assert!(State::configured(&StateFolder::Required(path.clone())).is_err());
        first.close();
        // A node must be able to read its own record.
        std::fs::write(path.join("state.json"), "{\"format\": 2, \"others\": []}").unwrap();
        let refused = format!("{:#}", State::configured(&preferred).unwrap_err());
        assert!(refused.contains("give --state") && refused.contains("has format 2"), "{refused}");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        assert!(format!("{:#}", State::configured(&preferred).unwrap_err()).contains("others may write"));
        // If the folder contains no record, this is only a warning.
        for name in ["state.json", "state.copy.json"] {
            std::fs::remove_file(path.join(name)).unwrap();
        }
        assert!(State::configured(&preferred).unwrap().is_none());
        assert!(State::configured(&StateFolder::Preferred("/proc/none/state".into())).unwrap().is_none());
    }

    #[test]
    fn a_component_that_is_pinned_stays_until_a_record_could_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state")).unwrap();
        let c = "c".repeat(64);
        let unnamed = |made: &dyn Fn()| {
            // Each record is another one, so it is written, and what no record names is removed.
            let last = state.past("x").map_or(3, |past| past.last + 1);
            let read = || {
                made();
                let handlers = BTreeMap::from([("x".to_owned(), Record { last, ..record("a") })]);
                Found { handlers, ..Found::default() }
            };
            state.update(read).unwrap();
            state.has(&c)
        };
        let kept = || state.keep(&c, b"bytes", None).unwrap();
        kept();
        assert!(!unnamed(&|| {}), "nothing needs it");
        let pin = state.pin(&c);
        kept();
        assert!(unnamed(&|| {}) && unnamed(&|| {}), "a deployment is under way");
        drop(pin);
        assert!(!unnamed(&|| {}), "the deployment came to nothing");
        // A whole deployment takes place after a record was made, and before it is written.
        let deployed = || {
            let _pin = state.pin(&c);
            kept();
        };
        assert!(unnamed(&deployed));
        assert!(!unnamed(&|| {}));
    }

    #[test]
    fn what_was_handed_over_stays_in_memory_until_it_is_recorded_or_nothing_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state")).unwrap();
        let (c, bytes) = ("c".repeat(64), Arc::<[u8]>::from(&b"bytes"[..]));
        let found = |proved: &str, serving: bool| Found {
            handlers: BTreeMap::from([("x".to_owned(), record(proved))]),
            serving: serving.then(|| c.clone()).into_iter().collect(),
            ..Found::default()
        };
        let waits = |found: Found| {
            state.update(|| found).unwrap();
            state.handed(&c).is_some()
        };
        let pin = state.hand(&c, &bytes);
        assert!(waits(found("a", false)), "it is about to go live");
        drop(pin);
        assert!(waits(found("a", true)), "it went live and is not kept");
        state.keep(&c, &bytes, None).unwrap();
        assert!(!waits(found("c", true)) && state.has(&c), "it is kept");
        // It goes live after a record was made, and before that is written.
        let live = || {
            drop(state.hand(&c, &bytes));
            found("a", false)
        };
        state.update(live).unwrap();
        assert!(state.has(&c), "pinned");
        assert!(!waits(found("b", false)) && !state.has(&c), "nothing needs it");
        // As long as it is not kept, it is not given back for that.
        state.update(live).unwrap();
        assert!(state.handed(&c).is_some() && !state.has(&c));
        assert!(!waits(found("b", false)));
        assert_eq!(Arc::strong_count(&bytes), 1);
    }

    #[test]
    fn a_damaged_record_is_read_from_its_copy_or_keeps_the_node_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (index, copy) = (path.join("state.json"), path.join("state.copy.json"));
        State::open(&path).unwrap().record(handlers(&["x"]), BTreeMap::new()).unwrap();
        for (damaged, other) in [(&index, &copy), (&copy, &index)] {
            let whole = std::fs::read(damaged).unwrap();
            for bytes in [&b""[..], &whole[..whole.len() / 2], b"{\"format\": 1, \"handlers\": 3}"] {
                std::fs::write(damaged, bytes).unwrap();
                let state = State::open(&path).unwrap();
                assert_eq!(state.past("x"), Some(record("a")));
                assert!(damaged.with_extension("json.damaged").exists());
                assert_eq!(
                    (std::fs::read(damaged).unwrap(), std::fs::read(other).unwrap()),
                    (whole.clone(), whole.clone())
                );
            }
            std::fs::remove_file(damaged).unwrap();
            assert_eq!(State::open(&path).unwrap().past("x"), Some(record("a")));
            assert!(damaged.exists());
        }
        // Without a copy, as an earlier version leaves it, or with one that is damaged as well. A node that is started
        // again and again is refused again and again.
        std::fs::remove_file(&copy).unwrap();
        std::fs::write(&index, "{").unwrap();
        for _ in 0..2 {
            let refused = format!("{:#}", State::open(&path).unwrap_err());
            assert!(refused.contains("is damaged") && refused.contains("and remove both"), "{refused}");
            std::fs::write(&copy, "").unwrap();
        }
        std::fs::remove_file(&index).unwrap();
        assert!(State::open(&path).is_err() && Folder::remembers(&path));
        std::fs::remove_file(&copy).unwrap();
        assert!(State::open(&path).unwrap().past("x").is_none());
    }

    #[test]
    fn a_newer_state_is_refused_and_an_unreadable_one_is_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let state = State::open(&path).unwrap();
        state.record(handlers(&["x"]), BTreeMap::new()).unwrap();
        state.close();
        std::fs::write(path.join("state.json"), "{\"format\": 2, \"others\": []}").unwrap();
        let refused = State::open(&path).unwrap_err().to_string();
        assert!(refused.contains("has format 2, and this galo knows 1"), "{refused}");
        // A file that cannot be read is neither missing nor damaged.
        std::fs::remove_file(path.join("state.json")).unwrap();
        std::os::unix::fs::symlink("state.json", path.join("state.json")).unwrap();
        let refused = State::open(&path).unwrap_err().to_string();
        assert!(refused.starts_with("cannot read the state ") && path.join("state.json").is_symlink(), "{refused}");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(State::open(folder.path()).unwrap_err().to_string().contains("others may write"));
    }
}
