//! A corpus: records as JSON lines. It is read one line after the other, so that it may be larger than memory, and
//! every mistake is named with its line.

use std::io::{BufRead, Read as _};

use super::format::{Record, Unreadable};
use crate::limits;

/// The name of the corpus of a handler, in a folder of the handler's name beside the manifest.
pub const CORPUS_NAME: &str = "corpus.jsonl";

/// The records of a corpus, each with the number of its line, from 1. It ends after the first mistake.
pub struct Corpus<R> {
    reader: R,
    name: String,
    line: u64,
    text: Vec<u8>,
    is_broken: bool,
}

/// Why a corpus cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}:{line}: {cause}")]
pub struct Broken {
    /// The corpus, as messages name it.
    pub name: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub cause: Wrong,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It is not a record that this program reads.
    #[error("{0}")]
    Unreadable(Unreadable),
    /// It is longer than any record.
    #[error("more than {0} bytes in a line: not a record")]
    TooLong(usize),
    /// It is not a text.
    #[error("not a record: not valid UTF-8")]
    NotText,
    /// It cannot be read.
    #[error("{0}")]
    Failed(std::io::Error),
}

impl<R: BufRead> Corpus<R> {
    /// The corpus that is read from here; messages name it as `name`.
    pub fn new(reader: R, name: &str) -> Self {
        Self { reader, name: name.to_owned(), line: 0, text: Vec::new(), is_broken: false }
    }

    /// The next line that is not blank.
    fn record(&mut self) -> Result<Option<Record>, Wrong> {
        loop {
            self.text.clear();
            self.line += 1;
            let most = limits::RECORD_LINE_BYTES_MAX;
            let mut line = (&mut self.reader).take(most as u64 + 1);
            let read = line.read_until(b'\n', &mut self.text).map_err(Wrong::Failed)?;
            if read == 0 {
                return Ok(None);
            }
            if read > most {
                return Err(Wrong::TooLong(most));
            }
            let text = std::str::from_utf8(&self.text).map_err(|_| Wrong::NotText)?.trim();
            // Editors on Windows begin a file with a byte order mark.
            let text = if self.line == 1 { text.trim_start_matches('\u{feff}') } else { text };
            if !text.is_empty() {
                return Record::parse(text).map(Some).map_err(Wrong::Unreadable);
            }
        }
    }
}

impl<R: BufRead> Iterator for Corpus<R> {
    type Item = Result<(u64, Record), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken {
            return None;
        }
        match self.record() {
            Ok(record) => record.map(|record| Ok((self.line, record))),
            Err(cause) => {
                self.is_broken = true;
                Some(Err(Broken { name: self.name.clone(), line: self.line, cause }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &[u8]) -> String {
        let mut corpus = Corpus::new(text, "c.jsonl");
        let mistake = corpus.find_map(Result::err).map(|broken| broken.to_string()).unwrap_or_default();
        assert!(corpus.next().is_none());
        mistake
    }

    #[test]
    fn a_broken_line_is_named_with_its_number() {
        assert_eq!(mistake(b""), "");
        assert_eq!(mistake(b"\n  \n\r\n"), "");
        // The line is that of the file, and there is one number of a line.
        assert_eq!(mistake(b"\nno record\n"), "c.jsonl:2: not a record: expected ident at column 2");
        assert_eq!(mistake("\u{feff}\r\n{}".as_bytes()), "c.jsonl:2: not a record: missing field `format` at column 2");
        assert!(mistake(b"\n{\"format\":1}\n").starts_with("c.jsonl:2: not a record: missing field"));
        assert!(mistake(b"{\"format\":1").starts_with("c.jsonl:1: not a record: EOF"));
        assert_eq!(
            mistake(b"{\"format\":99}\n"),
            "c.jsonl:1: the record has format 99, this program reads up to 1: use a later galo"
        );
        assert_eq!(mistake(b"\xff\n"), "c.jsonl:1: not a record: not valid UTF-8");
        let long = vec![b'x'; limits::RECORD_LINE_BYTES_MAX + 1];
        assert!(mistake(&long).contains("bytes in a line: not a record"));
    }
}
