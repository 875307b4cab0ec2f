//! The file of the audit log: JSON lines, appended and synced. When it is full it becomes the one before, so it is
//! bounded, and the entries of the last years of most teams are there.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::report::AuditEntry;
use crate::{file, limits};

const NAME: &str = "audit.jsonl";
/// The full one before.
const BEFORE: &str = "audit.1.jsonl";

/// Appends entries. After a power failure a last line may be there in part; the next entry begins a line of its own.
pub(super) fn append(folder: &Path, entries: &[AuditEntry]) -> anyhow::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let path = folder.join(NAME);
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry)?;
        lines.push(b'\n');
    }
    let bytes = fs::metadata(&path).map_or(0, |found| found.len());
    if bytes > 0 && bytes + lines.len() as u64 > limits::AUDIT_BYTES_MAX {
        fs::rename(&path, folder.join(BEFORE)).with_context(|| format!("cannot rename {}", path.display()))?;
    }
    let open = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&path);
    let mut file = open.with_context(|| format!("cannot write {}", path.display()))?;
    if !ends_a_line(&file)? {
        file.write_all(b"\n")?;
    }
    file.write_all(&lines).with_context(|| format!("cannot write {}", path.display()))?;
    file.sync_data()?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn ends_a_line(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// The last entries, the oldest first. A line that is not one is passed over.
pub(super) fn last(folder: &Path, most: usize) -> Vec<AuditEntry> {
    let mut entries = Vec::new();
    for name in [BEFORE, NAME] {
        let bytes = file::read(&folder.join(name), limits::AUDIT_BYTES_MAX * 2).unwrap_or_default();
        entries.extend(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
    }
    entries.split_off(entries.len().saturating_sub(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: usize, bytes: usize) -> AuditEntry {
        AuditEntry {
            at: "2026-01-01T00:00:00.000000Z".to_owned(),
            handler: Some("x".to_owned()),
            event: "live".to_owned(),
            generation: Some(1),
            sha256: Some("ab".repeat(32)),
            who: "ana".to_owned(),
            why: format!("{number} {}", "ß".repeat(bytes)),
        }
    }

    #[test]
    fn entries_are_there_again_also_behind_a_torn_line_and_the_files_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        append(folder.path(), &[entry(1, 0), entry(2, 0)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 9]).unwrap();
        append(folder.path(), &[entry(3, 0)]).unwrap();
        let whys = |most| last(folder.path(), most).into_iter().map(|entry| entry.why).collect::<Vec<_>>();
        assert_eq!(whys(9), ["1 ", "3 "]);
        assert_eq!(whys(1), ["3 "]);
        for number in 4..24 {
            append(folder.path(), &[entry(number, 300_000)]).unwrap();
        }
        let sizes = [NAME, BEFORE].map(|name| fs::metadata(folder.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|bytes| *bytes <= limits::AUDIT_BYTES_MAX), "{sizes:?}");
        assert!(whys(1)[0].starts_with("23 "));
    }
}
