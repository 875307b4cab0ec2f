//! The files that a component was made from, as Cargo lists them beside it; and which of them have gone back in time.
//!
//! Cargo compares times of modification: it does not see a file that was replaced by an older one (`cp -p`, `mv`,
//! unpacking an archive), and would hand out a component of code that is no longer there. The time of the change of the
//! inode cannot be set, so it betrays such a file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When this process began to compile each component. The file's own time is that of the end of the build, and a source
/// may have been replaced in between.
static COMPILED: Mutex<BTreeMap<PathBuf, SystemTime>> = Mutex::new(BTreeMap::new());

/// Notes that a component was compiled by a build that began then.
pub(super) fn compiled(component: &Path, begun: SystemTime) {
    COMPILED.lock().unwrap_or_else(PoisonError::into_inner).insert(component.to_owned(), begun);
}

/// The sources of a component that were replaced by older files since it was compiled.
pub(super) fn outdated(component: &Path, inputs: &[PathBuf]) -> Vec<PathBuf> {
    let noted = COMPILED.lock().unwrap_or_else(PoisonError::into_inner).get(component).copied();
    let written = || fs::metadata(component).and_then(|found| found.modified()).ok();
    let Some(since) = noted.or_else(written) else { return Vec::new() };
    inputs.iter().filter(|input| went_back(input, since)).cloned().collect()
}

/// Whether a file was replaced since then by one that is older.
fn went_back(file: &Path, since: SystemTime) -> bool {
    let Ok(found) = fs::metadata(file) else { return false };
    let nanoseconds = u32::try_from(found.ctime_nsec()).unwrap_or_default();
    let changed = UNIX_EPOCH + Duration::new(u64::try_from(found.ctime()).unwrap_or_default(), nanoseconds);
    changed > since && found.modified().is_ok_and(|modified| modified <= since)
}

/// The local files that a component was made from, build scripts and path dependencies included.
pub(super) fn of(component: &Path) -> Vec<PathBuf> {
    fs::read_to_string(component.with_extension("d")).map(|text| parse(&text)).unwrap_or_default()
}

/// Parses a rule as `make` has it: `target: file file`, where a space in a name is written `\ `.
fn parse(text: &str) -> Vec<PathBuf> {
    let rule = text.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, files)| files);
    let mut files = vec![String::new()];
    let mut characters = rule.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next_if_eq(&' ').is_some() => files.last_mut().into_iter().for_each(|f| f.push(' ')),
            ' ' => files.push(String::new()),
            other => files.last_mut().into_iter().for_each(|file| file.push(other)),
        }
    }
    files.into_iter().filter(|file| !file.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_rule_are_read_with_their_spaces() {
        let files =
            parse("/t/a.wasm: /p/a b/src/lib.rs /p/build.rs\n\n/p/build.rs:\n".replace("a b", "a\\ b").as_str());
        assert_eq!(files, [Path::new("/p/a b/src/lib.rs"), Path::new("/p/build.rs")]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn a_file_that_is_replaced_by_an_older_one_is_outdated_and_a_saved_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [old, source, component] = ["old", "source", "component"].map(|name| folder.path().join(name));
        fs::write(&old, "old").unwrap();
        let past = SystemTime::now() - Duration::from_secs(3600);
        fs::File::options().append(true).open(&old).unwrap().set_modified(past).unwrap();
        fs::write(&source, "new").unwrap();
        fs::write(&component, "").unwrap();
        // The kernel's clock for files has ticks of some milliseconds.
        let tick = || std::thread::sleep(Duration::from_millis(20));
        let outdated = || outdated(&component, std::slice::from_ref(&source));
        assert!(outdated().is_empty());
        tick();
        fs::rename(&old, &source).unwrap();
        assert_eq!(outdated(), std::slice::from_ref(&source));
        // Compiled again, it is up to date; and one that is saved is for Cargo to see.
        tick();
        compiled(&component, SystemTime::now());
        assert!(outdated().is_empty());
        tick();
        fs::write(&source, "newer").unwrap();
        assert!(outdated().is_empty());
    }
}
