//! Reads what a manifest only names: the secrets of a handler's `config`, and the keys that tokens are verified with.
//! No message about them contains a value.

use std::path::{Path, PathBuf};

use crate::config::{Missing, Secret, Sources};
use crate::contract::Field;
use crate::file::{self, Unreadable};
use crate::limits;
use crate::manifest::{ConfigValue, Entry, KeyPlace, Manifest, Mistake, Place, Text, TokenEntry};
use crate::registry::{Config, Refusal, Stage};
use crate::token::{Keys, Verifier};

/// Why something is not read, and whether it may be readable later.
struct Unread {
    text: String,
    passing: bool,
}

impl Unread {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), passing: false }
    }

    fn file(path: &Path, error: &Unreadable) -> Self {
        Self { text: format!("the file {}: {error}", path.display()), passing: error.may_pass() }
    }
}

/// The config of a handler. All values that cannot be read are reported together.
pub(super) fn config(entry: &Entry, sources: &Sources) -> Result<Config, Refusal> {
    let (mut values, mut unread) = (Vec::new(), Vec::new());
    for ConfigValue { name, value } in &entry.config {
        let field = |value| Field { name: name.clone(), value };
        match value {
            Text::Plain(text) => values.push((field(text.clone()), false)),
            Text::Secret(place) => match secret(place, sources) {
                Ok(secret) => values.push((field(secret.expose().to_owned()), true)),
                Err(cause) if sources.missing == Missing::Logged => {
                    tracing::warn!("{}: config: `{name}`: {}; a node needs it", entry.name, cause.text);
                    values.push((field(String::new()), true));
                }
                Err(cause) => unread.push((name, cause)),
            },
        }
    }
    let bytes: usize = values.iter().map(|(field, _)| field.name.len() + field.value.len()).sum();
    if let Some(most) = Some(limits::CONFIG_BYTES_MAX).filter(|most| bytes > *most) {
        let text = format!("config: with its secrets it has {bytes} bytes: {most} are allowed");
        return Err(Refusal::new(Stage::Config, text));
    }
    if unread.is_empty() {
        return Ok(Config::new(values));
    }
    let texts: Vec<_> = unread.iter().map(|(name, cause)| format!("config: `{name}`: {}", cause.text)).collect();
    let refusal = Refusal::new(Stage::Config, texts.join("\n"));
    Err(Refusal { passing: unread.iter().any(|(_, cause)| cause.passing), ..refusal })
}

/// What verifies the tokens of clients, as the section `[token]` has it. `None` without the secret where a missing one
/// is logged.
pub(super) fn token(entry: &TokenEntry, sources: &Sources) -> Result<Option<Verifier>, Mistake> {
    let verifier = || {
        let policy = entry.policy.clone();
        let keys = match &entry.keys {
            KeyPlace::Jwks(path) => {
                let text =
                    file::read(path, limits::TOKEN_KEYS_BYTES_MAX).map_err(|error| Unread::file(path, &error))?;
                Keys::public(&text).map_err(|wrong| Unread::new(format!("the file {}: {wrong}", path.display())))?
            }
            KeyPlace::Secret(place) => {
                let secret = match secret(place, sources) {
                    Err(cause) if sources.missing == Missing::Logged => {
                        tracing::warn!("[token]: {}; a node needs it", cause.text);
                        return Ok(None);
                    }
                    secret => secret?,
                };
                let keys = Keys::shared(&secret, &policy.algorithms);
                keys.map_err(|wrong| Unread::new(format!("{place}: {wrong}")))?
            }
        };
        Verifier::new(policy, keys).map(Some).map_err(Unread::new)
    };
    verifier().map_err(|cause: Unread| {
        let mistake = Mistake::new(Some(entry.line), format!("[token]: {}", cause.text));
        Mistake { outside: cause.passing, ..mistake }
    })
}

/// The file of the keys, if they are in one.
pub(super) fn keys_file(manifest: &Manifest) -> Option<PathBuf> {
    match &manifest.token.as_ref()?.keys {
        KeyPlace::Jwks(path) | KeyPlace::Secret(Place::File(path)) => Some(path.clone()),
        KeyPlace::Secret(Place::Variable(_)) => None,
    }
}

fn secret(place: &Place, sources: &Sources) -> Result<Secret, Unread> {
    match place {
        Place::File(path) => {
            let bytes = file::read(path, limits::SECRET_BYTES_MAX).map_err(|error| Unread::file(path, &error))?;
            let text = String::from_utf8(bytes).map_err(|_| Unread::new(format!("{place}: not valid UTF-8")))?;
            let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
            if text.is_empty() { Err(Unread::new(format!("{place} is empty"))) } else { Ok(Secret::new(text)) }
        }
        Place::Variable(name) => match sources.variables.get(name) {
            Some(secret) if !secret.expose().is_empty() => Ok(secret.clone()),
            Some(_) => Err(Unread::new(format!("{place} is empty; set it in the environment of the node"))),
            None => Err(Unread::new(format!("{place} is not set; set it in the environment of the node"))),
        },
    }
}
