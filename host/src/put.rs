//! Puts handlers into a folder that nodes watch: components, their examples and the manifest. Each file is renamed into
//! place, so a reader sees either the old or the new file, never a part. The files are not verified here.

use std::borrow::Cow;
use std::fs;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::gate::ACCEPTED_NAME;
use crate::guest::Digest;
use crate::manifest::{self, Entry, KeyPlace, Manifest};
use crate::record::CORPUS_NAME;
use crate::{example, gate, trust};

/// The name of the record of the files put last, in the folder they were put into.
const RECORD: &str = ".put";

/// The files of a manifest's handlers, in the order in which they are put.
#[derive(Debug)]
pub struct Handlers {
    /// The source of each file, and its path relative to the target folder.
    files: Vec<(Source, PathBuf)>,
    /// The folders of examples, relative to the target folder.
    examples: Vec<PathBuf>,
}

/// Where the bytes of a file come from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Text(String),
}

impl Handlers {
    /// Lists the files of a manifest whose components are at these paths, in the manifest's order.
    ///
    /// # Errors
    /// When examples cannot be listed.
    pub fn list(manifest: &Manifest, components: &[PathBuf]) -> anyhow::Result<Self> {
        let built = manifest.handlers.iter().zip(components.iter().map(PathBuf::as_path));
        Self::of(manifest, built, Source::File(manifest.path.clone()))
    }

    /// As [`Self::list`], for some of the handlers and with another text of the manifest. Files of other handlers that
    /// are there already stay as they are.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn some<'a>(
        manifest: &Manifest,
        built: impl Iterator<Item = (&'a Entry, &'a Path)>,
        text: String,
    ) -> anyhow::Result<Self> {
        Self::of(manifest, built, Source::Text(text))
    }

    fn of<'a>(
        manifest: &Manifest,
        built: impl Iterator<Item = (&'a Entry, &'a Path)>,
        text: Source,
    ) -> anyhow::Result<Self> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for (entry, component) in built {
            // The examples come first, so that a node that sees the component finds its examples.
            let folder = Path::new(&entry.name).join(example::FOLDER_NAME);
            for file in example::files(entry)? {
                let name = folder.join(file.file_name().context("an example has a file name")?);
                files.push((Source::File(file), name));
            }
            folders.push(folder);
            // What is accepted comes first, for the same reason.
            for (file, name) in [(gate::accepted_path(entry), ACCEPTED_NAME), (gate::path(entry), CORPUS_NAME)] {
                if file.is_file() {
                    files.push((Source::File(file), Path::new(&entry.name).join(name)));
                }
            }
            let (source, name) = (Source::File(component.to_owned()), name_of(entry, manifest)?);
            let twin = files.iter().find(|(other, taken)| *taken == name && *other != source);
            ensure!(
                twin.is_none(),
                "the component of `{}` would replace that of another handler, {}: each needs a path of its own in {}",
                entry.name,
                name.display(),
                manifest.path.display()
            );
            files.extend(signature(component, &name));
            files.push((source, name));
        }
        files.extend(public_keys(manifest).map(|(from, name)| (Source::File(from), name)));
        if let Source::File(path) = &text {
            files.extend(signature(path, Path::new(manifest::FILE_NAME)));
        }
        files.push((text, manifest::FILE_NAME.into()));
        Ok(Self { files, examples: folders })
    }

    /// Puts all files into a folder, and removes old examples, and a corpus or accepted digests that are gone. Returns
    /// the paths of the changed files.
    ///
    /// # Errors
    /// When a file cannot be read, written or removed.
    pub fn put(&self, folder: &Path) -> anyhow::Result<Vec<&Path>> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for examples in &self.examples {
            self.remove_old(folder, examples)?;
        }
        let mut changed = Vec::new();
        for (from, name) in &self.files {
            let bytes = from.bytes()?;
            if replace(&folder.join(name), &bytes)? {
                changed.push(name.as_path());
            }
        }
        Ok(changed)
    }

    /// The digest of all files, including their names.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> anyhow::Result<Digest> {
        let mut list = String::new();
        for (from, name) in &self.files {
            let bytes = from.bytes()?;
            list += &format!("{}  {}\n", Digest::of(&bytes), name.display());
        }
        Ok(Digest::of(list.as_bytes()))
    }

    fn remove_old(&self, folder: &Path, examples: &Path) -> anyhow::Result<()> {
        for old in fs::read_dir(folder.join(examples)).into_iter().flatten() {
            let old = old?;
            let name = examples.join(old.file_name());
            if !self.files.iter().any(|(_, file)| *file == name) {
                fs::remove_file(old.path()).with_context(|| format!("cannot remove {}", old.path().display()))?;
            }
        }
        // Beside the examples.
        for name in [CORPUS_NAME, ACCEPTED_NAME] {
            let name = examples.with_file_name(name);
            let old = folder.join(&name);
            if old.exists() && !self.files.iter().any(|(_, file)| *file == name) {
                fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        Ok(())
    }
}

impl Source {
    fn bytes(&self) -> anyhow::Result<Cow<'_, [u8]>> {
        match self {
            Self::File(path) => {
                fs::read(path).map(Cow::Owned).with_context(|| format!("cannot read {}", path.display()))
            }
            Self::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
        }
    }
}

/// The signature of a file, if it has one. It is put first: a node that sees the file finds its signature.
fn signature(of: &Path, name: &Path) -> Option<(Source, PathBuf)> {
    let path = trust::path_of(of);
    path.is_file().then(|| (Source::File(path), trust::path_of(name)))
}

/// The path of a component in a folder of components: the one that the manifest has.
fn name_of(entry: &Entry, manifest: &Manifest) -> anyhow::Result<PathBuf> {
    // In a project it is relative to the folder of the handler's sources.
    let home = if manifest.path.parent() == Some(&entry.folder) { "" } else { &entry.name };
    let inside = entry.component.strip_prefix(entry.folder.join(home)).ok();
    let inside = inside.filter(|path| path.components().all(|part| matches!(part, Component::Normal(_))));
    let name = inside.or_else(|| entry.component.file_name().map(Path::new));
    name.map(Path::to_path_buf).context("a component has a file name")
}

/// The file of public keys that the manifest names, if it lies beside the manifest. Secrets are not put anywhere.
fn public_keys(manifest: &Manifest) -> Option<(PathBuf, PathBuf)> {
    let KeyPlace::Jwks(from) = &manifest.token.as_ref()?.keys else { return None };
    let inside = from.strip_prefix(manifest.path.parent()?).ok()?;
    let below = inside.components().all(|part| matches!(part, Component::Normal(_)));
    below.then(|| (from.clone(), inside.to_owned()))
}

/// Whether the files with this digest are recorded in a folder as put last. Components that were copied there in
/// another way since then are not considered.
pub fn is_recorded(folder: &Path, digest: &Digest) -> bool {
    fs::read_to_string(folder.join(RECORD)).is_ok_and(|recorded| recorded.trim_end() == digest.to_string())
}

/// Records in a folder that the files with this digest were put into it. It is taken before they are put: files that
/// change in between are then put once more, not passed over as known.
///
/// # Errors
/// When the record cannot be written.
pub fn record(folder: &Path, digest: &Digest) -> anyhow::Result<()> {
    replace(&folder.join(RECORD), format!("{digest}\n").as_bytes()).map(drop)
}

/// Replaces a file by renaming. Returns whether it changed. An identical file is not replaced.
///
/// # Errors
/// When it cannot be written.
pub fn replace(to: &Path, bytes: &[u8]) -> anyhow::Result<bool> {
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    file.write_all(bytes)?;
    file.persist(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}
