//! The keys that a node trusts, and where they must not lie.

use std::sync::Arc;

use crate::config::{Settings, StateFolder};
use crate::trust::Trust;

/// The keys of which one must have signed what serves. They must not lie where those lie that they protect against.
pub(super) fn trusted(settings: &Settings) -> anyhow::Result<Option<Arc<Trust>>> {
    let Some(path) = &settings.trust else { return Ok(None) };
    let trust = Trust::read(path)?;
    trust.outside_of(&settings.handlers)?;
    if let StateFolder::Required(folder) | StateFolder::Preferred(folder) = &settings.state {
        trust.outside_of(folder)?;
    }
    Ok(Some(Arc::new(trust)))
}
