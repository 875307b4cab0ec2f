//! Fingerprints of files, from their metadata: enough to see that one may have changed, without reading it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::manifest::{ConfigValue, Entry, Place, Text};
use crate::{example, gate, trust};

/// The fingerprint of some files, in order. If two are equal, no file was written, replaced, added or removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fingerprint(Vec<Option<Stat>>);

/// Device, inode, size, times of change: a file that is replaced by one of the same size and time still has a different
/// inode.
type Stat = (u64, u64, u64, i64, i64, i64, i64);

impl Fingerprint {
    /// The fingerprint of a manifest and its signature.
    pub(super) fn of_manifest(path: &Path) -> Self {
        Self(vec![stat(path), stat(&trust::path_of(path))])
    }

    /// The fingerprint of one file.
    pub(super) fn of(path: &Path) -> Self {
        Self(vec![stat(path)])
    }

    /// Appends other fingerprints, of which some may be missing.
    pub(super) fn with(mut self, others: Vec<Option<Self>>) -> Self {
        self.0.extend(others.into_iter().flatten().flat_map(|other| other.0));
        self
    }

    /// The fingerprint of the manifest alone, of one to which others were appended.
    pub(super) fn first(&self) -> Self {
        Self(self.0.iter().take(2).copied().collect())
    }

    /// The fingerprint of a handler's component, its signature, its examples, its corpus with what is accepted, and the
    /// files of its secrets.
    pub(super) fn of_handler(entry: &Entry) -> Self {
        let signature = trust::path_of(&entry.component);
        let beside = [signature, example::folder(entry), gate::path(entry), gate::accepted_path(entry)];
        let mut stats = vec![stat(&entry.component)];
        stats.extend(beside.iter().map(|path| stat(path)));
        stats.extend(example::files(entry).unwrap_or_default().iter().map(|path| stat(path)));
        let secrets = entry.config.iter().filter_map(|ConfigValue { value, .. }| match value {
            Text::Secret(Place::File(path)) => Some(path),
            Text::Secret(Place::Variable(_)) | Text::Plain(_) => None,
        });
        stats.extend(secrets.map(|path| stat(path)));
        Self(stats)
    }
}

fn stat(path: &Path) -> Option<Stat> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()))
}
