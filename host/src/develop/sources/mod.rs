//! The sources of a project as `galo dev` and `galo test --watch` follow them: what there is, what has changed, and
//! which handlers' build commands have to run because of it.
//!
//! The kernel's events only cause a scan. One that gets lost, or that the kernel does not give (its limits are reached,
//! a network folder), costs two seconds.

mod outputs;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use self::outputs::Outputs;
use self::tree::{Roots, Tree};
use crate::develop::build::{Built, Prepared, Project};
use crate::gate::ACCEPTED_NAME;
use crate::manifest::{Build, Entry, FILE_NAME};
use crate::record::CORPUS_NAME;
use crate::reload::Watch;
use crate::{example, limits};

/// What sources are followed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve the handlers. A change of `sql/` is one of its own, which needs no build.
    Serve,
    /// To test them. A change of `sql/` is one like any other, and so is one of a crate that only tests use.
    Test,
}

/// The sources of a project.
pub(super) struct Sources {
    project: Project,
    purpose: Purpose,
    watch: Watch,
    roots: Roots,
    tree: Arc<Tree>,
    outputs: Outputs,
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
    pub(super) async fn new(project: &Project, purpose: Purpose) -> Self {
        let root = &project.root;
        let roots = Roots {
            project: root.clone(),
            folders: [project.handlers(), root.join("wit"), project.sql()].into(),
            files: [FILE_NAME, "Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"]
                .map(|name| root.join(name))
                .into(),
            without: BTreeSet::new(),
        };
        let mut sources = Self {
            project: project.clone(),
            purpose,
            watch: Watch::of_files(),
            roots,
            tree: Arc::default(),
            outputs: Outputs::default(),
            commands: BTreeMap::new(),
            changed: true,
            sql_changed: purpose == Purpose::Serve,
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
        let is_apart = |file: &PathBuf| self.purpose == Purpose::Serve && file.starts_with(self.project.sql());
        let (sql, mut sources): (BTreeSet<_>, BTreeSet<_>) = changed.partition(is_apart);
        self.sql_changed |= !sql.is_empty();
        let handlers = self.project.handlers();
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

    /// Does not follow a file that is written with every build.
    pub(super) fn leave_out(&mut self, file: PathBuf) {
        self.roots.without.insert(file);
    }

    /// Waits, while nothing is built, until something has changed.
    pub(super) async fn change(&mut self) {
        while !self.changed && !self.sql_changed {
            self.stirred().await;
            let files = self.scan().await;
            self.outputs.changed_between(&files);
        }
    }

    /// Begins a build: what has changed up to here is part of it.
    pub(super) async fn begin(&mut self) {
        self.scan().await;
        self.changed = false;
    }

    /// Waits for a build. `None` when a source has changed so that it starts over: then the caller stops it.
    pub(super) async fn during<T>(&mut self, build: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        loop {
            tokio::select! {
                built = &mut *build => return Some(built),
                () = self.stirred() => {
                    let files = self.scan().await;
                    if self.outputs.changed(&files) {
                        return None;
                    }
                }
            }
        }
    }

    /// Notes that a build has ended, or was stopped. `changed` says whether another one is necessary.
    pub(super) async fn ended(&mut self, stopped: bool) {
        if !stopped {
            // A file that was written last; it may make another build necessary.
            let files = self.scan().await;
            self.outputs.changed(&files);
        }
        let (again, written) = self.outputs.ended();
        for file in written {
            tracing::warn!("{} changes with every build, so it does not cause another one", file.display());
        }
        self.changed = !again.is_empty();
    }

    /// Follows what the handlers are built from: their crates and commands.
    pub(super) async fn follow(&mut self, prepared: &Prepared) {
        self.scan().await;
        self.roots.folders.extend(match self.purpose {
            Purpose::Serve => prepared.crates(),
            Purpose::Test => prepared.crates_of_tests(),
        });
        // A start that lacks one of them waits for it.
        self.roots.files.extend(prepared.manifest.files().cloned());
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
    file.starts_with(example::FOLDER_NAME) || [CORPUS_NAME, ACCEPTED_NAME].iter().any(|name| file == Path::new(name))
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
        let project = Project { root: folder.path().canonicalize().unwrap() };
        let mut all = Sources::new(&project, Purpose::Test).await;
        let source = project.handlers().join("a/src/lib.rs");
        std::fs::create_dir_all(source.parent().unwrap()).unwrap();
        std::fs::write(&source, "1").unwrap();
        let mut sources = Sources::new(&project, Purpose::Serve).await;
        assert!(sources.scan().await.is_empty());
        // Given a watch that reports nothing,
        sources.watch = Watch::of_files();
        std::fs::write(&source, "2").unwrap();
        sources.stirred().await;
        assert_eq!(sources.scan().await, [source].into());
        // A change of sql/ is not one of the handlers' sources.
        sources.changed = false;
        sources.sql_changed = false;
        std::fs::create_dir(project.sql()).unwrap();
        std::fs::write(project.sql().join("1.sql"), "").unwrap();
        assert!(sources.scan().await.is_empty());
        assert!(sources.sql_changed && !sources.changed);
        // Unless it counts as one.
        all.changed = false;
        assert!(all.scan().await.contains(&project.sql().join("1.sql")));
        assert!(all.changed && !all.sql_changed);
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
