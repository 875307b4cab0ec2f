//! The names of members of JSON documents that are a handler's own: those in its examples, and in the paths of its
//! manifest. Any other may be a client's data, such as the customer in `{"balances":{"ana":5}}`, and is shown nowhere
//! that a record is not.

use std::collections::HashSet;

use serde_json::Value as Json;

use crate::limits;

/// What stands for the name of a member that is not known.
pub const UNNAMED: &str = "*";

/// The names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members(HashSet<String>);

impl Members {
    /// Adds a name.
    pub fn add(&mut self, name: &str) {
        if self.0.len() < limits::MEMBERS_MAX && !self.0.contains(name) {
            self.0.insert(name.to_owned());
        }
    }

    /// Adds the names of all members of a document, also those of a document in a text of it.
    pub fn add_all(&mut self, json: &Json) {
        match json {
            Json::Object(members) => members.iter().for_each(|(name, member)| {
                self.add(name);
                self.add_all(member);
            }),
            Json::Array(elements) => elements.iter().for_each(|element| self.add_all(element)),
            Json::String(text) if text.starts_with(['{', '[']) => {
                if let Ok(inside) = serde_json::from_str::<Json>(text) {
                    self.add_all(&inside);
                }
            }
            _ => {}
        }
    }

    /// Adds all of others.
    pub fn extend(&mut self, others: &Self) {
        others.0.iter().for_each(|name| self.add(name));
    }

    /// Whether a member of this name is a handler's own.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_document_are_known_at_any_depth() {
        let mut members = Members::default();
        members.add_all(&serde_json::json!({ "a": [{ "b": 1 }], "c": "{\"d\":{\"e\":1}}", "f": "{not json" }));
        assert!(["a", "b", "c", "d", "e", "f"].iter().all(|name| members.has(name)) && !members.has("not json"));
        (0..=limits::MEMBERS_MAX).for_each(|number| members.add(&number.to_string()));
        assert!(!members.has(&limits::MEMBERS_MAX.to_string()));
    }
}
