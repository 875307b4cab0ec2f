//! The files that handlers are made from, as they are at one moment. Two such moments are compared by content, so a
//! file that was only touched has not changed, and one that went back in time has.
//!
//! What git ignores is left out, and so are folders that tools write to. A link to a folder is followed only inside the
//! project.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ignore::gitignore::Gitignore;
use ignore::{DirEntry, WalkBuilder};

use crate::guest::Digest;
use crate::limits;

/// Folders that tools write to, whether git ignores them or not.
const MADE: &[&str] = &["target", "node_modules", ".galo", ".git"];

/// What is followed.
#[derive(Debug, Clone, Default)]
pub(super) struct Roots {
    /// The folder of the project.
    pub(super) project: PathBuf,
    /// Folders, with everything in them.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Files, also those that git ignores.
    pub(super) files: BTreeSet<PathBuf>,
    /// Files that are not followed: what a build writes.
    pub(super) without: BTreeSet<PathBuf>,
}

/// Files and folders at one moment.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<PathBuf, Seen>,
    folders: BTreeSet<PathBuf>,
    /// There are more files than are followed.
    pub(super) truncated: bool,
}

/// Device, inode, size and times of change.
type Stat = (u64, u64, u64, i64, i64, i64, i64);

#[derive(Debug, Clone, Copy)]
struct Seen {
    stat: Stat,
    /// Of its content, unless it is large.
    digest: Option<Digest>,
}

impl Tree {
    /// Looks at everything. A file that is as it was is not read again.
    pub(super) fn scan(roots: &Roots, before: &Self) -> Self {
        let (ignored, _) = Gitignore::new(roots.project.join(".gitignore"));
        let mut tree = Self::default();
        let mut left: Vec<_> = roots.folders.iter().cloned().collect();
        while let Some(folder) = left.pop() {
            if !tree.folders.contains(&folder) {
                left.extend(tree.walk(&folder, roots, &ignored, before));
            }
        }
        for file in &roots.files {
            tree.add(file.clone(), before);
            tree.folders.extend(file.parent().filter(|folder| folder.is_dir()).map(Path::to_path_buf));
        }
        tree
    }

    /// Adds a folder. Returns the folders of the project that links in it lead to.
    fn walk(&mut self, folder: &Path, roots: &Roots, ignored: &Gitignore, before: &Self) -> Vec<PathBuf> {
        let mut links = Vec::new();
        let mut walk = WalkBuilder::new(folder);
        walk.standard_filters(false).hidden(true).ignore(true).git_ignore(true).require_git(false).follow_links(false);
        let (top, rules) = (folder.to_owned(), ignored.clone());
        walk.filter_entry(move |entry| entry.path() == top || !is_left_out(entry, &rules));
        for entry in walk.build().flatten() {
            if self.files.len() >= limits::SOURCES_MAX {
                self.truncated = true;
                break;
            }
            let path = entry.path().to_owned();
            if entry.path_is_symlink() && path.is_dir() {
                links.extend(fs::canonicalize(&path).ok().filter(|target| leads_inside(target, roots)));
            } else if entry.file_type().is_some_and(|kind| kind.is_dir()) {
                self.folders.insert(path);
            } else if !roots.without.contains(&path) {
                self.add(path, before);
            }
        }
        links
    }

    fn add(&mut self, path: PathBuf, before: &Self) {
        let Ok(found) = fs::metadata(&path) else { return };
        if found.is_file() {
            let seen = Seen::of(&path, &found, before.files.get(&path));
            self.files.insert(path, seen);
        }
    }

    /// The files that differ from an earlier moment.
    pub(super) fn changed_since(&self, before: &Self) -> BTreeSet<PathBuf> {
        let changed = self.files.iter().filter(|(path, seen)| !before.files.get(*path).is_some_and(|old| old.is(seen)));
        let gone = before.files.keys().filter(|path| !self.files.contains_key(*path));
        changed.map(|(path, _)| path).chain(gone).cloned().collect()
    }

    /// Whether a file is there.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.files.contains_key(file)
    }

    /// The folders to watch.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.folders.iter().cloned().collect()
    }
}

impl Seen {
    fn of(path: &Path, found: &Metadata, before: Option<&Self>) -> Self {
        let times = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
        let stat = (found.dev(), found.ino(), found.len(), times.0, times.1, times.2, times.3);
        if let Some(before) = before.filter(|before| before.stat == stat) {
            return *before;
        }
        let small = found.len() <= limits::SOURCE_BYTES_MAX;
        let digest = small.then(|| fs::read(path).ok()).flatten().map(|bytes| Digest::of(&bytes));
        Self { stat, digest }
    }

    /// Whether it has the same content.
    fn is(&self, other: &Self) -> bool {
        match (self.digest, other.digest) {
            (Some(one), Some(other)) => one == other,
            _ => self.stat == other.stat,
        }
    }
}

/// Whether a file or folder is not a source: what tools make, an editor's copy, or what git ignores.
fn is_left_out(entry: &DirEntry, ignored: &Gitignore) -> bool {
    let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
    let name = entry.file_name().as_encoded_bytes();
    is_folder && MADE.iter().any(|made| made.as_bytes() == name)
        || !is_folder && name.ends_with(b"~")
        || ignored.matched(entry.path(), is_folder).is_ignore()
}

/// Whether a link may be followed to a folder: a source folder of the project, and not one above what is followed.
fn leads_inside(target: &Path, roots: &Roots) -> bool {
    let Ok(inside) = target.strip_prefix(&roots.project) else { return false };
    let made = |part: std::path::Component<'_>| MADE.iter().any(|made| part.as_os_str() == *made);
    !inside.components().any(made) && !roots.folders.iter().any(|folder| folder.starts_with(target))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn project() -> (tempfile::TempDir, Roots) {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().canonicalize().unwrap();
        fs::create_dir_all(project.join("handlers/a/src")).unwrap();
        fs::write(project.join("handlers/a/src/lib.rs"), "1").unwrap();
        let roots = Roots { folders: [project.join("handlers")].into(), project, ..Roots::default() };
        (folder, roots)
    }

    fn names(tree: &Tree, roots: &Roots) -> Vec<String> {
        let short = |path: &PathBuf| path.strip_prefix(&roots.project).unwrap().display().to_string();
        tree.files.keys().map(short).collect()
    }

    #[test]
    fn only_another_content_is_a_change_also_an_older_one() {
        let (_folder, roots) = project();
        let lib = roots.project.join("handlers/a/src/lib.rs");
        let first = Tree::scan(&roots, &Tree::default());
        fs::write(&lib, "1").unwrap();
        let second = Tree::scan(&roots, &first);
        assert!(second.changed_since(&first).is_empty());
        // An older file of the same size takes its place.
        let old = roots.project.join("old");
        fs::write(&old, "0").unwrap();
        let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options().append(true).open(&old).unwrap().set_modified(past).unwrap();
        fs::rename(&old, &lib).unwrap();
        let third = Tree::scan(&roots, &second);
        assert_eq!(third.changed_since(&second), [lib.clone()].into());
        fs::remove_file(&lib).unwrap();
        assert_eq!(Tree::scan(&roots, &third).changed_since(&third), [lib].into());
    }

    #[test]
    fn what_tools_write_and_git_ignores_is_left_out_unless_it_is_named() {
        let (_folder, mut roots) = project();
        for (path, text) in [
            (".gitignore", "*.log\n/handlers/a/gen/\n"),
            ("handlers/b/.gitignore", "out.js\n"),
            ("handlers/b/out.js", ""),
            ("handlers/b/in.js", ""),
            ("handlers/b/b.wasm", ""),
            ("handlers/b/node_modules/x/index.js", ""),
            ("handlers/a/target/x", ""),
            ("handlers/a/gen/x.rs", ""),
            ("handlers/a/x.log", ""),
            ("handlers/a/src/lib.rs~", ""),
            ("handlers/a/src/.lib.rs.swp", ""),
        ] {
            fs::create_dir_all(roots.project.join(path).parent().unwrap()).unwrap();
            fs::write(roots.project.join(path), text).unwrap();
        }
        roots.without.insert(roots.project.join("handlers/b/b.wasm"));
        let tree = Tree::scan(&roots, &Tree::default());
        assert_eq!(names(&tree, &roots), ["handlers/a/src/lib.rs", "handlers/b/in.js"]);
        assert!(!tree.folders().iter().any(|folder| folder.ends_with("node_modules") || folder.ends_with("gen")));
        roots.files.insert(roots.project.join("handlers/a/gen/x.rs"));
        assert!(names(&Tree::scan(&roots, &tree), &roots).contains(&"handlers/a/gen/x.rs".to_owned()));
    }

    #[test]
    fn a_link_is_followed_inside_the_project_and_not_out_of_it() {
        let (_folder, roots) = project();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret.rs"), "").unwrap();
        fs::create_dir(roots.project.join("shared")).unwrap();
        fs::write(roots.project.join("shared/money.rs"), "").unwrap();
        let handler = roots.project.join("handlers/a");
        symlink(outside.path(), handler.join("outside")).unwrap();
        symlink("../../shared", handler.join("shared")).unwrap();
        symlink("..", handler.join("loop")).unwrap();
        symlink("/", handler.join("everything")).unwrap();
        let tree = Tree::scan(&roots, &Tree::default());
        assert_eq!(names(&tree, &roots), ["handlers/a/src/lib.rs", "shared/money.rs"]);
        assert!(tree.folders().iter().all(|folder| folder.starts_with(&roots.project)));
    }
}
