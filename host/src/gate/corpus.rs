//! What is deployed with a handler for its gate: its recorded requests, `NAME/corpus.jsonl`, a record in each line, as
//! `galo record` writes them; and `NAME/accepted.txt`, the digests of components that may decide otherwise on them, for
//! who has no running node to accept them: `galo check`, `galo put`, and a node that starts.

use std::path::{Path, PathBuf};

use crate::file::Unreadable;
use crate::guest::Digest;
use crate::manifest::Entry;
use crate::record::{CORPUS_NAME, Corpus, Record};
use crate::{file, limits};

/// The recorded requests of a handler.
#[derive(Default)]
pub struct Deployed {
    /// Those of the handler.
    pub records: Vec<Record>,
    /// How many are of other handlers.
    pub others: usize,
    /// The beginnings of the digests of the components whose differences are accepted.
    accepted: Vec<String>,
}

/// The name of the file of accepted digests, beside the corpus.
pub const ACCEPTED_NAME: &str = "accepted.txt";

/// The file of a handler's corpus, in the folder of the handler's name beside the manifest.
pub fn path(entry: &Entry) -> PathBuf {
    entry.folder.join(&entry.name).join(CORPUS_NAME)
}

/// The file of the digests that are accepted, beside the corpus.
pub fn accepted_path(entry: &Entry) -> PathBuf {
    path(entry).with_file_name(ACCEPTED_NAME)
}

impl Deployed {
    /// Reads the corpus of a handler, an empty one if there is none, and what is accepted.
    ///
    /// # Errors
    /// What is wrong with a file, and with which line; and whether it may be readable later.
    pub fn read(entry: &Entry) -> Result<Self, (String, bool)> {
        let read = |path: &Path, most| {
            let shown = entry.shown(path).display().to_string();
            match file::read(path, most) {
                Ok(bytes) => Ok((shown, Some(bytes))),
                Err(Unreadable::Absent(_)) => Ok((shown, None)),
                Err(error) => Err((format!("{shown}: {error}"), error.may_pass())),
            }
        };
        let mut deployed = match read(&path(entry), limits::CORPUS_BYTES_MAX)? {
            (shown, Some(bytes)) => Self::parse(&entry.name, &shown, &bytes).map_err(|wrong| (wrong, false))?,
            (_, None) => Self::default(),
        };
        if let (shown, Some(bytes)) = read(&accepted_path(entry), limits::ACCEPTED_BYTES_MAX)? {
            deployed.accepted = digests(&shown, &bytes).map_err(|wrong| (wrong, false))?;
        }
        Ok(deployed)
    }

    /// Whether what this component decides otherwise is accepted.
    pub fn accepts(&self, digest: Digest) -> bool {
        let digest = digest.to_string();
        self.accepted.iter().any(|beginning| digest.starts_with(beginning))
    }

    fn parse(handler: &str, shown: &str, bytes: &[u8]) -> Result<Self, String> {
        let mut deployed = Self::default();
        for record in Corpus::new(bytes, shown) {
            let (line, record) = record.map_err(|broken| format!("{broken}; write it with `galo record`"))?;
            if deployed.records.len() + deployed.others == limits::CORPUS_RECORDS_MAX {
                let most = limits::CORPUS_RECORDS_MAX;
                return Err(format!("{shown}:{line}: more than {most} records; keep those that matter"));
            }
            match record.handler == handler {
                true => deployed.records.push(record),
                false => deployed.others += 1,
            }
        }
        if deployed.records.is_empty() {
            let others = match deployed.others {
                0 => String::new(),
                others => format!(", and {others} of other handlers"),
            };
            return Err(format!(
                "{shown}: no record of `{handler}`{others}: write it with `galo record --handler {handler}`, or remove \
                 the file"
            ));
        }
        Ok(deployed)
    }
}

/// The digests of a file: one at the beginning of each line, and behind it why, if it says so.
fn digests(shown: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).enumerate();
    let digests = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(index, line)| {
        let digest = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        let is_digest =
            digest.bytes().all(|byte| byte.is_ascii_hexdigit()) && digest.len() >= limits::ACCEPT_DIGITS_MIN;
        let least = limits::ACCEPT_DIGITS_MIN;
        let wrong = || format!("{shown}:{}: a line begins with {least} or more digits of a digest", index + 1);
        is_digest.then_some(digest).ok_or_else(wrong)
    });
    digests.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"format":1,"contract":"2.0","handler":"x","generation":1,"sha256":"ab","why":"sampled","request":{"method":"GET","path":"/x","route":"GET /x","body":"","id":"1","now":0},"plan":"reply","response":{"status":200,"body":""},"times":{"read":0,"prepare":0,"wait":0,"database":0,"respond":0,"whole":0}}"#;

    #[test]
    fn lines_are_records_of_the_handler_and_the_first_malformed_one_is_named() {
        let parse = |text: &str| Deployed::parse("x", "x/corpus.jsonl", text.as_bytes());
        let other = LINE.replace("\"handler\":\"x\"", "\"handler\":\"y\"");
        let deployed = parse(&format!("{LINE}\n\n{other}\n")).ok().unwrap();
        assert_eq!((deployed.records.len(), deployed.others), (1, 1));
        let wrong = |text: &str| parse(text).err().unwrap();
        assert!(wrong(&format!("{LINE}\n{{}}\n")).starts_with("x/corpus.jsonl:2: not a record: "));
        assert!(wrong(&LINE.replace("\"format\":1", "\"format\":99")).contains("format 99"));
        // A corpus that proves nothing is a mistake.
        assert_eq!(wrong("\n").split(": write").next().unwrap(), "x/corpus.jsonl: no record of `x`");
        let others = wrong(&format!("{other}\n{other}\n"));
        assert!(others.contains("no record of `x`, and 2 of other handlers: write it with `galo record"), "{others}");
        let many = format!("{LINE}\n").repeat(limits::CORPUS_RECORDS_MAX + 1);
        assert!(wrong(&many).contains("more than"));
    }

    #[test]
    fn digests_that_are_accepted_are_the_beginnings_of_lines() {
        let digest = Digest::of(b"x");
        let whole = digest.to_string();
        let accepts = |text: &str| {
            let accepted = digests("x/accepted.txt", text.as_bytes()).unwrap();
            Deployed { accepted, ..Deployed::default() }.accepts(digest)
        };
        assert!(accepts(&format!("# why\n\n{whole}\r\n")) && accepts(&format!("\u{feff}{} ana: #12", &whole[..12])));
        assert!(!accepts("") && !accepts("0123456789ab"));
        let wrong = digests("x/accepted.txt", b"\nabc\n").unwrap_err();
        assert_eq!(wrong, "x/accepted.txt:2: a line begins with 6 or more digits of a digest");
    }
}
