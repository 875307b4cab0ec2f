//! Saves a recorded request as an example beside the sources of its handler: in `galo dev` only, and only what passes.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::denied::Denied;
use super::{replay, requests};
use crate::admin::Admin;
use crate::config::Readers;
use crate::example::{self, FOLDER_NAME};
use crate::limits;
use crate::record::{Outcome, Record};
use crate::registry::Handler;
use crate::replay as decisions;

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Save {
    pub(in crate::admin) handler: String,
    /// The number of the record.
    pub(in crate::admin) number: u64,
    /// The name of the file, without its ending.
    pub(in crate::admin) name: String,
}

/// An example that was written.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Saved {
    pub(in crate::admin) path: String,
}

/// Whether an example of a handler can be saved here.
pub(in crate::admin) fn may(admin: &Admin, handler: &Handler) -> bool {
    admin.gate.readers == Readers::Loopback && handler.entry.sources.is_some()
}

/// Writes the example.
pub(in crate::admin) fn save(admin: &Admin, asked: &Save) -> Result<Saved, Denied> {
    let record = requests::one(admin, &asked.handler, asked.number)?;
    let table = admin.started()?.registry.table();
    let handler = table.handler(&asked.handler).ok_or_else(|| Denied::missing("no such handler"))?;
    let only = || Denied::new(StatusCode::FORBIDDEN, "examples are saved by `galo dev` only, beside their handler");
    let sources = handler.entry.sources.as_deref().filter(|_| may(admin, handler)).ok_or_else(only)?;
    check_name(&asked.name)?;
    let files = example::files(&handler.entry).map_err(|error| Denied::conflict(format!("{error:#}")))?;
    if files.len() >= limits::EXAMPLES_MAX {
        return Err(Denied::conflict(format!("the handler has {} examples, the most there may be", files.len())));
    }
    let text = text(handler, &record)?;
    let folder = sources.join(FOLDER_NAME);
    let path = folder.join(format!("{}.json", asked.name));
    write(&folder, &path, &text).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Denied::conflict(format!("{} exists already: choose another name", path.display())),
        _ => Denied::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write {}: {error}", path.display())),
    })?;
    Ok(Saved { path: path.display().to_string() })
}

fn check_name(name: &str) -> Result<(), Denied> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let most = limits::EXAMPLE_NAME_MAX;
    if plain && !name.is_empty() && name.len() <= most {
        return Ok(());
    }
    Err(Denied::bad(format!("a name has 1 to {most} letters, digits, `-` and `_`")))
}

/// The example of what the serving component decides, which is what was recorded.
fn text(handler: &Handler, record: &Record) -> Result<String, Denied> {
    decisions::check_signature(&handler.procedures, record).map_err(replay::skipped)?;
    let current = &handler.lineage().current;
    let now = decisions::run(&current.component, record).map_err(replay::skipped)?;
    if record.redacted.is_empty() && decisions::recorded(record) != now {
        let number = current.number;
        let remedy =
            format!("generation {number} decides otherwise than was recorded: replay the request to see where");
        return Err(Denied::conflict(remedy));
    }
    let malformed = |cause: String| Denied::conflict(cause);
    let request = record.request.to_contract().map_err(malformed)?;
    let outcome = record.outcome.as_ref().map(Outcome::to_contract).transpose().map_err(malformed)?;
    example::write(&handler.entry, &current.component, &handler.procedures, &request, outcome.as_ref())
        .map_err(malformed)
}

fn write(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).create(folder)?;
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for good in ["a", "not-found_2", "A1"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "a.json", "a b", "ü", "\0", &"x".repeat(limits::EXAMPLE_NAME_MAX + 1)]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, path) = (folder.path().join("x/examples"), folder.path().join("x/examples/a.json"));
        write(&inside, &path, "1").unwrap();
        assert_eq!(write(&inside, &path, "2").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "1");
    }
}
