//! Texts that must not be shown, and how they are taken out of another text, in every form in which it may have them.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::failure::cut;
use crate::limits;

/// Texts that must not be shown.
#[derive(Clone)]
pub struct Secrets {
    /// In every form, the longest first.
    forms: Arc<[String]>,
    /// What stands for them.
    mark: &'static str,
}

impl Secrets {
    /// Secrets that are replaced by `mark`.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>, mark: &'static str) -> Self {
        let mut forms: Vec<String> = secrets.into_iter().flat_map(forms).collect();
        // One that begins with another one is replaced as a whole.
        forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
        Self { forms: forms.into(), mark }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// A text without them.
    pub fn redacted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mark = self.mark;
        // A text that was cut may end within a secret.
        let cut = text.strip_suffix('…').and_then(|kept| {
            let at = self.forms.iter().filter_map(|secret| begins_at_the_end(kept, secret)).min()?;
            Some(format!("{}{mark}…", &kept[..at]))
        });
        let text = cut.map_or(Cow::Borrowed(text), Cow::Owned);
        self.forms.iter().fold(text, |text, secret| match text.contains(secret.as_str()) {
            true => Cow::Owned(text.replace(secret.as_str(), mark)),
            false => text,
        })
    }
}

/// A secret as it is, as the log cleans it, as a debug format and JSON show it, and as a query has it; and each of its
/// lines.
fn forms(secret: &str) -> Vec<String> {
    let lines = secret.lines().filter(|line| line.len() >= limits::SECRET_LINE_BYTES_MIN);
    let texts = std::iter::once(secret).chain(lines);
    let forms = texts.flat_map(|text| {
        let inside = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
        let json = serde_json::Value::from(text).to_string();
        let encoded = utf8_percent_encode(text, ENCODED).to_string();
        [text.to_owned(), cut(text, text.len()), inside(format!("{text:?}")), inside(json), encoded]
    });
    forms.filter(|form| !form.is_empty()).collect()
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
}
