//! Takes an SQL file apart into its statements, as psql does: for the line of one that failed, and to run them one by
//! one where they may not share a transaction.

/// A statement: its text without what is before its first word, and the line of that word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// The statements of a file, without comments between them.
pub(super) fn statements(sql: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut add = |from: usize, to: usize| {
        found.push(Statement { line: line_at(sql, from), text: &sql[from..to] });
    };
    let (mut at, mut begun) = (0, None);
    let mut depth = Depth::default();
    while let Some(&byte) = sql.as_bytes().get(at) {
        let length = token(&sql[at..], at > 0 && is_word(sql.as_bytes()[at - 1]));
        let is_comment = length > 1 && (sql[at..].starts_with("--") || sql[at..].starts_with("/*"));
        match begun {
            Some(from) if byte == b';' && depth.is_outside() => {
                add(from, at);
                (begun, depth) = (None, Depth::default());
            }
            None if byte == b';' || byte.is_ascii_whitespace() || is_comment => {}
            _ => {
                begun = begun.or(Some(at));
                depth.note(&sql[at..at + length]);
            }
        }
        at += length;
    }
    if let Some(from) = begun {
        add(from, sql.len());
    }
    found
}

/// The line of a position, which Postgres counts in characters, from 1.
pub(in crate::database) fn line_of(sql: &str, position: u32) -> usize {
    let byte = sql.char_indices().nth(position.saturating_sub(1) as usize).map_or(sql.len(), |(byte, _)| byte);
    line_at(sql, byte)
}

/// The line of a byte, counted from 1.
fn line_at(sql: &str, byte: usize) -> usize {
    1 + sql.as_bytes()[..byte].iter().filter(|byte| **byte == b'\n').count()
}

/// How deep in parentheses, and in the body of a function that is written without quotes (`BEGIN ATOMIC ... END`).
#[derive(Default)]
struct Depth {
    parentheses: usize,
    begins: usize,
    /// The first words of the statement.
    words: Vec<String>,
}

impl Depth {
    fn is_outside(&self) -> bool {
        self.parentheses == 0 && self.begins == 0
    }

    fn note(&mut self, token: &str) {
        match token {
            "(" => self.parentheses += 1,
            ")" => self.parentheses = self.parentheses.saturating_sub(1),
            _ if token.bytes().all(is_word) => self.word(token.to_ascii_lowercase()),
            _ => {}
        }
    }

    fn word(&mut self, word: String) {
        if self.parentheses == 0 && self.makes_a_routine() {
            match word.as_str() {
                "begin" => self.begins += 1,
                "case" if self.begins > 0 => self.begins += 1,
                "end" => self.begins = self.begins.saturating_sub(1),
                _ => {}
            }
        }
        if self.words.len() < 4 {
            self.words.push(word);
        }
    }

    fn makes_a_routine(&self) -> bool {
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        matches!(
            words[..],
            ["create", "function" | "procedure", ..] | ["create", "or", "replace", "function" | "procedure"]
        )
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The length of the first token: a comment, a quoted text, a word, or a single character.
fn token(text: &str, after_a_word: bool) -> usize {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'-' if text.starts_with("--") => text.find('\n').unwrap_or(text.len()),
        b'/' if text.starts_with("/*") => comment(bytes),
        b'\'' => quoted(bytes, 1, b'\'', false),
        b'"' => quoted(bytes, 1, b'"', false),
        b'e' | b'E' if bytes.get(1) == Some(&b'\'') && !after_a_word => quoted(bytes, 2, b'\'', true),
        b'$' if !after_a_word => dollar_quoted(text),
        byte if is_word(byte) => bytes.iter().position(|byte| !is_word(*byte)).unwrap_or(bytes.len()),
        _ => 1,
    }
}

/// A comment, with those inside of it.
fn comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < bytes.len() {
        match &bytes[at..(at + 2).min(bytes.len())] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

/// A text whose content begins at `at`, with its quotes.
fn quoted(bytes: &[u8], mut at: usize, quote: u8, escapes: bool) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `$tag$ ... $tag$`; the `$` alone when it begins no such text.
fn dollar_quoted(text: &str) -> usize {
    let Some(end) = text[1..].find('$') else { return 1 };
    let tag = &text[..end + 2];
    let name = &tag.as_bytes()[1..=end];
    if !name.iter().all(|byte| is_word(*byte)) || name.first().is_some_and(u8::is_ascii_digit) {
        return 1;
    }
    text[tag.len()..].find(tag).map_or(text.len(), |at| tag.len() + at + tag.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(sql: &str) -> Vec<(usize, &str)> {
        statements(sql).into_iter().map(|Statement { line, text }| (line, text)).collect()
    }

    #[test]
    fn statements_end_at_semicolons_that_are_not_inside_of_anything() {
        let sql = "-- a;\n/* b; /* c; */ */\nSELECT 'x;''y', E'\\';', \";\";\n;\nDO $$ a; $$;\n\n  DO $ü$ $$;$$ $ü$; SELECT 1";
        let expected =
            [(3, "SELECT 'x;''y', E'\\';', \";\""), (5, "DO $$ a; $$"), (7, "DO $ü$ $$;$$ $ü$"), (7, "SELECT 1")];
        assert_eq!(texts(sql), expected);
        assert_eq!(texts(" -- nothing\n;;"), []);
    }

    #[test]
    fn the_body_of_a_function_is_part_of_its_statement() {
        let function = "CREATE OR REPLACE FUNCTION f(x int) RETURNS int BEGIN ATOMIC\n  SELECT 1; SELECT CASE WHEN true THEN 1 END;\nEND";
        assert_eq!(texts(&format!("{function};\nBEGIN; END;")), [(1, function), (4, "BEGIN"), (4, "END")]);
        let rule = "CREATE RULE r AS ON DELETE TO t DO (SELECT 1; SELECT 2)";
        assert_eq!(texts(&format!("{rule};")), [(1, rule)]);
    }

    #[test]
    fn what_is_not_closed_and_what_is_not_a_quote_end_at_the_end() {
        for sql in ["SELECT 'x;", "SELECT \"x;", "SELECT $$x;", "SELECT E'\\", "SELECT (1;"] {
            assert_eq!(texts(sql), [(1, sql)]);
        }
        assert_eq!(texts("SELECT 1 /* x;"), [(1, "SELECT 1 /* x;")]);
        assert_eq!(texts("SELECT $1; SELECT a$b$; SELECT 2"), [(1, "SELECT $1"), (1, "SELECT a$b$"), (1, "SELECT 2")]);
    }

    /// What texts are made of that can be taken apart wrongly.
    const PIECES: &[&str] = &[
        "'",
        "\"",
        "$$",
        "$a$",
        "$",
        "--",
        "/*",
        "*/",
        "\\",
        "E'",
        ";",
        "\n",
        "ü",
        " ",
        "a",
        "1",
        "(",
        ")",
        "CREATE FUNCTION ",
        "BEGIN ",
        "CASE ",
        "END",
    ];

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_statements_follow_each_other(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24),
        ) {
            let sql = pieces.concat();
            let mut rest = sql.as_str();
            for statement in statements(&sql) {
                let at = rest.find(statement.text);
                prop_assert!(at.is_some() && !statement.text.is_empty(), "{sql:?}: {statement:?}");
                rest = &rest[at.unwrap() + statement.text.len()..];
                prop_assert!(statement.line <= sql.matches('\n').count() + 1);
            }
        }
    }
}
