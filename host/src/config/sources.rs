//! Where the secrets of a manifest come from: a snapshot of the environment, taken once by `cli`, and files.

use std::collections::BTreeMap;
use std::fmt;

use super::secret::Secret;

/// Where the secrets of a manifest come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The environment of the node.
    pub variables: Variables,
    /// What becomes of a secret that is not there.
    pub missing: Missing,
}

/// What becomes of a secret that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missing {
    /// The manifest is refused, as a node needs its secrets.
    #[default]
    Refused,
    /// It is logged: the handlers are verified where the secrets of the nodes are not.
    Logged,
}

/// The variables of an environment. Any of them may be secret, so none is shown.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, Secret>);

impl Variables {
    /// The variable of this name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables(…)")
    }
}
