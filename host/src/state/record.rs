//! The record of one handler, and the file that contains all records.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

/// The record of one handler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The highest generation number it has had.
    pub last: u64,
    /// The generation that serves.
    pub current: Option<Mark>,
    /// The last proved generation, which a start falls back to.
    pub proved: Option<Mark>,
    /// The generation that was rolled back last, until a newer one follows.
    pub barred: Option<Barred>,
    /// All that are not taken from the handlers folder again, the oldest first. An older file has only `barred`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bars: Vec<Barred>,
    /// The generations that have served, the newest first, kept for `galo rollback --to`.
    #[serde(default)]
    pub history: Vec<Mark>,
    /// The digests of candidates whose changes were accepted, the newest last.
    #[serde(default)]
    pub accepted: Vec<String>,
    /// When the handler was removed from the manifest, in seconds since 1970.
    pub left: Option<u64>,
}

/// What a record is made of.
#[derive(Default)]
pub struct Found {
    /// A record for each handler.
    pub handlers: BTreeMap<String, Record>,
    /// A record for each handler that left the manifest a while ago.
    pub gone: BTreeMap<String, Record>,
    /// The components that must be kept: the digests of all that may serve again.
    pub serving: HashSet<String>,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its digest, in hexadecimal.
    pub sha256: String,
    /// Its number.
    pub generation: u64,
    /// The component of the handlers folder that it was deployed over, in hexadecimal: it serves as long as the folder
    /// holds that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
}

/// A generation that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barred {
    /// Its digest, in hexadecimal.
    pub sha256: String,
    /// Its number.
    pub generation: u64,
    /// The fault that caused the rollback, or who requested it.
    pub cause: String,
    /// The time of the rollback (RFC 3339).
    pub at: String,
    /// As in [`Mark`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
}

/// The format of the file. A change that an older program would misread gets the next number.
pub(super) const FORMAT: u64 = 1;

/// Read first. If the format differs, nothing else is read.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) format: u64,
}

/// The file.
#[derive(Serialize, Deserialize)]
pub(super) struct File {
    pub(super) format: u64,
    pub(super) handlers: BTreeMap<String, Record>,
}

impl Record {
    /// The number of a component: its recorded number if it has one, otherwise the next.
    pub fn number_of(&self, sha256: &str) -> u64 {
        let known = self.marks().find(|mark| mark.sha256 == sha256);
        known.map_or(self.last + 1, |mark| mark.generation)
    }

    /// What was rolled back, each component once.
    pub fn all_barred(&self) -> impl Iterator<Item = &Barred> {
        let known = move |last: &&Barred| self.bars.iter().all(|barred| barred.sha256 != last.sha256);
        self.barred.iter().filter(known).chain(&self.bars)
    }

    /// The rollback of the component with this digest, if it was rolled back.
    pub fn barred_as(&self, sha256: &str) -> Option<&Barred> {
        self.all_barred().find(|barred| barred.sha256 == sha256)
    }

    /// The generation that was deployed over a component of the handlers folder and serves in its place.
    pub fn deployed_over(&self, found: &str) -> Option<&Mark> {
        self.current.as_ref().filter(|mark| mark.over.as_deref() == Some(found))
    }

    /// Over which component the one with this digest was deployed, if it was.
    pub fn over_of(&self, sha256: &str) -> Option<&str> {
        self.current.as_ref().filter(|mark| mark.sha256 == sha256)?.over.as_deref()
    }

    /// The kept generations whose digest begins so.
    pub fn kept<'a>(&'a self, digest: &'a str) -> impl Iterator<Item = &'a Mark> {
        self.history.iter().filter(move |mark| mark.sha256.starts_with(digest))
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        [&self.current, &self.proved].into_iter().flatten().chain(&self.history)
    }

    /// The components that the record names.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.marks().map(|mark| mark.sha256.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_one_rollback_for_each_handler_is_read_as_before() {
        // As it was written before there were several.
        let old = r#"{
          "format": 1,
          "handlers": {
            "x": {
              "last": 3,
              "current": {"sha256": "aa", "generation": 1},
              "proved": {"sha256": "aa", "generation": 1},
              "barred": {"sha256": "cc", "generation": 3, "cause": "asked", "at": "2026-01-01T00:00:00Z"},
              "left": null
            }
          }
        }"#;
        let file: File = serde_json::from_str(old).unwrap();
        let record = &file.handlers["x"];
        let barred: Vec<_> = record.all_barred().map(|barred| barred.sha256.as_str()).collect();
        assert_eq!((barred, record.number_of("aa"), record.number_of("bb")), (vec!["cc"], 1, 4));
        assert!(record.barred_as("cc").is_some_and(|barred| barred.generation == 3 && barred.over.is_none()));
        assert!(record.barred_as("aa").is_none() && record.bars.is_empty());
        // What it has not got is not written.
        let written = serde_json::to_string(record).unwrap();
        assert!(!written.contains("bars") && !written.contains("over"), "{written}");
    }
}
