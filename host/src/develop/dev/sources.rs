//! The sources of a project as `galo dev` follows them: what there is, what has changed, and which handlers' build
//! commands have to run because of it.
//!
//! The kernel's events only cause a scan. One that gets lost, or that the kernel does not give (its limits are reached,
//! a network folder), costs two seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::tree::{Roots, Tree};
use crate::develop::build::{Built, Checkout, Prepared};
use crate::manifest::{Build, Entry, FILE_NAME};
use crate::reload::Watch;
use crate::{example, gate, limits};

/// The sources of a project.
pub(super) struct Sources {
    checkout: Checkout,
    watch: Watch,
    roots: Roots,
    tree: Arc<Tree>,
    /// The build commands, each with what it was when it ran last.
    commands: BTreeMap<String, Command>,
    /// Sources have changed that are not built.
    pub(super) changed: bool,
    /// `sql/` has changed, and is not applied.
    pub(super) sql_changed: bool,
    /// Files came or went, or the files of Cargo have changed.
    pub(super) layout_changed: bool,
    /// The handlers whose build command has to run.
    pub(super) due: BTreeSet<String>,
}

/// A handler's build command, and what it depends on.
struct Command {
    build: Build,
    /// `None`: every file.
    watch: Option<GlobSet>,
}

impl Sources {
    /// Looks at everything for the first time: all of it is to be built.
    pub(super) async fn new(checkout: &Checkout) -> Self {
        let root = &checkout.root;
        let roots = Roots {
            project: root.clone(),
            folders: [checkout.handlers(), root.join("wit"), checkout.sql()].into(),
            files: [FILE_NAME, "Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"]
                .map(|name| root.join(name))
                .into(),
            without: BTreeSet::new(),
        };
        let mut sources = Self {
            checkout: checkout.clone(),
            watch: Watch::of_files(),
            roots,
            tree: Arc::default(),
            commands: BTreeMap::new(),
            changed: true,
            sql_changed: true,
            layout_changed: false,
            due: BTreeSet::new(),
        };
        sources.scan().await;
        sources
    }

    /// Waits until something may have changed.
    pub(super) async fn stirred(&mut self) {
        if tokio::time::timeout(limits::WATCH_INTERVAL, self.watch.changed()).await.is_err() {
            self.watch.renew().await;
        }
    }

    /// Looks at everything again. Returns the sources that have changed since the last time, and notes what they make
    /// necessary.
    pub(super) async fn scan(&mut self) -> BTreeSet<PathBuf> {
        self.scan_with(|_, _| true).await
    }

    /// Looks at everything after more has come to be followed, which has not changed.
    async fn scan_more(&mut self) {
        self.scan_with(|file, before| before.has(file)).await;
    }

    async fn scan_with(&mut self, counts: impl Fn(&Path, &Tree) -> bool) -> BTreeSet<PathBuf> {
        let (roots, before) = (self.roots.clone(), Arc::clone(&self.tree));
        let scanned = tokio::task::spawn_blocking(move || Tree::scan(&roots, &before)).await;
        // A scan that panics has changed nothing.
        let Ok(tree) = scanned else { return BTreeSet::new() };
        let before = std::mem::replace(&mut self.tree, Arc::new(tree));
        if self.tree.truncated && !before.truncated {
            let most = limits::SOURCES_MAX;
            tracing::warn!("only {most} files are followed; list what is not a source in .gitignore");
        }
        self.watch.set(self.tree.folders()).await;
        let changed = self.tree.changed_since(&before).into_iter().filter(|file| counts(file, &before));
        let (sql, mut sources): (BTreeSet<_>, BTreeSet<_>) =
            changed.partition(|file| file.starts_with(self.checkout.sql()));
        self.sql_changed |= !sql.is_empty();
        let handlers = self.checkout.handlers();
        let inside = |name: &str, file: &Path| file.strip_prefix(handlers.join(name)).ok().map(Path::to_path_buf);
        // What a command does not depend on may be what it writes.
        let is_unknown = |file: &Path, (name, command): (&String, &Command)| {
            inside(name, file).is_some_and(|file| !command.needs(&file) && !is_of_node(&file))
        };
        sources.retain(|file| !self.commands.iter().any(|command| is_unknown(file, command)));
        self.changed |= !sources.is_empty();
        let is_layout = |file: &PathBuf| !before.has(file) || !self.tree.has(file) || is_of_cargo(file);
        self.layout_changed |= sources.iter().any(is_layout);
        let due = self.commands.iter().filter(|(name, command)| {
            sources.iter().filter_map(|file| inside(name, file)).any(|file| command.needs(&file))
        });
        self.due.extend(due.map(|(name, _)| name.clone()));
        sources
    }

    /// Follows what the handlers are built from: their crates and commands.
    pub(super) async fn follow(&mut self, prepared: &Prepared) {
        self.scan().await;
        self.roots.folders.extend(prepared.crates());
        let mut commands = BTreeMap::new();
        for entry in &prepared.manifest.handlers {
            let Some(build) = &entry.build else {
                self.follow_component(entry);
                continue;
            };
            self.roots.without.insert(entry.component.clone());
            if self.commands.get(&entry.name).is_none_or(|command| command.build != *build) {
                self.due.insert(entry.name.clone());
            }
            commands.insert(entry.name.clone(), Command::new(build));
        }
        self.commands = commands;
        self.scan_more().await;
    }

    /// A component that nobody builds is a source, also where git ignores it.
    fn follow_component(&mut self, entry: &Entry) {
        self.roots.without.remove(&entry.component);
        self.roots.files.insert(entry.component.clone());
    }

    /// Follows the files that the handlers were made from. A command that was due and has failed is due again.
    pub(super) async fn built(&mut self, built: &Built, due: &BTreeSet<String>) {
        self.due.extend(built.failures().filter_map(|(name, _)| due.get(name).cloned()));
        if !built.inputs.is_subset(&self.roots.files) {
            self.roots.files.extend(built.inputs.iter().cloned());
            self.scan_more().await;
        }
    }
}

impl Command {
    fn new(build: &Build) -> Self {
        let mut globs = GlobSetBuilder::new();
        // The manifest has been checked, so all of them are valid.
        for glob in build.watch.iter().filter_map(|glob| GlobBuilder::new(glob).literal_separator(true).build().ok()) {
            globs.add(glob);
        }
        let watch = (!build.watch.is_empty()).then(|| globs.build().ok()).flatten();
        Self { build: build.clone(), watch }
    }

    /// Whether it has to run when this file of the handler's folder has changed.
    fn needs(&self, file: &Path) -> bool {
        match &self.watch {
            Some(globs) => globs.is_match(file),
            None => !is_of_node(file),
        }
    }
}

/// Whether a file of a handler's folder is for the node, and not for what builds the handler.
fn is_of_node(file: &Path) -> bool {
    file.starts_with(example::FOLDER_NAME) || file == Path::new(gate::FILE_NAME)
}

/// Whether a file tells Cargo what to build.
fn is_of_cargo(file: &Path) -> bool {
    let names = [FILE_NAME, "Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "config.toml"];
    names.iter().any(|name| file.file_name().is_some_and(|file| file == *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_noticed_without_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let checkout = Checkout { root: folder.path().canonicalize().unwrap() };
        let source = checkout.handlers().join("a/src/lib.rs");
        std::fs::create_dir_all(source.parent().unwrap()).unwrap();
        std::fs::write(&source, "1").unwrap();
        let mut sources = Sources::new(&checkout).await;
        assert!(sources.scan().await.is_empty());
        // Given a watch that reports nothing,
        sources.watch = Watch::of_files();
        std::fs::write(&source, "2").unwrap();
        sources.stirred().await;
        assert_eq!(sources.scan().await, [source].into());
        // A change of sql/ is not one of the handlers' sources.
        sources.changed = false;
        sources.sql_changed = false;
        std::fs::create_dir(checkout.sql()).unwrap();
        std::fs::write(checkout.sql().join("1.sql"), "").unwrap();
        assert!(sources.scan().await.is_empty());
        assert!(sources.sql_changed && !sources.changed);
    }

    #[test]
    fn a_command_depends_on_its_globs_or_on_everything_but_the_examples() {
        let command = |globs: &[&str]| {
            let watch = globs.iter().map(|glob| (*glob).to_owned()).collect();
            Command::new(&Build { command: "make".to_owned(), watch })
        };
        let some = command(&["src/**", "*.json"]);
        for (file, needed) in
            [("src/a/b.js", true), ("package.json", true), ("lib/package.json", false), ("README.md", false)]
        {
            assert_eq!(some.needs(Path::new(file)), needed, "{file}");
        }
        let all = command(&[]);
        assert!(all.needs(Path::new("README.md")) && !all.needs(Path::new("examples/a.json")));
    }
}
