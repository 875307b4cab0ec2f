//! Counts of a comparison: how many records were compared, how many differ, and where. It holds no value of a record,
//! and no name of a member that a client may have chosen: a shadow sees what redaction takes out.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits;
use crate::log::escaped;
use crate::replay::{Difference, grouped};

/// What stands for the paths that are not counted by themselves.
const OTHERS: &str = "(other places)";

/// The counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that were compared.
    pub compared: u64,
    /// Those of them that were decided otherwise.
    pub differ: u64,
    /// Records that could not be compared, by the reason.
    pub skipped: BTreeMap<String, u64>,
    /// In how many records each path differs.
    paths: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a record that was compared.
    pub fn add(&mut self, paths: BTreeSet<String>) {
        self.compared += 1;
        self.differ += u64::from(!paths.is_empty());
        for path in paths {
            count(&mut self.paths, path, limits::GATE_PATHS_MAX);
        }
    }

    /// Counts a record that could not be compared.
    pub fn skip(&mut self, why: String) {
        count(&mut self.skipped, why, limits::GATE_REASONS_MAX);
    }

    /// The paths with their counts, the most frequent first.
    pub fn paths(&self) -> Vec<(String, u64)> {
        let mut paths: Vec<_> = self.paths.iter().map(|(path, count)| (path.clone(), *count)).collect();
        paths.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        paths
    }

    /// The records that could not be compared.
    pub fn skipped(&self) -> u64 {
        self.skipped.values().sum()
    }
}

/// The paths of differences: without the index in a list, and bounded. They name members as a client may have, so that
/// they are compared and not shown.
pub(super) fn paths(differences: &[Difference]) -> BTreeSet<String> {
    differences.iter().map(|difference| general(&difference.path)).collect()
}

/// The same as they are counted and shown.
pub(super) fn places(differences: &[Difference]) -> BTreeSet<String> {
    differences.iter().map(|difference| general(&difference.place)).collect()
}

fn general(path: &str) -> String {
    // The names come from a body: nothing in them may control a terminal.
    let mut general = escaped(&grouped(path));
    if general.len() > limits::GATE_PATH_BYTES_MAX {
        general.truncate(general.floor_char_boundary(limits::GATE_PATH_BYTES_MAX));
        general.push('…');
    }
    general
}

fn count(counts: &mut BTreeMap<String, u64>, what: String, most: usize) {
    let known = counts.contains_key(&what) || counts.len() < most;
    *counts.entry(if known { what } else { OTHERS.to_owned() }).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_counted_without_the_index_and_bounded() {
        let at = |place: &str| {
            let (path, place) = (String::new(), place.to_owned());
            places(&[Difference { path, place, before: 0.into(), after: 1.into() }])
        };
        let mut tally = Tally::default();
        tally.add(BTreeSet::new());
        tally.add(at("response.body.items[3].price"));
        tally.add(at("response.body.items[12].price"));
        tally.add(at("response.sta\ntus2"));
        assert_eq!((tally.compared, tally.differ), (4, 3));
        let named = |path: &str, count| (path.to_owned(), count);
        assert_eq!(tally.paths(), [named("response.body.items[*].price", 2), named("response.sta\\ntus2", 1)]);
        for number in 0..100 {
            tally.add(at(&format!("field{number}")));
        }
        assert_eq!(tally.paths().len(), limits::GATE_PATHS_MAX + 1);
        assert_eq!(tally.paths()[0].0, OTHERS);
        assert!(at(&"x".repeat(1000)).first().unwrap().len() < 200);
    }
}
