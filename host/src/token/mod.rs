//! Verifies the token of a client (JWT, RFC 7519): its signature, its time, its audience and its issuer. The result is a
//! pure function of token, keys and time. It reads no file and no clock, and fetches no key.
//!
//! Only the algorithms that the manifest names are accepted, each only with a key of its own kind: a shared secret
//! verifies HMAC, a set of public keys everything else. An unsigned token (`none`) is not a token here.

mod keys;
mod signature;

use std::collections::HashSet;
use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{TokenData, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::value::RawValue;

use self::keys::Key;
pub use self::keys::Keys;
use crate::limits;

/// Which tokens are accepted, as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The algorithms of the signature.
    pub algorithms: Vec<Algorithm>,
    /// Who a token must be for: its `aud` names one of them. If there are none, a token with an `aud` is not accepted.
    pub audiences: Vec<String>,
    /// Who must have issued a token (`iss`), if that is named.
    pub issuer: Option<String>,
}

/// The policy and the keys of a node.
#[derive(Debug, PartialEq)]
pub struct Verifier {
    policy: Policy,
    keys: Keys,
}

/// Why a token is not accepted. It contains nothing of the token, except the name of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is none, and the handler requires one.
    Absent,
    /// It is not a signed token, or the header that it came in is malformed.
    Malformed,
    /// It is signed with an algorithm that the manifest does not name.
    Algorithm,
    /// No key has the id that it names and is of its algorithm.
    NoKey,
    /// Its signature is wrong.
    Signature,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    Early,
    /// It is for somebody else.
    Audience,
    /// Somebody else issued it.
    Issuer,
    /// This claim is missing or has the wrong type.
    Claim(&'static str),
}

/// The claims about time, in seconds since 1970.
#[derive(Deserialize)]
struct Times {
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl Verifier {
    /// # Errors
    /// A description of the mistake: no key is of one of the algorithms.
    pub fn new(policy: Policy, keys: Keys) -> Result<Self, String> {
        match policy.algorithms.iter().find(|algorithm| !keys.has(**algorithm)) {
            Some(algorithm) => Err(format!("no key is for {algorithm:?}, which `algorithms` names")),
            None => Ok(Self { policy, keys }),
        }
    }

    /// The claims of a token, as JSON text. `now` is in microseconds since 1970.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn claims(&self, token: &str, now: i64) -> Result<String, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Malformed)?;
        // A critical extension (RFC 7515, 4.1.11) changes what a token means, and none is known here.
        if header.crit.is_some() {
            return Err(Refused::Malformed);
        }
        if !self.policy.algorithms.contains(&header.alg) {
            return Err(Refused::Algorithm);
        }
        let validation = self.validation(header.alg);
        let mut refused = Refused::NoKey;
        for key in self.keys.for_token(header.alg, header.kid.as_deref())? {
            match signed(token, key, &validation) {
                Ok(claims) => return in_time(&claims, now).map(|()| claims.get().to_owned()),
                Err(Refused::Signature) => refused = Refused::Signature,
                Err(other) => return Err(other),
            }
        }
        Err(refused)
    }

    /// What a token must contain besides its times.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let Policy { audiences, issuer, .. } = &self.policy;
        let mut validation = Validation::new(algorithm);
        // Checked by `in_time`: here the clock would be read.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let required = [("exp", true), ("aud", !audiences.is_empty()), ("iss", issuer.is_some())];
        validation.required_spec_claims =
            required.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect();
        validation.aud = (!audiences.is_empty()).then(|| audiences.iter().cloned().collect());
        validation.iss = issuer.as_ref().map(|issuer| HashSet::from([issuer.clone()]));
        validation
    }
}

/// The claims of a token that is signed with this key.
fn signed(token: &str, key: &Key, validation: &Validation) -> Result<Box<RawValue>, Refused> {
    let decoded = decode::<Box<RawValue>>(token, &key.key, validation);
    let TokenData { claims, .. } = decoded.map_err(|error| match error.into_kind() {
        ErrorKind::InvalidSignature => Refused::Signature,
        ErrorKind::InvalidAudience => Refused::Audience,
        ErrorKind::InvalidIssuer => Refused::Issuer,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "aud" => Refused::Audience,
            "iss" => Refused::Issuer,
            _ => Refused::Claim("exp"),
        },
        _ => Refused::Malformed,
    })?;
    // serde would take a list for a record as well.
    if claims.get().starts_with('{') { Ok(claims) } else { Err(Refused::Malformed) }
}

/// Checks `exp` and `nbf`. Clocks differ, so both have a leeway.
fn in_time(claims: &RawValue, now: i64) -> Result<(), Refused> {
    let Times { exp, nbf } = serde_json::from_str(claims.get()).map_err(|_| Refused::Claim("exp` or `nbf"))?;
    let exp = exp.ok_or(Refused::Claim("exp"))?;
    #[expect(clippy::cast_precision_loss, reason = "exact until the year 2255")]
    let now = now as f64 / 1e6;
    let leeway = limits::TOKEN_LEEWAY.as_secs_f64();
    if exp + leeway <= now {
        return Err(Refused::Expired);
    }
    match nbf {
        Some(nbf) if nbf - leeway > now => Err(Refused::Early),
        _ => Ok(()),
    }
}

/// The bearer token of a request (RFC 6750); `None` if there is no `Authorization`, or one of another scheme.
///
/// # Errors
/// [`Refused::Malformed`]: there are two, or it is empty.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Refused::Malformed);
    }
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len()).unwrap_or((value.as_bytes(), b""));
    if !scheme.trim_ascii_end().eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    match std::str::from_utf8(token.trim_ascii()) {
        Ok(token) if scheme.ends_with(b" ") && !token.is_empty() => Ok(Some(token)),
        _ => Err(Refused::Malformed),
    }
}

impl Refused {
    /// The value of `WWW-Authenticate` (RFC 6750, 3). It says only what a client can do something about.
    pub fn challenge(&self) -> &'static str {
        match self {
            Self::Absent => r#"Bearer realm="api""#,
            Self::Expired => r#"Bearer realm="api", error="invalid_token", error_description="the token has expired""#,
            _ => r#"Bearer realm="api", error="invalid_token""#,
        }
    }

    /// Whether the operator may have to do something: keys, policy and issuer do not fit together, or somebody tries.
    pub fn concerns_operator(&self) -> bool {
        !matches!(self, Self::Absent | Self::Expired | Self::Malformed)
    }

    /// The cause for the log.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Absent => "the request has no token",
            Self::Malformed => "it is not a signed token",
            Self::Algorithm => "its algorithm is not one of `algorithms`",
            Self::NoKey => "no key has its id and its algorithm",
            Self::Signature => "its signature is wrong",
            Self::Expired => "it has expired",
            Self::Early => "it is not valid yet",
            Self::Audience => "its audience (`aud`) is not one of `audiences`",
            Self::Issuer => "its issuer (`iss`) is not `issuer`",
            Self::Claim(_) => "`exp` is missing, or a time is not a number",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause())
    }
}

#[cfg(test)]
mod tests;
