//! The state folder: `state.json` and its copy, a component for each digest named in it, and a lock that one node
//! holds.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::record::{self, FORMAT, Head, Record};
use crate::{file, limits};

const INDEX: &str = "state.json";
/// Written after the index, with the same content.
const COPY: &str = "state.copy.json";
const LOCK: &str = "lock";
/// Marks incomplete files. Those left by a crash are removed at the next start.
const UNFINISHED: &str = ".new-";
const COMPONENT: &str = ".wasm";
const SIGNATURE: &str = ".wasm.minisig";

/// The folder is in use by another running node.
#[derive(Debug, thiserror::Error)]
#[error("another node uses the state folder {0}: give each node a --state of its own")]
pub(super) struct InUse(String);

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Released by the kernel when the process ends in any way.
    _lock: File,
}

/// A file with the records.
enum Index {
    Read(BTreeMap<String, Record>),
    Absent,
    /// Why it cannot be understood.
    Damaged(String),
}

impl Folder {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).with_context(|| format!("cannot make the state folder {shown}"))?;
        let found = std::fs::symlink_metadata(path)?;
        ensure!(found.is_dir(), "the state {shown} is not a folder");
        ensure!(found.uid() == nix::unistd::geteuid().as_raw(), "the state folder {shown} belongs to another user");
        ensure!(found.mode() & 0o022 == 0, "others may write to the state folder {shown}: chmod 700 it");
        let lock = File::options().create(true).write(true).truncate(false).open(path.join(LOCK));
        let lock = lock.with_context(|| format!("cannot write to the state folder {shown}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(InUse(shown.to_string()).into()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock the state folder {shown}"));
            }
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.remove(|name| name.starts_with(UNFINISHED));
        Ok(folder)
    }

    /// Whether a folder that cannot be opened may contain a record.
    pub(super) fn remembers(path: &Path) -> bool {
        [INDEX, COPY].iter().any(|name| path.join(name).symlink_metadata().is_ok())
    }

    /// The recorded state. If its file is damaged or missing, the copy is used, and written back.
    ///
    /// # Errors
    /// When a file cannot be read, which does not count as damage, or has a newer format; and when the record is
    /// damaged and there is no copy: it is not known then what was rolled back.
    pub(super) fn read(&self) -> anyhow::Result<BTreeMap<String, Record>> {
        let (index, copy) = (self.index(INDEX)?, self.index(COPY)?);
        let (shown, other) = (self.path.join(INDEX), self.path.join(COPY));
        match (index, copy) {
            (Index::Read(handlers), Index::Read(copied)) if copied == handlers => Ok(handlers),
            (Index::Read(handlers), copy) => {
                if matches!(copy, Index::Damaged(_)) {
                    self.set_aside(COPY);
                }
                self.restored(&handlers);
                Ok(handlers)
            }
            (Index::Absent, Index::Absent) => Ok(BTreeMap::new()),
            (Index::Absent, Index::Read(handlers)) => {
                tracing::error!("the state {} is missing: its copy is used", shown.display());
                self.restored(&handlers);
                Ok(handlers)
            }
            (Index::Damaged(error), Index::Read(handlers)) => {
                tracing::error!(%error, "the state {} is damaged: its copy is used", shown.display());
                self.set_aside(INDEX);
                self.restored(&handlers);
                Ok(handlers)
            }
            (Index::Damaged(error), _) | (Index::Absent, Index::Damaged(error)) => bail!(
                "the state {} is damaged ({error}), and {} is no help: what this node rolled back is not known. Restore \
                 one of them from a backup; or make sure that the handlers folder has nothing that was rolled back, and \
                 remove both",
                shown.display(),
                other.display()
            ),
        }
    }

    fn index(&self, name: &str) -> anyhow::Result<Index> {
        let path = self.path.join(name);
        let bytes = match file::read(&path, limits::STATE_INDEX_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(file::Unreadable::Absent(_)) => return Ok(Index::Absent),
            Err(error) => return Err(error).with_context(|| format!("cannot read the state {}", path.display())),
        };
        if let Ok(Head { format }) = serde_json::from_slice(&bytes) {
            ensure!(
                format == FORMAT,
                "the state folder {} has format {format}, and this galo knows {FORMAT}: give another --state, or run the \
                 galo that wrote it",
                self.path.display()
            );
        }
        Ok(match serde_json::from_slice::<record::File>(&bytes) {
            Ok(file) => Index::Read(file.handlers),
            Err(error) => Index::Damaged(error.to_string()),
        })
    }

    /// Writes both files again. If that fails, the record in memory is right, and the next one is written or reported.
    fn restored(&self, handlers: &BTreeMap<String, Record>) {
        if let Err(error) = self.write(handlers) {
            tracing::warn!("the state and its copy differ, and cannot be written: {error:#}");
        }
    }

    pub(super) fn write(&self, handlers: &BTreeMap<String, Record>) -> anyhow::Result<()> {
        let file = record::File { format: FORMAT, handlers: handlers.clone() };
        let bytes = serde_json::to_vec_pretty(&file)?;
        self.put(INDEX, &bytes)?;
        self.put(COPY, &bytes)
    }

    pub(super) fn component_name(sha256: &str) -> String {
        format!("{sha256}{COMPONENT}")
    }

    pub(super) fn has(&self, sha256: &str) -> bool {
        self.path.join(Self::component_name(sha256)).is_file()
    }

    /// `None` when it does not exist.
    pub(super) fn component(&self, sha256: &str) -> Result<Option<Vec<u8>>, file::Unreadable> {
        match file::read(&self.path.join(Self::component_name(sha256)), limits::COMPONENT_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error @ file::Unreadable::Failed(_)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `None` when it does not exist.
    pub(super) fn signature(&self, sha256: &str) -> Result<Option<String>, file::Unreadable> {
        match file::read(&self.path.join(format!("{sha256}{SIGNATURE}")), limits::SIGNATURE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error @ file::Unreadable::Failed(_)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn keep_signature(&self, sha256: &str, signature: &str) -> anyhow::Result<()> {
        let same = self.signature(sha256).is_ok_and(|kept| kept.as_deref() == Some(signature));
        if same { Ok(()) } else { self.put(&format!("{sha256}{SIGNATURE}"), signature.as_bytes()) }
    }

    pub(super) fn has_space(&self, bytes: usize) -> anyhow::Result<bool> {
        let kept: u64 = self.components()?.iter().map(|(_, bytes)| bytes).sum();
        Ok(kept + bytes as u64 <= limits::STATE_BYTES_MAX)
    }

    pub(super) fn keep(&self, sha256: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let most = limits::STATE_BYTES_MAX;
        ensure!(self.has_space(bytes.len())?, "the components of the state would have more than {most} bytes");
        self.put(&Self::component_name(sha256), bytes)
    }

    /// Sets a damaged file aside for inspection. It replaces the previous one.
    pub(super) fn set_aside(&self, name: &str) {
        let (from, to) = (self.path.join(name), self.path.join(format!("{name}.damaged")));
        match std::fs::rename(&from, &to) {
            Ok(()) => tracing::error!(path = %to.display(), "damaged, and set aside"),
            Err(error) => tracing::error!(path = %from.display(), %error, "damaged, and cannot be set aside"),
        }
    }

    /// Removes the components that no record names and nothing needs yet.
    pub(super) fn sweep(&self, handlers: &BTreeMap<String, Record>, needed: &[String]) {
        let named: HashSet<_> = handlers.values().flat_map(Record::components).collect();
        let is_needed = |sha256: &str| named.contains(sha256) || needed.iter().any(|needed| needed == sha256);
        self.remove(|name| component_of(name).is_some_and(|sha256| !is_needed(sha256)));
    }

    fn components(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if component_of(&name).is_some() {
                found.push((name, entry.metadata()?.len()));
            }
        }
        Ok(found)
    }

    /// Removes files that this module created. A file that cannot be removed only costs disk space.
    fn remove(&self, ours: impl Fn(&str) -> bool) {
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if ours(&entry.file_name().to_string_lossy()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Writes a file atomically. Even after a power failure, either the old or the new file exists.
    fn put(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.path)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.path.join(name))?;
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }
}

/// The digest in the name of a component or a signature that this module wrote. Other files have other names.
fn component_of(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".damaged").unwrap_or(name);
    let sha256 = name.strip_suffix(SIGNATURE).or_else(|| name.strip_suffix(COMPONENT))?;
    (sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(sha256)
}
