//! Checks at the start that the process may open as many files as its connections and handlers need. Otherwise the
//! limit would only show when a client cannot be accepted.

use anyhow::{Context as _, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Settings;
use crate::limits;

/// Raises the process's limit of open files as far as allowed, and compares it with what the node may need.
///
/// # Errors
/// When the limit is too low. The message has the needed number of files and a remedy.
pub fn provide(settings: &Settings, handlers: usize) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read RLIMIT_NOFILE")?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise RLIMIT_NOFILE")?;
    }
    fit(settings, handlers, usize::try_from(hard).unwrap_or(usize::MAX))
}

fn fit(settings: &Settings, handlers: usize, files_max: usize) -> anyhow::Result<()> {
    let others = others(settings, handlers);
    let needed = settings.connections_max.saturating_add(others);
    let connections = match files_max.saturating_sub(others) {
        0 => String::new(),
        fitting => format!(", or lower --connections-max to {fitting}"),
    };
    ensure!(
        needed <= files_max,
        "{} client connections and {others} other files need {needed} file descriptors, and the process may have \
         {files_max} (RLIMIT_NOFILE): raise the limit, for example with `ulimit -n {needed}`{connections}",
        settings.connections_max
    );
    Ok(())
}

/// All files except the connections of clients.
fn others(settings: &Settings, handlers: usize) -> usize {
    // Besides connections for calls, there are connections for batches, probes and the catalogue.
    let database = settings.pool_connections + limits::BATCH_CONNECTIONS_MAX + 2;
    limits::FILES_RESERVED + limits::ADMIN_CONNECTIONS_MAX + database + handlers * limits::FILES_PER_HANDLER
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::Address;

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let nowhere = Address::Unix(PathBuf::new());
        let settings = Settings::new(PathBuf::new(), nowhere.clone(), nowhere);
        let others = others(&settings, 2);
        assert!(fit(&settings, 2, settings.connections_max + others).is_ok());
        let told = fit(&settings, 2, settings.connections_max + others - 1).unwrap_err().to_string();
        assert!(told.ends_with(&format!("lower --connections-max to {}", settings.connections_max - 1)), "{told}");
        let told = fit(&settings, 2, 40).unwrap_err().to_string();
        assert!(told.contains("may have 40 ") && told.ends_with('`'), "{told}");
        assert!(fit(&settings, 4096, usize::MAX).is_ok());
    }
}
