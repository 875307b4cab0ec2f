//! The recorded requests that are deployed with a handler: `NAME/corpus.jsonl`, a record in each line, as `galo record`
//! writes them.

use std::path::PathBuf;

use crate::file::Unreadable;
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
}

/// The file of a handler's corpus, in the folder of the handler's name beside the manifest.
pub fn path(entry: &Entry) -> PathBuf {
    entry.folder.join(&entry.name).join(CORPUS_NAME)
}

impl Deployed {
    /// Reads the corpus of a handler; an empty one if there is none.
    ///
    /// # Errors
    /// What is wrong with the file, and with which line; and whether it may be readable later.
    pub fn read(entry: &Entry) -> Result<Self, (String, bool)> {
        let path = path(entry);
        let shown = entry.shown(&path).display().to_string();
        match file::read(&path, limits::CORPUS_BYTES_MAX) {
            Ok(bytes) => Self::parse(&entry.name, &shown, &bytes).map_err(|wrong| (wrong, false)),
            Err(Unreadable::Absent(_)) => Ok(Self::default()),
            Err(error) => Err((format!("{shown}: {error}"), error.may_pass())),
        }
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
        Ok(deployed)
    }
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
        let many = format!("{LINE}\n").repeat(limits::CORPUS_RECORDS_MAX + 1);
        assert!(wrong(&many).contains("more than"));
    }
}
