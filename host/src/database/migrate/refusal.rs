//! What refinery refuses of the files, with the remedy; several refusals are one text.

use std::path::Path;

use anyhow::anyhow;
use refinery_core::error::Kind;
use refinery_core::{Error, Migration};

use super::files::{Files, MIGRATIONS};

/// A file that refinery refuses: what is wrong with it, and what to do.
#[derive(Debug)]
pub(super) struct Refusal {
    what: String,
    remedy: String,
    /// Whether the remedy gives the file another version.
    renumbers: bool,
}

impl Refusal {
    /// What comes after these. `None` if it is not about a file.
    pub(super) fn of(error: &Error, files: &Files, folder: &Path, before: &[Self]) -> Option<Self> {
        let folder = folder.join(MIGRATIONS);
        let path = |migration: &Migration| folder.join(format!("{migration}.sql"));
        let next = files.version().unwrap_or_default().saturating_add(1);
        // Each of several files gets a version of its own.
        let free = (next..).nth(before.iter().filter(|refusal| refusal.renumbers).count())?;
        let (what, remedy, renumbers) = match error.kind() {
            Kind::DivergentVersion(applied, found) if applied.name() == found.name() => (
                format!("{}: it was changed after it was applied{}", path(found).display(), moment(applied)),
                format!(
                    "restore the text that was applied (git checkout), and write the change as a new migration, \
                     V{next}__name.sql. In development, `galo dev --fresh` discards the data and applies all of them"
                ),
                false,
            ),
            Kind::DivergentVersion(applied, found) => (
                format!(
                    "{}: version {} was applied{} under another name, {applied}.sql",
                    path(found).display(),
                    applied.version(),
                    moment(applied)
                ),
                format!("restore that file, and give this one the next version, V{free}__{}.sql", found.name()),
                true,
            ),
            Kind::MissingVersion(applied) if applied.applied_on().is_some() => (
                format!("{}: it was applied{}, but the file is missing", path(applied).display(), moment(applied)),
                "restore it (git checkout), or use the files of the version that the database belongs to".to_owned(),
                false,
            ),
            Kind::MissingVersion(found) => (
                format!("{}: it is not applied, but a later version is", path(found).display()),
                format!("give it the next version, V{free}__{}.sql", found.name()),
                true,
            ),
            _ => return None,
        };
        Some(Self { what, remedy, renumbers })
    }

    /// One line for each. A remedy that several have in a row is written once, after the last of them.
    pub(super) fn list(refusals: &[Self]) -> String {
        let mut text = String::new();
        for (at, Self { what, remedy, .. }) in refusals.iter().enumerate() {
            text += what;
            match refusals.get(at + 1) {
                Some(next) if next.remedy == *remedy => text += "\n",
                Some(_) => text += &format!("; {remedy}\n"),
                None => text += &format!("; {remedy}"),
            }
        }
        text
    }
}

/// What refinery refuses, with the remedy.
pub(super) fn refused(error: &Error, files: &Files, folder: &Path) -> anyhow::Error {
    match Refusal::of(error, files, folder, &[]) {
        Some(refusal) => anyhow!(Refusal::list(&[refusal])),
        None => failed(error),
    }
}

/// An error that is not about a file.
pub(super) fn failed(error: &Error) -> anyhow::Error {
    match error.kind() {
        Kind::Connection(..) => anyhow!("{}", innermost(error)),
        _ => anyhow!("{error}"),
    }
}

/// The cause of an error that refinery has wrapped, perhaps twice.
fn innermost<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// When a migration was applied, for a message: ` on 2026-03-01 12:00:00`.
pub(super) fn moment(migration: &Migration) -> String {
    let Some(at) = migration.applied_on() else { return String::new() };
    format!(" on {} {:02}:{:02}:{:02} UTC", at.date(), at.hour(), at.minute(), at.second())
}
