//! `galo upgrade`: moves a project to the version of this program.
//!
//! A file that is as galo wrote it is replaced. In one that was changed since, the lines that name a version are
//! replaced; if the new version would write other lines too, its text is put beside the file as `FILE.new`. The
//! vendored kit is replaced as a whole or not at all: half of one does not build.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::files::{self, Owner, Text, Versions};
use super::record::{self, Record, digest_of};
use crate::manifest;

/// What an upgrade does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new in this version.
    Added,
    /// It has another text in this version.
    Replaced,
    /// It was changed in the project, so only its versions were.
    Edited,
    /// It was changed in the project and in this version; the new text is beside it.
    Beside,
    /// This version does not have it any more.
    Removed,
    /// It was removed from the project, and stays so.
    Absent,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Added => "added",
            Self::Replaced => "replaced",
            Self::Edited => "edited",
            Self::Beside => "beside",
            Self::Removed => "removed",
            Self::Absent => "absent",
        })
    }
}

/// What an upgrade did, or would do.
#[derive(Debug)]
pub struct Upgrade {
    /// The version that the project was of.
    pub from: String,
    /// The version of this program.
    pub to: String,
    /// The files that change, in the order of their paths.
    pub changes: Vec<(String, Change)>,
}

/// Upgrades a project, or only finds out what would change.
///
/// # Errors
/// When galo has not made the project, its version is newer, or the vendored kit was changed; then nothing was written.
/// Or when a file cannot be read or written.
pub fn upgrade(root: &Path, write: bool) -> anyhow::Result<Upgrade> {
    let record = Record::read(root)?.with_context(|| {
        format!("{} has no {}: `galo init` has not made this project", root.display(), record::FILE_NAME)
    })?;
    let own = Versions::own()?;
    let from = &record.versions;
    ensure!(
        number(&from.galo) <= number(&own.galo),
        "the project is of galo {}, and this program is {}: install galo {0}, or a newer one",
        from.galo,
        own.galo
    );
    let project = manifest::read(root)?.project;
    let before = files::all(&project, &record.kit, from)?;
    let after = files::all(&project, &record.kit, &own)?;
    let (mut steps, mut changed) = (Vec::new(), Vec::new());
    for (path, new) in after.iter().filter(|(_, new)| new.owner != Owner::Author) {
        let present = read(root, path)?;
        if new.owner == Owner::Vendor
            && present.as_ref().is_some_and(|text| !record.has(path, text) && *text != new.text)
        {
            changed.push(path.as_str());
        }
        let old = before.get(path).map_or("", |old| old.text.as_str());
        steps.extend(step(path, present.as_deref(), old, new, &record));
    }
    for path in record.files.keys().filter(|path| !after.contains_key(*path)) {
        if read(root, path)?.is_some_and(|text| record.has(path, &text)) {
            steps.push(Step { path: path.clone(), change: Change::Removed, text: String::new() });
        }
    }
    ensure!(
        changed.is_empty(),
        "the vendored kit was changed here, and an upgrade would undo that: {}. Take the change back (`git checkout`), or \
         use a kit of your own: `galo-kit = {{ path = ... }}` in Cargo.toml, and `kit path:FOLDER` in {}",
        changed.join(", "),
        record::FILE_NAME
    );
    if write {
        for step in &steps {
            step.carry_out(root)?;
        }
        let written = after.iter().filter(|(_, file)| file.owner != Owner::Author);
        let files = written.map(|(path, file)| (path.clone(), digest_of(&file.text))).collect();
        let record = Record { versions: own.clone(), kit: record.kit.clone(), files };
        files::write(root, record::FILE_NAME, &record.to_string())?;
    }
    steps.sort_by(|one, other| one.path.cmp(&other.path));
    let changes = steps.into_iter().map(|step| (step.path, step.change)).collect();
    Ok(Upgrade { from: record.versions.galo, to: own.galo, changes })
}

/// One file that changes, and its new text.
struct Step {
    path: String,
    change: Change,
    text: String,
}

impl Step {
    fn carry_out(&self, root: &Path) -> anyhow::Result<()> {
        match self.change {
            Change::Added | Change::Replaced | Change::Edited => files::write(root, &self.path, &self.text),
            Change::Beside => files::write(root, &format!("{}.new", self.path), &self.text),
            Change::Removed => {
                let file = root.join(&self.path);
                fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
            }
            Change::Absent => Ok(()),
        }
    }
}

/// What happens to a file that both versions may have: `old` is this program's text with the versions of the project.
fn step(path: &str, present: Option<&str>, old: &str, new: &Text, record: &Record) -> Vec<Step> {
    let one = |change, text: &str| vec![Step { path: path.to_owned(), change, text: text.to_owned() }];
    let recorded = record.files.get(path);
    let Some(present) = present else {
        return match recorded {
            Some(_) if new.owner == Owner::Galo => one(Change::Absent, ""),
            _ => one(Change::Added, &new.text),
        };
    };
    if present == new.text {
        return Vec::new();
    }
    if record.has(path, present) {
        return one(Change::Replaced, &new.text);
    }
    let mut steps = Vec::new();
    let edited = with_versions(present, old, &new.text);
    if edited != present {
        steps.extend(one(Change::Edited, &edited));
    }
    // The text of this version, but for the versions, is not the one that the project was given.
    if recorded.is_none_or(|digest| *digest != digest_of(old)) {
        steps.extend(one(Change::Beside, &new.text));
    }
    steps
}

/// A text in which the lines that differ between two others are replaced.
fn with_versions(present: &str, old: &str, new: &str) -> String {
    let pairs: Vec<_> = old.lines().zip(new.lines()).filter(|(old, new)| old != new).collect();
    if old.lines().count() != new.lines().count() {
        return present.to_owned();
    }
    let replaced =
        |line: &str| pairs.iter().find(|(old, _)| *old == line).map_or(line.to_owned(), |(_, new)| (*new).to_owned());
    present.split('\n').map(replaced).collect::<Vec<_>>().join("\n")
}

fn read(root: &Path, path: &str) -> anyhow::Result<Option<String>> {
    let file = root.join(path);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// A version, to be compared: its numbers.
fn number(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}
