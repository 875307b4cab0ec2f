//! The section `[token]` of a manifest: how tokens of clients are verified. Which algorithms are accepted is written
//! out, and a shared secret goes with HMAC only, so that no token can choose how it is verified.

use std::path::Path;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::config::place;
use super::entry::{KeyPlace, TokenEntry};
use crate::token::{Algorithm, Policy};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenTable {
    jwks: Option<String>,
    /// Not read as a table: a message about a secret that is written here would quote it.
    secret: Option<Spanned<Value>>,
    algorithms: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    audiences: Vec<Spanned<String>>,
    issuer: Option<Spanned<String>>,
}

/// The algorithms that go with a shared secret, and those that go with public keys.
const SHARED: [&str; 3] = ["HS256", "HS384", "HS512"];
const PUBLIC: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

impl TokenTable {
    /// The section, which begins at `start`; each mistake is noted with its place in the text.
    pub(super) fn entry(
        &self,
        folder: &Path,
        (start, line): (usize, usize),
        mistake: &mut dyn FnMut(usize, String),
    ) -> Option<TokenEntry> {
        let keys = match (&self.jwks, &self.secret) {
            (Some(file), None) => Some(KeyPlace::Jwks(folder.join(file))),
            (None, Some(secret)) => match place(secret.get_ref(), folder) {
                Ok(place) => Some(KeyPlace::Secret(place)),
                Err(wrong) => {
                    mistake(secret.span().start, format!("[token]: secret: {wrong}"));
                    None
                }
            },
            _ => {
                let text = "[token]: one of `jwks = \"FILE\"` and `secret = { file = \"PATH\" }` is required";
                mistake(start, text.to_owned());
                None
            }
        };
        let algorithms = self.algorithms(mistake);
        for name in self.audiences.iter().chain(&self.issuer).filter(|name| name.get_ref().is_empty()) {
            mistake(name.span().start, "[token]: an audience or issuer is not empty".to_owned());
        }
        let policy = Policy {
            algorithms,
            audiences: self.audiences.iter().map(|name| name.get_ref().clone()).collect(),
            issuer: self.issuer.as_ref().map(|name| name.get_ref().clone()),
        };
        Some(TokenEntry { keys: keys?, policy, line })
    }

    fn algorithms(&self, mistake: &mut dyn FnMut(usize, String)) -> Vec<Algorithm> {
        let (ours, others, source, other) = match self.secret {
            Some(_) => (&SHARED[..], &PUBLIC[..], "secret", "jwks"),
            None => (&PUBLIC[..], &SHARED[..], "jwks", "secret"),
        };
        if self.algorithms.get_ref().is_empty() {
            mistake(self.algorithms.span().start, format!("[token]: name an algorithm: {}", ours.join(", ")));
        }
        let mut algorithms = Vec::new();
        for name in self.algorithms.get_ref() {
            let (word, start) = (name.get_ref().as_str(), name.span().start);
            match word.parse::<Algorithm>() {
                Ok(algorithm) if ours.contains(&word) => algorithms.push(algorithm),
                _ if others.contains(&word) => {
                    mistake(
                        start,
                        format!("[token]: {word} goes with `{other}`; with `{source}`: {}", ours.join(", ")),
                    );
                }
                _ if word.eq_ignore_ascii_case("none") => {
                    mistake(start, "[token]: an unsigned token proves nothing, so `none` is not accepted".to_owned());
                }
                _ => {
                    mistake(start, format!("[token]: unknown algorithm `{word}`, expected one of {}", ours.join(", ")));
                }
            }
        }
        algorithms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Claims, Place, parse};

    const HANDLER: &str = "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a\"\n";

    fn parsed(section: &str, more: &str) -> Result<(Option<TokenEntry>, Claims), String> {
        let text = format!("[token]\n{section}\n{HANDLER}{more}");
        let manifest = parse(Path::new("h/galo.toml"), &text).map_err(|refused| refused.to_string())?;
        Ok((manifest.token, manifest.handlers[0].claims))
    }

    #[test]
    fn a_section_names_keys_algorithms_audiences_and_issuer() {
        let text = "jwks = \"keys.json\"\nalgorithms = [\"ES256\", \"EdDSA\"]\naudiences = [\"shop\"]\nissuer = \"id\"";
        let (token, claims) = parsed(text, "claims = \"required\"").unwrap();
        let token = token.unwrap();
        assert_eq!(token.keys, KeyPlace::Jwks("h/keys.json".into()));
        assert_eq!(token.policy.algorithms, [Algorithm::ES256, Algorithm::EdDSA]);
        assert_eq!((token.policy.audiences, token.policy.issuer), (vec!["shop".to_owned()], Some("id".to_owned())));
        assert_eq!((token.line, claims), (1, Claims::Required));
        let text = "secret = { variable = \"SHOP_SECRET\" }\nalgorithms = [\"HS256\"]";
        let (token, claims) = parsed(text, "claims = \"optional\"").unwrap();
        assert_eq!(token.unwrap().keys, KeyPlace::Secret(Place::Variable("SHOP_SECRET".to_owned())));
        assert_eq!(claims, Claims::Optional);
    }

    #[test]
    fn a_section_that_leaves_a_way_open_is_refused_with_the_remedy() {
        let hs256 = "algorithms = [\"HS256\"]";
        for (section, reported) in [
            (hs256, "h/galo.toml:1: [token]: one of `jwks = \"FILE\"` and `secret = { file = \"PATH\" }` is required"),
            ("jwks = \"a\"", "h/galo.toml:1: missing field `algorithms`"),
            ("jwks = \"a\"\nalgorithms = []", "h/galo.toml:3: [token]: name an algorithm: RS256, "),
            ("jwks = \"a\"\nalgorithms = [\"none\"]", "h/galo.toml:3: [token]: an unsigned token proves nothing"),
            (
                "jwks = \"a\"\nalgorithms = [\"HS256\"]",
                "h/galo.toml:3: [token]: HS256 goes with `secret`; with `jwks`: ",
            ),
            (
                "jwks = \"a\"\nalgorithms = [\"ES512\"]",
                "h/galo.toml:3: [token]: unknown algorithm `ES512`, expected one",
            ),
            (
                "secret = { file = \"a\" }\nalgorithms = [\"RS256\"]",
                "h/galo.toml:3: [token]: RS256 goes with `jwks`; with `secret`: HS256, HS384, HS512",
            ),
            (
                "secret = \"hunter2\"\nalgorithms = [\"HS256\"]",
                "h/galo.toml:2: [token]: secret: a secret is not written",
            ),
            ("secret = { file = \"\" }\nalgorithms = [\"HS256\"]", "h/galo.toml:2: [token]: secret: a secret is not"),
            (
                "secret = { path = \"hunter2\" }\nalgorithms = [\"HS256\"]",
                "h/galo.toml:2: [token]: secret: a secret is",
            ),
            (
                "jwks = \"a\"\nalgorithms = [\"ES256\"]\nissuer = \"\"",
                "h/galo.toml:4: [token]: an audience or issuer is",
            ),
        ] {
            let found = parsed(section, "").unwrap_err();
            assert!(found.starts_with(reported), "{section}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
        let without = parse(Path::new("h/galo.toml"), &format!("{HANDLER}claims = \"required\"")).unwrap_err();
        assert!(
            without.to_string().starts_with("h/galo.toml:5: claims: the manifest has no section [token]"),
            "{without}"
        );
    }
}
