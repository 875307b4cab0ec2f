//! The kit and the link helper, as a project gets them: the sources of the release that this program is of. They are
//! part of the program, so that a project is made without a network, and builds with Cargo alone.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use toml::{Table, Value};

/// Where a project has the kit from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kit {
    /// From its own folder `vendor/`, where this program writes the sources.
    Vendored,
    /// From the registry of Cargo, by version.
    Registry,
    /// From this folder, relative to the project: for the development of the kit itself.
    Path(String),
}

/// The folder of a project for what this program owns.
pub(super) const VENDOR: &str = "vendor";

impl Kit {
    /// The dependencies on the kit and on the link helper, as `Cargo.toml` has them.
    pub(super) fn dependencies(&self, version: &str) -> [String; 2] {
        let path =
            |folder: &str| [folder.to_owned(), format!("{folder}/link")].map(|path| format!("{{ path = {path:?} }}"));
        match self {
            Self::Vendored => path(&format!("{VENDOR}/galo-kit")),
            // This version alone: the kit and the program fit each other.
            Self::Registry => [(); 2].map(|()| format!("\"={version}\"")),
            Self::Path(folder) => path(folder),
        }
    }
}

impl FromStr for Kit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "vendored" => Ok(Self::Vendored),
            "registry" => Ok(Self::Registry),
            _ => match text.strip_prefix("path:").map(|path| path.trim_end_matches('/')) {
                Some(path) if !path.is_empty() && !path.contains(char::is_control) => Ok(Self::Path(path.to_owned())),
                _ => Err(format!("`{text}` is neither `vendored` nor `registry` nor `path:FOLDER`")),
            },
        }
    }
}

impl fmt::Display for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendored => f.write_str("vendored"),
            Self::Registry => f.write_str("registry"),
            Self::Path(folder) => write!(f, "path:{folder}"),
        }
    }
}

/// The workspace that the kit is developed in; it has the versions of all dependencies.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

macro_rules! sources {
    ($($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../../../handlers/kit/", $path)))),*]
    };
}

/// The sources, by their paths in `handlers/kit/`; in a project they are in `vendor/galo-kit/`.
const SOURCES: &[(&str, &str)] = sources! {
    "Cargo.toml"
    "link/Cargo.toml"
    "link/src/lib.rs"
    "src/arena.rs"
    "src/bearer.rs"
    "src/bindings.rs"
    "src/carry.rs"
    "src/cookie.rs"
    "src/date.rs"
    "src/decimal.rs"
    "src/decode/json.rs"
    "src/decode/json/name.rs"
    "src/decode/json/passing.rs"
    "src/decode/json/scalar.rs"
    "src/decode/json/tests.rs"
    "src/decode/mod.rs"
    "src/decode/pairs.rs"
    "src/decode/pairs/tests.rs"
    "src/decode/text.rs"
    "src/error.rs"
    "src/etag.rs"
    "src/export.rs"
    "src/guide.rs"
    "src/json.rs"
    "src/json/tests.rs"
    "src/key.rs"
    "src/lib.rs"
    "src/page.rs"
    "src/panic.rs"
    "src/plan.rs"
    "src/rejection.rs"
    "src/request.rs"
    "src/response.rs"
    "src/rows.rs"
    "src/rows/objects.rs"
    "src/rows/tests.rs"
    "src/test.rs"
    "src/timestamp.rs"
    "src/typed.rs"
};

/// Beside the sources: what `cargo fmt --all` would otherwise format in the project's way.
const FORMAT: &str = "# The style of the sources in this folder.\nmax_width = 120\nuse_small_heuristics = \"Max\"\n";

/// The files of the vendored kit, by their paths in a project.
pub(super) fn files() -> anyhow::Result<Vec<(String, String)>> {
    let mut files = vec![(format!("{VENDOR}/rustfmt.toml"), FORMAT.to_owned())];
    for (path, text) in SOURCES {
        let text = if path.ends_with("Cargo.toml") { standalone(text)? } else { (*text).to_owned() };
        files.push((format!("{VENDOR}/galo-kit/{path}"), text));
    }
    Ok(files)
}

/// The version of the language that the kit needs, such as `1.95`.
pub(super) fn rust_version() -> anyhow::Result<String> {
    of_package("rust-version")
}

/// The edition of the kit.
pub(super) fn edition() -> anyhow::Result<String> {
    of_package("edition")
}

/// The dependency on a crate that the kit uses too, as `Cargo.toml` has it.
pub(super) fn dependency(name: &str) -> anyhow::Result<String> {
    let workspace = workspace()?;
    Ok(inherited(&workspace, "dependencies", name)?.to_string())
}

fn of_package(key: &str) -> anyhow::Result<String> {
    let workspace = workspace()?;
    let value = inherited(&workspace, "package", key)?.as_str();
    value.map(str::to_owned).with_context(|| format!("{key} is not a text"))
}

fn workspace() -> anyhow::Result<Table> {
    let mut root: Table = WORKSPACE.parse()?;
    match root.remove("workspace") {
        Some(Value::Table(workspace)) => Ok(workspace),
        _ => bail!("no [workspace]"),
    }
}

fn inherited<'a>(workspace: &'a Table, section: &str, key: &str) -> anyhow::Result<&'a Value> {
    let value = workspace.get(section).and_then(|section| section.get(key));
    value.with_context(|| format!("[workspace.{section}] has no `{key}`"))
}

/// The manifest of a crate of our workspace as one that is in none: what it inherits is written out.
fn standalone(manifest: &str) -> anyhow::Result<String> {
    let workspace = workspace()?;
    let mut manifest: Table = manifest.parse()?;
    // They are for those who develop the crate.
    manifest.remove("lints");
    for (section, table) in &mut manifest {
        let Some(table) = table.as_table_mut() else { continue };
        let from = if section == "package" { "package" } else { "dependencies" };
        for (key, value) in table {
            let Some(own) = value.as_table().filter(|own| own.get("workspace") == Some(&Value::Boolean(true))) else {
                continue;
            };
            *value = merged(inherited(&workspace, from, key)?, own);
        }
    }
    Ok(format!("# Written by galo from its own workspace.\n{}", toml::to_string(&manifest)?))
}

/// What is inherited, with the features and options that the crate adds.
fn merged(inherited: &Value, own: &Table) -> Value {
    let added: Vec<_> = own.iter().filter(|(key, _)| *key != "workspace").collect();
    if added.is_empty() {
        return inherited.clone();
    }
    let mut table = match inherited {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    for (key, value) in added {
        match (table.get_mut(key), value) {
            (Some(Value::Array(features)), Value::Array(more)) => features.extend(more.iter().cloned()),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Table(table)
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;

    /// The paths of all files in a folder, relative to another.
    pub(in super::super) fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => collect(root, &path, found),
                false => found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }

    #[test]
    fn every_source_of_the_kit_is_vendored() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("handlers/kit");
        let mut present = Vec::new();
        collect(&folder, &folder, &mut present);
        present.retain(|path| path.ends_with(".rs") || path.ends_with("Cargo.toml"));
        present.sort();
        let mut listed: Vec<_> = SOURCES.iter().map(|(path, _)| (*path).to_owned()).collect();
        listed.sort();
        assert_eq!(listed, present, "the list of sources in develop/project/kit.rs");
    }

    #[test]
    fn a_vendored_manifest_inherits_nothing() {
        for (path, text) in files().unwrap().iter().filter(|(path, _)| path.ends_with("Cargo.toml")) {
            assert!(!text.contains("workspace =") && text.contains("version = \""), "{path}: {text}");
        }
        let text = standalone("[package]\nname = \"a\"\nedition.workspace = true\n[dependencies]\nserde = { workspace = true, features = [\"rc\"] }").unwrap();
        assert!(text.contains("edition = \"2024\""), "{text}");
        assert!(text.contains("[dependencies.serde]") && text.contains("features = [\"derive\", \"rc\"]"), "{text}");
        let unknown = standalone("[dependencies]\nnobody.workspace = true").unwrap_err();
        assert_eq!(unknown.to_string(), "[workspace.dependencies] has no `nobody`");
    }

    #[test]
    fn a_kit_is_named_as_it_is_written() {
        for text in ["vendored", "registry", "path:../kit"] {
            assert_eq!(text.parse::<Kit>().unwrap().to_string(), text);
        }
        for text in ["", "path:", "vendor", "../kit"] {
            assert!(text.parse::<Kit>().unwrap_err().contains("is neither"), "{text}");
        }
        let [kit, link] = Kit::Path("../kit".to_owned()).dependencies("1.2.3");
        assert_eq!((kit.as_str(), link.as_str()), ("{ path = \"../kit\" }", "{ path = \"../kit/link\" }"));
        assert_eq!(Kit::Registry.dependencies("1.2.3"), ["\"=1.2.3\"", "\"=1.2.3\""]);
    }
}
