//! The `config` of a handler as one generation gets it: the values of the manifest, its secrets read. It is shared by
//! all requests of the generation, and shows no value.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::contract::Field;
use crate::failure::cut;
use crate::limits;

/// The values that a generation gets with every request.
#[derive(Clone)]
pub struct Config {
    fields: Arc<[Field]>,
    /// The secrets, in every form in which a text may have them, the longest first.
    secrets: Arc<[String]>,
}

/// What stands for a secret in a text.
const REDACTED: &str = "(secret)";

impl Config {
    /// Values by name, each with whether it is a secret.
    pub fn new(values: impl IntoIterator<Item = (Field, bool)>) -> Self {
        let (fields, secret): (Vec<Field>, Vec<bool>) = values.into_iter().unzip();
        let hidden = fields.iter().zip(secret).filter(|(_, is)| *is).map(|(field, _)| field.value.as_str());
        let mut secrets: Vec<String> = hidden.flat_map(forms).collect();
        // One that begins with another one is replaced as a whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets: secrets.into(), fields: fields.into() }
    }

    /// The values, in the order of their names.
    pub fn fields(&self) -> &Arc<[Field]> {
        &self.fields
    }

    /// A text of the guest, such as the message of a panic, without the secrets that it was given.
    pub fn redacted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        // A text that was cut may end within a secret.
        let cut = text.strip_suffix('…').and_then(|kept| {
            let at = self.secrets.iter().filter_map(|secret| begins_at_the_end(kept, secret)).min()?;
            Some(format!("{}{REDACTED}…", &kept[..at]))
        });
        let text = cut.map_or(Cow::Borrowed(text), Cow::Owned);
        self.secrets.iter().fold(text, |text, secret| match text.contains(secret.as_str()) {
            true => Cow::Owned(text.replace(secret.as_str(), REDACTED)),
            false => text,
        })
    }
}

/// A secret as it is, as the log cleans it, and as a debug format shows it; and each of its lines.
fn forms(secret: &str) -> Vec<String> {
    let lines = secret.lines().filter(|line| line.len() >= limits::SECRET_LINE_BYTES_MIN);
    let texts = std::iter::once(secret).chain(lines);
    let forms = texts.flat_map(|text| {
        let debug = format!("{text:?}");
        [text.to_owned(), cut(text, text.len()), debug[1..debug.len() - 1].to_owned()]
    });
    forms.filter(|form| !form.is_empty()).collect()
}

/// Where a text ends with the beginning of a secret, if that is more than a few characters.
fn begins_at_the_end(text: &str, secret: &str) -> Option<usize> {
    let starts = secret.char_indices().map(|(at, _)| at).skip(limits::SECRET_SHOWN_CHARS_MAX + 1);
    starts.filter(|end| text.ends_with(&secret[..*end])).map(|end| text.len() - end).min()
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fields, &other.fields) || self.fields == other.fields
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|field| &field.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_out_in_every_form_that_a_log_line_may_give_it() {
        let field = |value: &str| (Field { name: "key".to_owned(), value: value.to_owned() }, true);
        let pem = "-----BEGIN KEY-----\r\nMIIEvQIBADANBg\r\n}\r\n";
        let config = Config::new([field(pem), field("abc"), field("abcdef")]);
        for text in [format!("key {pem}"), format!("key {pem:?}"), format!("key {}", cut(pem, 99))] {
            let shown = config.redacted(&text);
            assert!(shown.contains(REDACTED) && !shown.contains("MIIE") && !shown.contains("BEGIN"), "{shown}");
        }
        assert_eq!(config.redacted("abcdef"), REDACTED);
        assert_eq!(config.redacted("the key is abcde…"), "the key is (secret)…");
        assert_eq!(config.redacted("the line MIIEvQ…"), "the line (secret)…");
        assert_eq!(config.redacted("nothing…"), "nothing…");
    }

    #[test]
    fn a_config_shows_no_value_and_takes_its_secrets_out_of_texts() {
        let field = |name: &str, value: &str| Field { name: name.to_owned(), value: value.to_owned() };
        let values = [(field("currency", "BRL"), false), (field("key", "hunter2"), true), (field("none", ""), true)];
        let config = Config::new(values.clone());
        assert_eq!(format!("{config:?}"), r#"["currency", "key", "none"]"#);
        assert_eq!(config.redacted("no hunter2 in BRL"), "no (secret) in BRL");
        assert_eq!(config, Config::new(values.clone()));
        assert_ne!(config, Config::new(values.into_iter().take(2)));
    }
}
