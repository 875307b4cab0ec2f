//! Compiled components on disk, so that a node can start without compiling. A compiled component is native code. It is
//! loaded only from a folder that this user owns and nobody else can write to, under a name made of the component's
//! digest and the engine's compatibility hash, and only if its seal matches its content. A file is never overwritten in
//! place, because a running node has it mapped. Files with other names are left alone.
//!
//! A cache that fails costs time, not service: the failure is logged and the component is compiled without it.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use nix::fcntl::OFlag;
use tempfile::NamedTempFile;
use wasmtime::component::Component as Native;

use super::digest::Digest;
use super::engine::Engine;
use super::form;
use crate::limits;

/// A private folder of compiled components.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    bytes_max: u64,
}

/// How the name of a compiled component ends.
const KEPT: &str = ".cwasm";
/// How the name of a file that is being written begins.
const BEGUN: &str = ".galo-form-";

impl Cache {
    /// Opens the folder, and creates it when it does not exist.
    ///
    /// # Errors
    /// When it cannot be created, belongs to another user, or others may write to it.
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

    /// The compiled form of the component with this digest, if there is one for this engine. A damaged file is removed,
    /// so that the component is compiled again only once.
    pub(super) fn find(&self, engine: &Engine, digest: &Digest) -> Option<Native> {
        let name = name(engine, digest);
        let path = self.folder.join(&name);
        let mut file = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path).ok()?;
        let metadata = file.metadata().ok()?;
        // The file may be older than the folder's permissions, so its owner and mode are checked too.
        let ours = metadata.is_file() && metadata.uid() == nix::unistd::geteuid().as_raw();
        if !ours || metadata.mode() & 0o022 != 0 {
            tracing::warn!(path = %path.display(), "compiled component not taken: others could have written it");
            return None;
        }
        match read(engine, &mut file, &name) {
            Ok(native) => Some(native),
            Err(error) => {
                tracing::warn!(path = %path.display(), "compiled component not usable, compiling again: {error:#}");
                // Removed, not overwritten: a node that has it mapped keeps its pages.
                let _ = std::fs::remove_file(&path);
                None
            }
        }
    }

    /// A file for a compiled form, which `find` does not find before it is kept.
    pub(super) fn begin(&self) -> std::io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(BEGUN).tempfile_in(&self.folder)
    }

    /// Stores a sealed form, unless there is one already.
    pub(super) fn keep(&self, file: NamedTempFile, name: &str) {
        if let Err(error) = self.persist(file, name) {
            tracing::warn!(path = %self.folder.join(name).display(), "compiled component not kept: {error:#}");
        }
    }

    fn persist(&self, file: NamedTempFile, name: &str) -> anyhow::Result<()> {
        file.as_file().sync_all()?;
        self.make_room()?;
        match file.persist_noclobber(self.folder.join(name)) {
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.error.into()),
            Ok(_) => Ok(()),
        }
    }

    /// Removes the oldest forms when they exceed the size of the cache. A node that has one mapped can still use it.
    fn make_room(&self) -> anyhow::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            let ours = entry.file_name().to_str().is_some_and(is_ours);
            // Another node may have removed it.
            if let (true, Ok(metadata)) = (ours, entry.metadata())
                && metadata.is_file()
            {
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
}

fn read(engine: &Engine, file: &mut File, name: &str) -> anyhow::Result<Native> {
    ensure!(form::is_whole(file, name)?, "it is damaged");
    Ok(form::load(engine, file)?)
}

/// The file name of a component's form: the component's digest and the engine's compatibility hash.
pub(super) fn name(engine: &Engine, digest: &Digest) -> String {
    let mut hasher = DefaultHasher::new();
    engine.inner().precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}{KEPT}", hasher.finish())
}

/// Whether a file has such a name, or is one that is being written.
fn is_ours(name: &str) -> bool {
    let hexadecimal = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = name.strip_suffix(KEPT).and_then(|name| name.split_once('-'));
    name.starts_with(BEGUN) || parts.is_some_and(|(digest, hash)| hexadecimal(digest, 64) && hexadecimal(hash, 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_cache_are_removed_to_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { bytes_max: 25, ..Cache::open(&folder.path().join("cache")).unwrap() };
        let put = |name: &str| std::fs::write(cache.folder.join(name), [0; 10]).unwrap();
        let ours: Vec<_> = (0..4).map(|n| format!("{}{n}-{}{KEPT}", "0".repeat(63), "a".repeat(16))).collect();
        let foreign = ["notes.txt", "0-a.cwasm", "galo.toml", "other.cwasm"];
        foreign.iter().for_each(|name| put(name));
        std::fs::create_dir(cache.folder.join("folder")).unwrap();
        for name in &ours {
            put(name);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        cache.make_room().unwrap();
        assert!(foreign.iter().chain(&["folder"]).all(|name| cache.folder.join(name).exists()));
        let left: Vec<_> = ours.iter().map(|name| cache.folder.join(name).exists()).collect();
        assert_eq!(left, [false, false, true, true]);
    }
}
