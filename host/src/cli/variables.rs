//! The environment of the process, taken once. A manifest may name any of its variables as the place of a secret.

use galo::config::Variables;

/// The variables now. One that is not UTF-8 cannot be a secret of a manifest.
pub(super) fn snapshot() -> Variables {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}
