//! The contract of `wit/handler.wit` as Rust types. Generated, except for the request: the WIT file is where it is
//! documented and changed.
//!
//! The types are owned, and the functions take them by reference, so one request can be handed to a guest twice.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use wasmtime::component::{ComponentType, Lower};

#[expect(missing_docs, reason = "generated; the WIT file documents every item")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "handler",
        additional_derives: [PartialEq],
    });
}

pub use generated::HandlerPre;
pub use generated::galo::handler::types::{
    Call, DatabaseError, Field, Level, Line, Outcome, Plan, Response, Rows, Value,
};

/// One HTTP request. It is not the generated type: what many requests have in common is shared, not copied.
#[derive(Debug, Clone, PartialEq, ComponentType, Lower)]
#[component(record)]
#[expect(missing_docs, reason = "the WIT file documents every field")]
pub struct Request {
    pub method: String,
    pub path: String,
    pub route: Arc<str>,
    pub parameters: Vec<Field>,
    pub query: Option<String>,
    pub headers: Vec<Field>,
    pub body: Vec<u8>,
    pub id: String,
    pub now: i64,
    pub config: Arc<[Field]>,
    pub claims: Option<String>,
}

impl Request {
    /// The same request with another config: that of the generation that is called.
    pub fn under(&self, config: &Arc<[Field]>) -> Cow<'_, Self> {
        match Arc::ptr_eq(&self.config, config) {
            true => Cow::Borrowed(self),
            false => Cow::Owned(Self { config: Arc::clone(config), ..self.clone() }),
        }
    }
}

/// The one instance a handler may import without a grant, before its version: it holds types, no function.
pub const TYPES_INSTANCE: &str = "galo:handler/types@";

/// The version of the contract. A test holds it against the WIT file.
pub const VERSION: Version = Version { major: 2, minor: 0 };

/// A version of the contract, as far as it matters: a patch changes only the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Changes when components that are built already must be built again.
    pub major: u32,
    /// Changes when components built for it may need a newer host.
    pub minor: u32,
}

impl Version {
    /// Parses `2.0.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.splitn(3, '.');
        let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        numbers.next()?.bytes().next().filter(u8::is_ascii_digit)?;
        Some(Self { major, minor })
    }

    /// Whether a component built for this version can be called by this host.
    pub fn is_served(self) -> bool {
        self.major == VERSION.major && self.minor.cmp(&VERSION.minor).is_le()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_contract() {
        let wit = include_str!("../../wit/handler.wit");
        let written = wit.lines().find_map(|line| line.strip_prefix("package galo:handler@")).unwrap();
        assert_eq!(Version::parse(written.trim_end_matches(';')), Some(VERSION));
    }

    #[test]
    fn earlier_minor_versions_are_served() {
        for (text, served) in [
            ("2.0.0", true),
            ("2.0.7", true),
            ("2.0.1-rc.1", true),
            ("2.1.0", false),
            ("1.0.0", false),
            ("3.0.0", false),
        ] {
            assert_eq!(Version::parse(text).map(Version::is_served), Some(served), "{text}");
        }
        for text in ["", "2", "2.0", "2.0.", "2.x.0", "a.b.c"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
