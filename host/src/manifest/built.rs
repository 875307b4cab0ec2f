//! `[built]`: what `galo dev` and `galo check` add at the end of their copy of a project's manifest. What loads the
//! copy names the sources in its messages, finds the files that the manifest names (secrets, keys) in the project, and
//! leaves out the handlers that are not built yet.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SOURCES;
use super::entry::Entry;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BuiltTable {
    /// The manifest of the project.
    pub(super) manifest: PathBuf,
    /// The handlers that are left out.
    #[serde(default)]
    without: Vec<String>,
}

/// The section for a copy of this manifest.
pub fn built<'a>(manifest: &Path, without: impl Iterator<Item = &'a str>) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let without: Vec<_> = without.map(quoted).collect();
    let manifest = quoted(&manifest.to_string_lossy());
    format!("\n# Added by galo: this is a copy.\n[built]\nmanifest = {manifest}\nwithout = [{}]\n", without.join(", "))
}

impl BuiltTable {
    /// The entries of the copy in this folder, from those of the project's manifest.
    pub(super) fn entries(&self, entries: Vec<Entry>, folder: &Path) -> Vec<Entry> {
        let root = self.manifest.parent().unwrap_or(Path::new(""));
        let copy = |entry: Entry| {
            let component = entry.component.strip_prefix(root).map(|name| folder.join(name));
            Entry {
                component: component.unwrap_or(entry.component),
                folder: folder.to_owned(),
                sources: Some(root.join(SOURCES).join(&entry.name)),
                ..entry
            }
        };
        entries.into_iter().filter(|entry| !self.without.contains(&entry.name)).map(copy).collect()
    }
}
