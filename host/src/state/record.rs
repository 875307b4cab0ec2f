//! What is remembered of one handler, and the file that all of it is in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is remembered of one handler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The highest number that a generation of it had.
    pub last: u64,
    /// The generation that serves.
    pub current: Option<Mark>,
    /// The last one that was proved, which a start falls back on.
    pub proved: Option<Mark>,
    /// The one that was rolled back, while that is not followed by another.
    pub barred: Option<Barred>,
    /// When it left the manifest, in seconds since 1970.
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
    /// What it did, or who asked.
    pub cause: String,
    /// When, RFC 3339.
    pub at: String,
}

/// The format of the file. A change that an older program would misread gets the next number.
pub(super) const FORMAT: u64 = 1;

/// Read first: of another format nothing else is looked at.
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
    /// The number of a component: its own when it has one, else the next.
    pub fn number_of(&self, sha256: &str) -> u64 {
        let marks = [&self.current, &self.proved];
        let known = marks.into_iter().flatten().find(|mark| mark.sha256 == sha256);
        known.map_or(self.last + 1, |mark| mark.generation)
    }

    /// The components that it names.
    pub(super) fn components(&self) -> impl Iterator<Item = &str> {
        [&self.current, &self.proved].into_iter().flatten().map(|mark| mark.sha256.as_str())
    }
}
