//! Finds psql: the one in PATH, or the one beside an installed server.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::account::Account;
use super::{binaries, download};

/// The path of psql.
///
/// # Errors
/// When none is installed, with the remedy.
pub fn psql() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    folders.extend(binaries::candidates(&download::cache(Account::Own).context("cannot search for psql")?));
    match folders.into_iter().map(|folder| folder.join("psql")).find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => bail!(
            "psql is not installed; install it (Debian and Ubuntu: apt install postgresql-client, Fedora: dnf install \
             postgresql, macOS: brew install libpq && brew link --force libpq), or use another client"
        ),
    }
}
