//! Compiled components on disk, so that a node is ready without compiling. A compiled component is native code: it is
//! taken only from a folder that is ours and that nobody else can write to, under a name made of the component's
//! digest and the engine's compatibility hash. A file is never overwritten in place: a running node has it mapped.
//!
//! Asked by `component`. A cache that fails costs time, not service: it is logged and passed over.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use wasmtime::component::Component as Compiled;

use super::component::Digest;
use super::engine::Engine;
use crate::limits;

/// A private folder of compiled components.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    bytes_max: u64,
}

impl Cache {
    /// Opens the folder, and makes it when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, belongs to somebody else, or others may write to it.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
        let metadata = std::fs::symlink_metadata(folder)?;
        let shown = folder.display();
        ensure!(metadata.is_dir(), "the cache {shown} is not a folder");
        ensure!(metadata.uid() == nix::unistd::geteuid().as_raw(), "the cache folder {shown} belongs to another user");
        ensure!(metadata.mode() & 0o022 == 0, "others may write to the cache folder {shown}: chmod 700 it");
        Ok(Self { folder: folder.to_owned(), bytes_max: limits::CACHE_BYTES_MAX })
    }

    /// The compiled form of the component with this digest, when there is one for this very engine.
    pub(super) fn find(&self, engine: &Engine, digest: &Digest) -> Option<Compiled> {
        let path = self.path(engine, digest);
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        // It may be older than the folder's privacy: somebody else's file is not taken.
        let ours = metadata.is_file() && metadata.uid() == nix::unistd::geteuid().as_raw();
        if !ours || metadata.mode() & 0o022 != 0 {
            tracing::warn!(path = %path.display(), "compiled component not taken: others could have written it");
            return None;
        }
        #[expect(unsafe_code, reason = "wasmtime trusts the file; `open` saw to it that only we can have written it")]
        // SAFETY: the file is ours alone and lies in a folder that only this user can write to, was written whole by
        // `keep` (renamed into place, never changed after), and wasmtime itself checks that this engine's version
        // made it.
        let compiled = unsafe { Compiled::deserialize_file(engine.inner(), &path) };
        compiled
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "compiled component not usable, compiling again");
                // Removed, not overwritten: a node that has it mapped keeps its pages.
                let _ = std::fs::remove_file(&path);
            })
            .ok()
    }

    /// Keeps the compiled form, unless there is one already.
    pub(super) fn keep(&self, engine: &Engine, digest: &Digest, compiled: &Compiled) {
        let path = self.path(engine, digest);
        if let Err(error) = self.write(&path, compiled) {
            tracing::warn!(path = %path.display(), %error, "compiled component not kept");
        }
    }

    fn write(&self, path: &Path, compiled: &Compiled) -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        std::io::Write::write_all(&mut file, &compiled.serialize()?)?;
        file.as_file().sync_all()?;
        self.make_room()?;
        match file.persist_noclobber(path) {
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.error.into()),
            Ok(_) => Ok(()),
        }
    }

    /// Removes the oldest forms when there are more than the cache may hold. A node that has one mapped keeps it.
    fn make_room(&self) -> anyhow::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let metadata = entry.as_ref().map(std::fs::DirEntry::metadata);
            // Another node may have removed it.
            if let (Ok(entry), Ok(Ok(metadata))) = (&entry, metadata) {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in files {
            if bytes <= self.bytes_max {
                break;
            }
            let _ = std::fs::remove_file(path);
            bytes -= size;
        }
        Ok(())
    }

    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.inner().precompile_compatibility_hash().hash(&mut hasher);
        self.folder.join(format!("{digest}-{:016x}.cwasm", hasher.finish()))
    }
}
