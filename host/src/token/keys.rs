//! The keys that tokens are verified with: a shared secret, or a set of public keys (JWKS, RFC 7517). A key that is of
//! no use here is passed over; one that is malformed makes the set malformed.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};

use super::{Refused, signature};
use crate::config::Secret;
use crate::limits;

/// The keys of a node.
#[derive(Debug, PartialEq)]
pub struct Keys(Vec<Key>);

/// One key.
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// The algorithms that a shared secret verifies, each with the bytes that the secret must have (RFC 7518, 3.2).
const HMAC: [(Algorithm, usize); 3] = [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)];

/// The bits that the modulus of an RSA key may have: what ring verifies.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 2048 / 8..=8192 / 8;

impl Keys {
    /// The key of a shared secret, for these algorithms.
    ///
    /// # Errors
    /// A description of the mistake. It never contains the secret.
    pub fn shared(secret: &Secret, algorithms: &[Algorithm]) -> Result<Self, String> {
        signature::install();
        let bytes = secret.expose().len();
        let short = HMAC.iter().rev().find(|(algorithm, least)| algorithms.contains(algorithm) && bytes < *least);
        if let Some((algorithm, least)) = short {
            return Err(format!("the secret has {bytes} bytes, and {algorithm:?} needs at least {least}"));
        }
        let algorithms = HMAC.map(|(algorithm, _)| algorithm).to_vec();
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        Ok(Self(vec![Key { id: None, algorithms, key }]))
    }

    /// The public keys of a JWKS file.
    ///
    /// # Errors
    /// A description of the mistake.
    pub fn public(text: &[u8]) -> Result<Self, String> {
        signature::install();
        let set: JwkSet = serde_json::from_slice(text).map_err(|error| format!("not a JWKS: {error}"))?;
        let (count, most) = (set.keys.len(), limits::TOKEN_KEYS_MAX);
        if count > most {
            return Err(format!("{count} keys: {most} are allowed"));
        }
        let keys = set.keys.iter().map(Key::public).filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("it has no key to verify signatures with: RSA, P-256, P-384 or Ed25519".to_owned());
        }
        Ok(Self(keys))
    }

    /// Whether a key is for this algorithm.
    pub(super) fn has(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|key| key.algorithms.contains(&algorithm))
    }

    /// The keys that a token with this algorithm and key id may be signed with.
    ///
    /// # Errors
    /// [`Refused::NoKey`]: it names no key, and there are too many to try them all.
    pub(super) fn for_token<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
    ) -> Result<impl Iterator<Item = &'a Key>, Refused> {
        let fits = move |key: &&Key| {
            let same_id = key.id.as_deref().zip(id).is_none_or(|(its, id)| its == id);
            same_id && key.algorithms.contains(&algorithm)
        };
        let keys = self.0.iter().filter(fits);
        if keys.clone().count() > limits::TOKEN_KEYS_TRIED_MAX { Err(Refused::NoKey) } else { Ok(keys) }
    }
}

impl Key {
    /// A key of a set; `None` if it is not one to verify signatures with.
    fn public(jwk: &Jwk) -> Result<Option<Self>, String> {
        let id = jwk.common.key_id.clone();
        let shown = id.as_ref().map(|id| format!(" `{}`", id.escape_debug())).unwrap_or_default();
        let wrong = |what: &str| format!("the key{shown}: {what}");
        let encrypts = jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature);
        let mut algorithms = match &jwk.algorithm {
            _ if encrypts => return Ok(None),
            AlgorithmParameters::OctetKey(_) => {
                return Err(wrong("a shared secret does not belong in this file: use `secret` instead of `jwks`"));
            }
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return Ok(None),
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
            _ => return Ok(None),
        };
        if let Some(only) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| only.to_string() == format!("{algorithm:?}"));
        }
        if algorithms.is_empty() {
            return Ok(None);
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|error| wrong(&error.to_string()))?;
        let whole = match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => RSA_BYTES.contains(&n.len()),
            DecodingKeyKind::SecretOrDer(bytes) => signature::length(algorithms[0]) == Some(bytes.len()),
        };
        if whole {
            Ok(Some(Self { id, algorithms, key }))
        } else {
            Err(wrong("it does not have the length of its kind"))
        }
    }
}

/// Compared to see whether a file that was read again has other keys.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |key: &DecodingKey| match key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => (bytes.clone(), Vec::new()),
            DecodingKeyKind::RsaModulusExponent { n, e } => (n.clone(), e.clone()),
        };
        self.id == other.id && self.algorithms == other.algorithms && bytes(&self.key) == bytes(&other.key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}
