//! The `config` of a handler as one generation gets it: the values of the manifest, its secrets read. It is shared by
//! all requests of the generation, and shows no value.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::contract::Field;

/// The values that a generation gets with every request.
#[derive(Clone)]
pub struct Config {
    fields: Arc<[Field]>,
    /// Which of them are secrets, by their places.
    secrets: Arc<[usize]>,
}

/// What stands for a secret in a text.
const REDACTED: &str = "(secret)";

impl Config {
    /// Values by name, each with whether it is a secret.
    pub fn new(values: impl IntoIterator<Item = (Field, bool)>) -> Self {
        let (fields, secret): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        let secrets = secret.into_iter().enumerate().filter_map(|(place, is)| is.then_some(place));
        Self { secrets: secrets.collect(), fields: fields.into() }
    }

    /// The values, in the order of their names.
    pub fn fields(&self) -> &Arc<[Field]> {
        &self.fields
    }

    /// A text of the guest, such as the message of a panic, without the secrets that it was given.
    pub fn redacted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let secrets = self.secrets.iter().map(|place| self.fields[*place].value.as_str());
        secrets.fold(Cow::Borrowed(text), |text, secret| match text.contains(secret) && !secret.is_empty() {
            true => Cow::Owned(text.replace(secret, REDACTED)),
            false => text,
        })
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
