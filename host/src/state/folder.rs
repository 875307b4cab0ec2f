//! The state folder: `state.json`, a component for each digest named in it, and a lock that one node holds.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::record::{self, FORMAT, Head, Record};
use crate::{file, limits};

const INDEX: &str = "state.json";
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
        path.join(INDEX).symlink_metadata().is_ok()
    }

    /// The recorded state. A damaged file is reported and counts as empty. A file that cannot be read does not count as
    /// damaged.
    pub(super) fn read(&self) -> anyhow::Result<BTreeMap<String, Record>> {
        let bytes = match file::read(&self.path.join(INDEX), limits::STATE_INDEX_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(file::Unreadable::Absent(_)) => return Ok(BTreeMap::new()),
            Err(error) => {
                let path = self.path.join(INDEX);
                return Err(error).with_context(|| format!("cannot read the state {}", path.display()));
            }
        };
        if let Ok(Head { format }) = serde_json::from_slice(&bytes) {
            ensure!(
                format == FORMAT,
                "the state folder {} has format {format}, and this galo knows {FORMAT}: give another --state, or run the \
                 galo that wrote it",
                self.path.display()
            );
        }
        match serde_json::from_slice::<record::File>(&bytes) {
            Ok(file) => Ok(file.handlers),
            Err(error) => {
                tracing::error!(%error, "the state is damaged");
                self.set_aside(INDEX);
                Ok(BTreeMap::new())
            }
        }
    }

    pub(super) fn write(&self, handlers: &BTreeMap<String, Record>) -> anyhow::Result<()> {
        let file = record::File { format: FORMAT, handlers: handlers.clone() };
        self.put(INDEX, &serde_json::to_vec_pretty(&file)?)
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

    /// Removes the components that no record names.
    pub(super) fn sweep(&self, handlers: &BTreeMap<String, Record>) {
        let named: HashSet<_> = handlers.values().flat_map(Record::components).collect();
        self.remove(|name| component_of(name).is_some_and(|sha256| !named.contains(sha256)));
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
