//! The record of one handler, and the file that contains all records.

use std::collections::BTreeMap;

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
    /// The generation that was rolled back, until a newer one follows.
    pub barred: Option<Barred>,
    /// The digests of candidates whose changes were accepted, the newest last.
    #[serde(default)]
    pub accepted: Vec<String>,
    /// When the handler was removed from the manifest, in seconds since 1970.
    pub left: Option<u64>,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its digest, in hexadecimal.
    pub sha256: String,
    /// Its number.
    pub generation: u64,
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
        let marks = [&self.current, &self.proved];
        let known = marks.into_iter().flatten().find(|mark| mark.sha256 == sha256);
        known.map_or(self.last + 1, |mark| mark.generation)
    }

    /// The components that the record names.
    pub(super) fn components(&self) -> impl Iterator<Item = &str> {
        [&self.current, &self.proved].into_iter().flatten().map(|mark| mark.sha256.as_str())
    }
}
