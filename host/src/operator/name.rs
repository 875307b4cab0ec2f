//! The names of handlers that an operator gives.

use anyhow::ensure;

use crate::log::escaped;

/// Checks a name, which becomes part of a path. A manifest has the same rule.
pub(super) fn check(name: &str) -> anyhow::Result<()> {
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.chars().all(well_formed),
        "invalid handler name `{}`: use letters, digits, `-` and `_`",
        escaped(name)
    );
    Ok(())
}
