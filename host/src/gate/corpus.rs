//! The recorded requests that are deployed with a handler: `NAME/corpus.jsonl`, a record in each line, as `galo record`
//! writes them.

use std::path::PathBuf;

use crate::manifest::Entry;
use crate::record::{Record, Unreadable};
use crate::{file, limits};

/// The name of the file, in the folder of the handler's name beside the manifest.
pub const FILE_NAME: &str = "corpus.jsonl";

/// The corpus of a handler.
#[derive(Default)]
pub struct Corpus {
    /// Its records.
    pub records: Vec<Record>,
    /// Why the other lines are skipped, one for each.
    pub skipped: Vec<String>,
}

/// The file of a handler's corpus.
pub fn path(entry: &Entry) -> PathBuf {
    entry.folder.join(&entry.name).join(FILE_NAME)
}

impl Corpus {
    /// Reads the corpus of a handler; an empty one if there is none.
    ///
    /// # Errors
    /// What is wrong with the file, and with which line; and whether it may be readable later.
    pub fn read(entry: &Entry) -> Result<Self, (String, bool)> {
        let path = path(entry);
        let shown = entry.shown(&path).display().to_string();
        match file::read(&path, limits::CORPUS_BYTES_MAX) {
            Ok(bytes) => Self::parse(&entry.name, &bytes).map_err(|wrong| (format!("{shown}{wrong}"), false)),
            Err(file::Unreadable::Absent(_)) => Ok(Self::default()),
            Err(error) => Err((format!("{shown}: {error}"), error.may_pass())),
        }
    }

    /// Parses the text of a corpus, of which the records of this handler count.
    fn parse(handler: &str, bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| ": not valid UTF-8".to_owned())?;
        let mut corpus = Self::default();
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() {
                continue;
            }
            if corpus.records.len() + corpus.skipped.len() == limits::CORPUS_RECORDS_MAX {
                let most = limits::CORPUS_RECORDS_MAX;
                return Err(format!(":{number}: more than {most} records; keep the ones that matter"));
            }
            match Record::parse(line) {
                Ok(record) if record.handler == handler => corpus.records.push(record),
                Ok(_) => corpus.skipped.push("of another handler".to_owned()),
                Err(later @ Unreadable::Later { .. }) => corpus.skipped.push(later.to_string()),
                Err(error) => return Err(format!(":{number}: {error}; write the file with `galo record`")),
            }
        }
        Ok(corpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"format":1,"contract":"2.0","handler":"x","generation":1,"sha256":"ab","why":"sampled","request":{"method":"GET","path":"/x","route":"GET /x","body":"","id":"1","now":0},"plan":"reply","response":{"status":200,"body":""},"times":{"read":0,"prepare":0,"wait":0,"database":0,"respond":0,"whole":0}}"#;

    #[test]
    fn lines_are_records_of_the_handler_and_the_first_malformed_one_is_named() {
        let other = LINE.replace("\"x\",\"generation\"", "\"y\",\"generation\"");
        let later = LINE.replace("\"format\":1", "\"format\":99");
        let corpus = Corpus::parse("x", format!("{LINE}\n\n{other}\n{later}\n").as_bytes()).ok().unwrap();
        assert_eq!((corpus.records.len(), corpus.skipped.len()), (1, 2));
        assert!(corpus.skipped[1].contains("format 99"), "{:?}", corpus.skipped);
        let wrong = Corpus::parse("x", format!("{LINE}\n{{}}\n").as_bytes()).err().unwrap();
        assert!(wrong.starts_with(":2: not a record: "), "{wrong}");
        assert_eq!(Corpus::parse("x", &[0xff]).err().unwrap(), ": not valid UTF-8");
        let many = format!("{LINE}\n").repeat(limits::CORPUS_RECORDS_MAX + 1);
        let wrong = Corpus::parse("x", many.as_bytes()).err().unwrap();
        assert!(wrong.contains("more than"), "{wrong}");
    }
}
