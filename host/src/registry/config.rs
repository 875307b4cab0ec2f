//! The `config` of a handler as one generation gets it: the values of the manifest, its secrets read. It is shared by
//! all requests of the generation, and shows no value.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::config::Secrets;
use crate::contract::Field;

/// The values that a generation gets with every request.
#[derive(Clone)]
pub struct Config {
    fields: Arc<[Field]>,
    secrets: Secrets,
}

/// What stands for a secret in a text.
const REDACTED: &str = "(secret)";

impl Config {
    /// Values by name, each with whether it is a secret.
    pub fn new(values: impl IntoIterator<Item = (Field, bool)>) -> Self {
        let (fields, secret): (Vec<Field>, Vec<bool>) = values.into_iter().unzip();
        let hidden = fields.iter().zip(secret).filter(|(_, is)| *is).map(|(field, _)| field.value.as_str());
        Self { secrets: Secrets::new(hidden, REDACTED), fields: fields.into() }
    }

    /// The values, in the order of their names.
    pub fn fields(&self) -> &Arc<[Field]> {
        &self.fields
    }

    /// Its secrets, which must not be shown.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A text of the guest, such as the message of a panic, without the secrets that it was given.
    pub fn redacted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.secrets.redacted(text)
    }
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
    use crate::failure::cut;

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
