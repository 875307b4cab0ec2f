//! The lines of a log that are about one request, whatever its format: those in which its id stands by itself.

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;

use anyhow::Context as _;

use crate::limits;
use crate::log::escaped;

/// Hands each line of a log that is about a request to `show`, fit for a terminal; `-` is stdin.
///
/// # Errors
/// When it cannot be read.
pub fn logged(file: &Path, id: &str, show: impl FnMut(&str)) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", file.display());
    match file.to_str() {
        Some("-") => lines(stdin().lock(), id, show),
        _ => lines(BufReader::new(File::open(file).with_context(unreadable)?), id, show),
    }
    .with_context(unreadable)
}

fn lines(mut log: impl BufRead, id: &str, mut show: impl FnMut(&str)) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        // A longer line goes on as the next one.
        let mut part = std::io::Read::take(&mut log, limits::LOG_LINE_BYTES_READ);
        if part.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        if names(&text, id) {
            show(&escaped(text.trim_end()));
        }
    }
}

/// Whether a text has the id, and not only as a part of a longer one.
fn names(text: &str, id: &str) -> bool {
    let part_of_an_id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !id.is_empty()
        && text
            .match_indices(id)
            .any(|(at, _)| !text[..at].ends_with(part_of_an_id) && !text[at + id.len()..].starts_with(part_of_an_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_request_are_found_in_both_formats() {
        let log =
            b"request_id=\"a-1\" x\n{\"request_id\":\"a-1\"}\nrequest_id=\"a-12\"\nb-a-1 \xff\nrequest_id=a-1 \x1b[2J";
        let mut shown = Vec::new();
        lines(&log[..], "a-1", |line| shown.push(line.to_owned())).unwrap();
        assert_eq!(shown, ["request_id=\"a-1\" x", "{\"request_id\":\"a-1\"}", "request_id=a-1 \\u{1b}[2J"]);
        lines(&log[..], "", |line| panic!("{line}")).unwrap();
    }
}
