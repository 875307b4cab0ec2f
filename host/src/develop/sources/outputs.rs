//! Tells what a build writes beside its sources from what a person saves while it runs. A build that writes a source (a
//! generated file) must not start over because of it, and a change that a person saves must not be lost.
//!
//! A file starts the build over once. When it changes during the next build as well, that build is completed, and
//! followed by another one. A file that has changed in several builds in a row, and never between two of them, is
//! written by the build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::limits::OUTPUT_BUILDS;

/// The files that have changed during the last builds.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// In how many builds in a row, up to the last one.
    builds: BTreeMap<PathBuf, u32>,
    /// During the build under way.
    now: BTreeSet<PathBuf>,
}

impl Outputs {
    /// Notes what has changed during the build under way. Returns whether it starts over.
    pub(super) fn changed(&mut self, files: &BTreeSet<PathBuf>) -> bool {
        let is_new = |file: &PathBuf| !self.builds.contains_key(file) && !self.now.contains(file);
        let starts_over = files.iter().any(is_new);
        self.now.extend(files.iter().cloned());
        starts_over
    }

    /// Notes what has changed while nothing was built: somebody else has written it.
    pub(super) fn changed_between(&mut self, files: &BTreeSet<PathBuf>) {
        self.builds.retain(|file, _| !files.contains(file));
    }

    /// Notes that the build has ended, or was stopped. Returns the files that make another build necessary, and those
    /// that have just proved to be written by the build.
    pub(super) fn ended(&mut self) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        let before = std::mem::take(&mut self.builds);
        for file in std::mem::take(&mut self.now) {
            let builds = 1 + before.get(&file).copied().unwrap_or_default();
            self.builds.insert(file, builds);
        }
        let select = |wanted: fn(u32) -> bool| {
            self.builds.iter().filter(|(_, builds)| wanted(**builds)).map(|(file, _)| file.clone()).collect()
        };
        (select(|builds| builds < OUTPUT_BUILDS), select(|builds| builds == OUTPUT_BUILDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_file_that_every_build_writes_starts_it_over_once_and_is_an_output_after_a_few() {
        let (mut outputs, generated) = (Outputs::default(), files(&["generated.rs"]));
        let mut builds = 0;
        let written = loop {
            builds += 1;
            assert_eq!(outputs.changed(&generated), builds == 1);
            let (again, written) = outputs.ended();
            if again.is_empty() {
                break written;
            }
        };
        assert_eq!((builds, written), (OUTPUT_BUILDS, generated.clone()));
        // From then on it costs nothing.
        for _ in 0..3 {
            assert!(!outputs.changed(&generated));
            assert_eq!(outputs.ended(), (files(&[]), files(&[])));
        }
    }

    #[test]
    fn what_a_person_saves_during_builds_is_always_built() {
        let (mut outputs, lib) = (Outputs::default(), files(&["lib.rs"]));
        assert!(outputs.changed(&lib));
        assert_eq!(outputs.ended().0, lib);
        // Saved again during the second build, which is completed and followed by a third.
        assert!(!outputs.changed(&lib));
        assert_eq!(outputs.ended().0, lib);
        // Another file starts that one over at once.
        assert!(outputs.changed(&files(&["other.rs"])));
        outputs.ended();
        // Nothing changes during the last one, so all is forgotten.
        assert_eq!(outputs.ended(), (files(&[]), files(&[])));
        assert!(outputs.changed(&lib));
        // A file that changes between builds is not written by them.
        outputs.ended();
        outputs.changed_between(&lib);
        assert!(outputs.changed(&lib));
    }
}
