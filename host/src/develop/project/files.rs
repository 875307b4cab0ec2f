//! The files of a new project. Each is text in `template/`, with `@words@` to fill in.

use std::collections::BTreeMap;
use std::path::Path;

use super::kit::{self, Kit};
use crate::manifest::ProjectEntry;

/// Who changes a file after `galo init` has written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Its author: it is written once.
    Author,
    /// `galo upgrade`, as long as nobody else has.
    Galo,
    /// `galo upgrade` alone.
    Vendor,
}

/// A file, by its path in the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) owner: Owner,
    pub(super) text: String,
}

macro_rules! files {
    ($($owner:ident $path:literal)*) => {
        &[$((Owner::$owner, $path, include_str!(concat!("template/", $path, ".txt")))),*]
    };
}

/// The template: every file of `template/`, without `.txt`.
const FILES: &[(Owner, &str, &str)] = files! {
    Author "README.md"
    Author "deploy/.env"
    Author "galo.toml"
    Author "handlers/greeting/Cargo.toml"
    Author "handlers/greeting/build.rs"
    Author "handlers/greeting/examples/found.json"
    Author "handlers/greeting/examples/not-found.json"
    Author "handlers/greeting/examples/second-greeting.json"
    Author "handlers/greeting/src/lib.rs"
    Author "handlers/greeting/src/tests.rs"
    Author "rustfmt.toml"
    Author "sql/migrations/V1__greetings.sql"
    Author "sql/procedures/greeting.sql"
    Galo ".github/workflows/ci.yml"
    Galo ".gitignore"
    Galo "Cargo.toml"
    Galo "deploy/.dockerignore"
    Galo "deploy/Dockerfile"
    Galo "deploy/compose.yaml"
    Galo "deploy/nginx/nginx.conf"
    Galo "deploy/run"
    Galo "deploy/up"
    Galo "rust-toolchain.toml"
    Galo "secrets/.gitignore"
    Galo "secrets/README.md"
};

/// The versions that a project is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Versions {
    /// Of `galo`, and so of its kit.
    pub(super) galo: String,
    /// Of the compiler.
    pub(super) rust: String,
}

impl Versions {
    /// Those of this program.
    pub(super) fn own() -> anyhow::Result<Self> {
        // The channel names a patch release, `rust-version` does not.
        Ok(Self { galo: env!("CARGO_PKG_VERSION").to_owned(), rust: kit::rust_version()? + ".0" })
    }
}

/// All files of a project, by their paths.
///
/// # Errors
/// When a manifest of the kit cannot be written out, which a test rules out.
pub(super) fn all(project: &ProjectEntry, kit: &Kit, versions: &Versions) -> anyhow::Result<BTreeMap<String, Text>> {
    let words = words(project, kit, versions)?;
    let of_template = |(owner, path, text): &(Owner, &str, &str)| {
        let text = words.iter().fold((*text).to_owned(), |text, (word, filled)| text.replace(word, filled));
        ((*path).to_owned(), Text { owner: *owner, text })
    };
    let mut files: BTreeMap<_, _> = FILES.iter().map(of_template).collect();
    if *kit == Kit::Vendored {
        let vendored = kit::files()?.into_iter();
        files.extend(vendored.map(|(path, text)| (path, Text { owner: Owner::Vendor, text })));
    }
    Ok(files)
}

fn words(project: &ProjectEntry, kit: &Kit, versions: &Versions) -> anyhow::Result<Vec<(&'static str, String)>> {
    let ProjectEntry { name, database, role } = project;
    let [kit, link] = kit.dependencies(&versions.galo);
    Ok(vec![
        ("@name@", name.clone()),
        ("@database@", database.clone()),
        ("@role@", role.clone()),
        ("@galo@", versions.galo.clone()),
        ("@rust@", versions.rust.clone()),
        ("@rust-version@", kit::rust_version()?),
        ("@edition@", kit::edition()?),
        ("@serde@", kit::dependency("serde")?),
        ("@kit@", kit),
        ("@link@", link),
    ])
}

/// Whether a file is a program, which is executable.
pub(super) fn is_program(text: &str) -> bool {
    text.starts_with("#!")
}

/// Writes a file, and the folders it is in.
pub(super) fn write(root: &Path, path: &str, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    use anyhow::Context as _;

    let file = root.join(path);
    let link = Path::new(path).ancestors().map(|part| root.join(part)).find(|part| part != root && part.is_symlink());
    if let Some(link) = link {
        anyhow::bail!(
            "{} is a link, which could lead out of the project: replace it by what it points to",
            link.display()
        );
    }
    let written = (|| {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&file, text)?;
        if is_program(text) {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok::<_, std::io::Error>(())
    })();
    written.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_through_a_link() {
        let (project, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("file"), "kept").unwrap();
        std::os::unix::fs::symlink(outside.path(), project.path().join("vendor")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("file"), project.path().join(".gitignore")).unwrap();
        for path in ["vendor/file", ".gitignore"] {
            let refused = write(project.path(), path, "lost").unwrap_err().to_string();
            assert!(refused.contains("is a link, which could lead out of the project"), "{refused}");
        }
        assert_eq!(std::fs::read_to_string(outside.path().join("file")).unwrap(), "kept");
        write(project.path(), "sql/a.sql", "x").unwrap();
    }

    #[test]
    fn every_file_of_the_template_is_listed_and_every_word_is_filled_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/develop/project/template");
        let mut present = Vec::new();
        kit::tests::collect(&folder, &folder, &mut present);
        let mut listed: Vec<_> = FILES.iter().map(|(_, path, _)| format!("{path}.txt")).collect();
        listed.sort();
        present.sort();
        assert_eq!(listed, present);
        let files = all(&ProjectEntry::named("a-b"), &Kit::Registry, &Versions::own().unwrap()).unwrap();
        for (path, Text { text, .. }) in files {
            let left: Vec<_> =
                text.split_whitespace().filter(|word| word.matches('@').count() > 1 && !word.contains("://")).collect();
            assert!(left.is_empty(), "{path}: {left:?}");
        }
    }
}
