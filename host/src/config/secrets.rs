//! Texts that must not be shown, and how they are taken out of another text, in every form in which it may have them.
//! A few are searched one by one, which is the quickest. A request may have hundreds of them, so more are searched
//! together (`needles`).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::needles::Needles;
use crate::failure::cut;
use crate::limits;

/// Texts that must not be shown.
#[derive(Clone)]
pub struct Secrets {
    /// In every form, the longest first.
    forms: Arc<[String]>,
    /// Further forms, where there are many.
    together: Option<Arc<Needles>>,
    /// What stands for them.
    mark: &'static str,
}

impl Secrets {
    /// Secrets that are replaced by `mark`.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>, mark: &'static str) -> Self {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        for text in secrets.into_iter().flat_map(texts) {
            let kind = if text.len() > limits::SECRET_SHORT_BYTES_MAX { &mut long } else { &mut short };
            kind.extend(forms(text).into_iter().filter(|form| !form.is_empty()));
        }
        for forms in [&mut short, &mut long] {
            forms.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
            forms.dedup();
        }
        let many = short.len() + long.len() > limits::SECRET_FORMS_SINGLY_MAX;
        let together = many.then(|| Arc::new(Needles::new(&short)));
        if !many {
            long.append(&mut short);
        }
        Self { forms: long.into(), together, mark }
    }

    /// Whether so many would take too long to look for in every text of a record.
    pub fn are_too_many<'a>(secrets: impl IntoIterator<Item = &'a str>) -> bool {
        let (mut all, mut long) = (0, 0);
        secrets.into_iter().flat_map(texts).any(|text| {
            all += 1;
            long += usize::from(text.len() > limits::SECRET_SHORT_BYTES_MAX);
            all > limits::REDACTED_TEXTS_MAX || long > limits::REDACTED_LONG_TEXTS_MAX
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty() && self.together.is_none()
    }

    /// A text without them. Where they overlap, all of them is replaced once.
    pub fn redacted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for form in self.forms.iter() {
            found.extend(text.match_indices(form.as_str()).map(|(at, _)| at..at + form.len()));
        }
        if let Some(together) = &self.together {
            together.find(text, &mut found);
        }
        // A text that was cut may end within a secret.
        if let Some(kept) = text.strip_suffix('…') {
            let singly = self.forms.iter().filter_map(|form| begins_at_the_end(kept, form));
            let together = self.together.as_ref().and_then(|together| together.begins_at_the_end(kept));
            let together = together.filter(|at| kept[*at..].chars().count() > limits::SECRET_SHOWN_CHARS_MAX);
            found.extend(singly.chain(together).min().map(|at| at..kept.len()));
        }
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
        let (mut without, mut end) = (String::with_capacity(text.len()), 0);
        for range in found {
            // One that begins within the last one is a part of it.
            if range.start >= end {
                without.push_str(&text[end..range.start]);
                without.push_str(self.mark);
            }
            end = end.max(range.end);
        }
        without.push_str(&text[end..]);
        Cow::Owned(without)
    }
}

/// A secret, and each of its lines that is not short.
fn texts(secret: &str) -> impl Iterator<Item = &str> {
    let lines = secret.lines().filter(move |line| line.len() >= limits::SECRET_LINE_BYTES_MIN && *line != secret);
    std::iter::once(secret).chain(lines)
}

/// A text as it is, as the log cleans it, as a debug format and JSON show it, and as a query has it.
fn forms(text: &str) -> [String; 5] {
    let inside = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
    let json = serde_json::Value::from(text).to_string();
    let encoded = utf8_percent_encode(text, ENCODED).to_string();
    [text.to_owned(), cut(text, text.len()), inside(format!("{text:?}")), inside(json), encoded]
}

/// What a query writes as it is (RFC 3986, unreserved); everything else is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a text ends with the beginning of a secret, if that is more than a few characters.
fn begins_at_the_end(text: &str, secret: &str) -> Option<usize> {
    let starts = secret.char_indices().map(|(at, _)| at).skip(limits::SECRET_SHOWN_CHARS_MAX + 1);
    starts.filter(|end| text.ends_with(&secret[..*end])).map(|end| text.len() - end).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_as_json_and_a_query_write_it() {
        let secrets = Secrets::new(["a\"b\u{1}c/d"], "(x)");
        assert_eq!(secrets.redacted(r#"{"key":"a\"b\u0001c/d"}"#), r#"{"key":"(x)"}"#);
        assert_eq!(secrets.redacted("key=a%22b%01c%2Fd&b=1"), "key=(x)&b=1");
        assert_eq!(secrets.redacted("a b"), "a b");
        assert!(Secrets::new([""], "").is_empty());
    }

    #[test]
    fn many_are_found_together_as_a_few_are() {
        let own: Vec<String> = (0..200).map(|number| format!("secret {number} \"ü\"")).collect();
        let long = "long ".repeat(100);
        let with = |all: &[&str]| Secrets::new(all.iter().copied(), "(x)");
        let many: Vec<&str> =
            own.iter().map(String::as_str).chain([long.as_str(), "abcdef", "cdefghi", "efgh"]).collect();
        let (few, many) = (with(&[&own[7], &long, "abcdef", "cdefghi", "efgh"]), with(&many));
        assert!(few.together.is_none() && many.together.is_some());
        let encoded = utf8_percent_encode(&own[7], ENCODED).to_string();
        for (text, expected) in [
            (format!("a {} b", own[7]), "a (x) b"),
            (serde_json::json!({ "key": own[7] }).to_string(), "{\"key\":\"(x)\"}"),
            (format!("key={encoded}&b=1"), "key=(x)&b=1"),
            (format!("<{long}>"), "<(x)>"),
            // Nothing is left of secrets that overlap or lie within each other.
            ("..abcdefghi..efgh.abcdef".to_owned(), "..(x)..(x).(x)"),
            ("abcdefabcdef".to_owned(), "(x)(x)"),
            // A text that was cut.
            ("it is secret 7 \"…".to_owned(), "it is (x)…"),
            ("it is abc…".to_owned(), "it is abc…"),
            ("it is abcd…".to_owned(), "it is (x)…"),
            ("nothing…".to_owned(), "nothing…"),
        ] {
            assert_eq!((few.redacted(&text), many.redacted(&text)), (expected.into(), expected.into()), "{text}");
        }
    }
}
