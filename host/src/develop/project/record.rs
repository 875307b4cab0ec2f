//! `galo.lock`: which version of galo a project is of, and the digest of each file that galo wrote, so that `galo
//! upgrade` replaces only what nobody has changed since.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Component, Path};

use anyhow::{Context as _, bail};

use super::files::Versions;
use super::kit::Kit;
use crate::guest::Digest;

/// The name of the file, beside the manifest.
pub(super) const FILE_NAME: &str = "galo.lock";

const HEAD: &str = "# What galo wrote, and which version of it. `galo upgrade` replaces what was not changed since; keep this \
                    file in git.";

/// What a project was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) versions: Versions,
    pub(super) kit: Kit,
    /// The digest of each file as galo wrote it, by its path.
    pub(super) files: BTreeMap<String, String>,
}

impl Record {
    /// The record of a project; `None` when galo has not made it.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub(super) fn read(root: &Path) -> anyhow::Result<Option<Self>> {
        let path = root.join(FILE_NAME);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).with_context(|| path.display().to_string()).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let (mut galo, mut rust, mut kit, mut files) = (None, None, None, BTreeMap::new());
        for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<_> = line.splitn(3, ' ').collect();
            match words.as_slice() {
                ["galo", version] => galo = Some((*version).to_owned()),
                ["rust", version] => rust = Some((*version).to_owned()),
                ["kit", ..] => kit = Some(line[4..].parse::<Kit>().map_err(anyhow::Error::msg)?),
                ["file", digest, path] if is_inside(path) => {
                    files.insert((*path).to_owned(), (*digest).to_owned());
                }
                _ => bail!("line {number} is not one that galo writes; restore the file from git"),
            }
        }
        let versions = galo.zip(rust).map(|(galo, rust)| Versions { galo, rust });
        let (versions, kit) = versions.zip(kit).context("a version is missing; restore the file from git")?;
        Ok(Self { versions, kit, files })
    }

    /// Whether this is the file's text as galo wrote it.
    pub(super) fn has(&self, path: &str, text: &str) -> bool {
        self.files.get(path).is_some_and(|digest| *digest == digest_of(text))
    }
}

/// Whether a path stays in the project: a record comes with a clone, and what it names may be removed.
fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The digest of a file's text, as the record has it.
pub(super) fn digest_of(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { versions: Versions { galo, rust }, kit, files } = self;
        writeln!(f, "{HEAD}\ngalo {galo}\nrust {rust}\nkit {kit}")?;
        files.iter().try_for_each(|(path, digest)| writeln!(f, "file {digest} {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            versions: Versions { galo: "1.2.3".to_owned(), rust: "1.95.0".to_owned() },
            kit: Kit::Path("../a b".to_owned()),
            files: BTreeMap::from([("a b".to_owned(), digest_of("x"))]),
        };
        assert_eq!(Record::parse(&record.to_string()).unwrap(), record);
        assert!(record.has("a b", "x") && !record.has("a b", "y") && !record.has("c", "x"));
    }

    #[test]
    fn a_record_that_names_a_file_outside_of_the_project_is_refused() {
        for path in ["../other/file", "/etc/hosts", "a/../../b"] {
            let text = format!("galo 0.1.0\nrust 1.95.0\nkit vendored\nfile 00 {path}\n");
            assert!(Record::parse(&text).unwrap_err().to_string().contains("line 4"), "{path}");
        }
    }

    #[test]
    fn a_damaged_record_is_refused() {
        for (text, expected) in [
            ("", "a version is missing"),
            ("galo 1\nrust 1\nkit vendored\nfile 1", "line 4 is not one that galo writes"),
            ("galo 1\nrust 1\nkit elsewhere", "`elsewhere` is neither"),
            ("<<<<<<< HEAD", "line 1 is not one"),
        ] {
            let error = Record::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
