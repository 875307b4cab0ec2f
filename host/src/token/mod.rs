//! Verifies the token of a client (JWT, RFC 7519): its signature, its time, its audience and its issuer. The result is
//! a pure function of token, keys and time. It reads no file and no clock, and fetches no key.
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
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use ring::hmac;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Secret;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    /// 2026-01-01, in seconds.
    const NOW: i64 = 1_767_225_600;

    fn policy(algorithms: &[Algorithm]) -> Policy {
        Policy { algorithms: algorithms.to_vec(), audiences: vec!["shop".to_owned()], issuer: Some("id".to_owned()) }
    }

    fn shared() -> Verifier {
        let algorithms = [Algorithm::HS256];
        Verifier::new(policy(&algorithms), Keys::shared(&Secret::new(SECRET), &algorithms).unwrap()).unwrap()
    }

    fn good() -> Value {
        json!({ "sub": "1", "aud": "shop", "iss": "id", "exp": NOW + 60 })
    }

    fn unsigned(header: &Value, claims: &Value) -> String {
        format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
    }

    fn by_secret(secret: &str, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature))
    }

    fn hs256(claims: &Value) -> String {
        by_secret(SECRET, &json!({ "alg": "HS256", "typ": "JWT" }), claims)
    }

    fn with(change: impl FnOnce(&mut Value)) -> String {
        let mut claims = good();
        change(&mut claims);
        hs256(&claims)
    }

    fn verified(verifier: &Verifier, token: &str) -> Result<String, Refused> {
        verifier.claims(token, NOW * 1_000_000)
    }

    #[test]
    fn a_token_that_is_signed_in_time_and_for_us_gives_its_claims() {
        let claims = good();
        assert_eq!(verified(&shared(), &hs256(&claims)).unwrap(), claims.to_string());
        for accepted in [
            with(|claims| claims["aud"] = json!(["other", "shop"])),
            with(|claims| claims["exp"] = json!(NOW - 29)),
            with(|claims| claims["exp"] = json!(NOW as f64 + 0.5)),
            with(|claims| claims["nbf"] = json!(NOW + 29)),
            by_secret(SECRET, &json!({ "alg": "HS256", "kid": "any" }), &good()),
        ] {
            assert!(verified(&shared(), &accepted).is_ok(), "{accepted}");
        }
    }

    #[test]
    fn a_token_with_a_wrong_claim_is_refused() {
        let no = |name: &'static str| with(move |claims| drop(claims.as_object_mut().unwrap().remove(name)));
        for (token, refused) in [
            (with(|claims| claims["exp"] = json!(NOW - 30)), Refused::Expired),
            (with(|claims| claims["nbf"] = json!(NOW + 31)), Refused::Early),
            (with(|claims| claims["aud"] = json!("other")), Refused::Audience),
            (with(|claims| claims["aud"] = json!(1)), Refused::Audience),
            (no("aud"), Refused::Audience),
            (with(|claims| claims["iss"] = json!("other")), Refused::Issuer),
            (no("iss"), Refused::Issuer),
            (no("exp"), Refused::Claim("exp")),
            (with(|claims| claims["exp"] = json!("1")), Refused::Claim("exp")),
        ] {
            assert_eq!(verified(&shared(), &token), Err(refused), "{token}");
        }
        assert!(matches!(verified(&shared(), &with(|claims| claims["nbf"] = json!("1"))), Err(Refused::Claim(_))));
        // Without `audiences` a token that is for somebody is not for us.
        let algorithms = vec![Algorithm::HS256];
        let keys = Keys::shared(&Secret::new(SECRET), &algorithms).unwrap();
        let anyone = Verifier::new(Policy { algorithms, audiences: Vec::new(), issuer: None }, keys).unwrap();
        assert_eq!(verified(&anyone, &hs256(&good())), Err(Refused::Audience));
        assert!(verified(&anyone, &hs256(&json!({ "exp": NOW + 1 }))).is_ok());
    }

    #[test]
    fn an_unsigned_token_and_one_of_another_algorithm_are_refused() {
        let none = unsigned(&json!({ "alg": "none" }), &good());
        let other = unsigned(&json!({ "alg": "HS256" }), &good());
        for malformed in
            ["", "a", "a.b", "a.b.c", "..", &format!("{none}."), &none, &other, &format!("{}.x", hs256(&good()))]
        {
            assert_eq!(verified(&shared(), malformed), Err(Refused::Malformed), "{malformed}");
        }
        assert_eq!(verified(&shared(), &format!("{other}.")), Err(Refused::Signature));
        assert_eq!(
            verified(&shared(), &by_secret("another", &json!({ "alg": "HS256" }), &good())),
            Err(Refused::Signature)
        );
        let (token, changed) = (hs256(&good()), hs256(&json!({ "exp": NOW + 60, "sub": "2" })));
        let mixed = format!("{}.{}", changed.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
        assert_eq!(verified(&shared(), &mixed), Err(Refused::Signature));
        for alg in ["HS384", "RS256", "ES256", "EdDSA"] {
            let token = by_secret(SECRET, &json!({ "alg": alg }), &good());
            assert_eq!(verified(&shared(), &token), Err(Refused::Algorithm), "{alg}");
        }
        let critical = by_secret(SECRET, &json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), &good());
        assert_eq!(verified(&shared(), &critical), Err(Refused::Malformed));
        let list = by_secret(SECRET, &json!({ "alg": "HS256" }), &json!([NOW + 60, null]));
        assert!(verified(&shared(), &list).is_err());
    }

    #[test]
    fn a_public_key_is_not_a_secret() {
        // Given a set with a public key, when somebody signs with that key as a secret, then the token is refused, also
        // where HMAC is among the algorithms.
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let point = pair.public_key().as_ref();
        let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": BASE64.encode(point) }] });
        let keys = || Keys::public(set.to_string().as_bytes()).unwrap();
        let verifier = Verifier::new(policy(&[Algorithm::EdDSA]), keys()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, point);
        let message = unsigned(&json!({ "alg": "HS256", "kid": "a" }), &good());
        let confused = format!("{message}.{}", BASE64.encode(hmac::sign(&key, message.as_bytes())));
        assert_eq!(verified(&verifier, &confused), Err(Refused::Algorithm));
        let wrong = Verifier::new(policy(&[Algorithm::EdDSA, Algorithm::HS256]), keys()).unwrap_err();
        assert_eq!(wrong, "no key is for HS256, which `algorithms` names");
        let secret = json!({ "keys": [{ "kty": "oct", "k": BASE64.encode(SECRET) }] });
        assert!(Keys::public(secret.to_string().as_bytes()).unwrap_err().contains("use `secret` instead of `jwks`"));
    }

    #[test]
    fn each_kind_of_key_verifies_what_it_signed() {
        let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let (x, y) = ec.public_key().as_ref()[1..].split_at(32);
        let set = json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": BASE64.encode(ed.public_key().as_ref()) },
            { "kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "x": BASE64.encode(x), "y": BASE64.encode(y) },
            { "kty": "EC", "crv": "secp256k1", "kid": "unknown", "x": "AA", "y": "AA" },
            { "kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB" },
        ]});
        let keys = Keys::public(set.to_string().as_bytes()).unwrap();
        let verifier = Verifier::new(policy(&[Algorithm::EdDSA, Algorithm::ES256]), keys).unwrap();
        let signed = |alg: &str, kid: Option<&str>, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
            let message = unsigned(&json!({ "alg": alg, "kid": kid }), &good());
            format!("{message}.{}", BASE64.encode(sign(message.as_bytes())))
        };
        let by_ed = |message: &[u8]| ed.sign(message).as_ref().to_vec();
        let by_ec = |message: &[u8]| ec.sign(&random, message).unwrap().as_ref().to_vec();
        assert!(verified(&verifier, &signed("EdDSA", Some("ed"), &by_ed)).is_ok());
        assert!(verified(&verifier, &signed("ES256", Some("ec"), &by_ec)).is_ok());
        assert!(verified(&verifier, &signed("ES256", None, &by_ec)).is_ok());
        assert_eq!(verified(&verifier, &signed("ES256", Some("old"), &by_ec)), Err(Refused::NoKey));
        assert_eq!(verified(&verifier, &signed("EdDSA", Some("ec"), &by_ed)), Err(Refused::NoKey));
        assert_eq!(verified(&verifier, &signed("ES256", Some("ec"), &by_ed)), Err(Refused::Signature));
    }

    /// RFC 7515, A.2: a token and its public key.
    const RSA_KEY: &str = r#"{ "keys": [{ "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" }] }"#;
    const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

    #[test]
    fn the_example_of_rfc_7515_is_verified() {
        let policy =
            |algorithm| Policy { algorithms: vec![algorithm], audiences: Vec::new(), issuer: Some("joe".to_owned()) };
        let keys = || Keys::public(RSA_KEY.as_bytes()).unwrap();
        let verifier = Verifier::new(policy(Algorithm::RS256), keys()).unwrap();
        let claims = verifier.claims(RSA_TOKEN, 1_300_819_379_000_000).unwrap();
        assert!(claims.contains("\"http://example.com/is_root\":true"), "{claims}");
        assert_eq!(verifier.claims(RSA_TOKEN, NOW * 1_000_000), Err(Refused::Expired));
        let other = Verifier::new(policy(Algorithm::PS256), keys()).unwrap();
        assert_eq!(other.claims(RSA_TOKEN, 1_300_819_379_000_000), Err(Refused::Algorithm));
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused_with_the_remedy() {
        let many = json!({ "keys": vec![json!({ "kty": "x" }); limits::TOKEN_KEYS_MAX + 1] }).to_string();
        for (text, reported) in [
            ("", "not a JWKS: "),
            ("{}", "not a JWKS: missing field `keys`"),
            (r#"{"keys":[]}"#, "it has no key to verify signatures with"),
            (
                r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k\n","x":"AAAA"}]}"#,
                r"the key `k\n`: it does not have the",
            ),
            (r#"{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}"#, "the key: "),
            (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#, "the key: it does not have the length of its kind"),
            (&many, "65 keys: 64 are allowed"),
        ] {
            let found = Keys::public(text.as_bytes()).unwrap_err();
            assert!(found.starts_with(reported), "{text}: {found}");
        }
        let short = |secret: &str, algorithm| Keys::shared(&Secret::new(secret), &[algorithm]).unwrap_err();
        assert_eq!(short(&SECRET[1..], Algorithm::HS256), "the secret has 31 bytes, and HS256 needs at least 32");
        assert_eq!(short(SECRET, Algorithm::HS512), "the secret has 32 bytes, and HS512 needs at least 64");
        let keys = Keys::shared(&Secret::new(SECRET), &[Algorithm::HS256]).unwrap();
        assert!(!format!("{keys:?}").contains("0123"), "{keys:?}");
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        let found = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(|token| token.map(str::to_owned))
        };
        for (values, token) in [
            (&[][..], Ok(None)),
            (&["Bearer a.b.c"], Ok(Some("a.b.c"))),
            (&["bEARER  a.b.c"], Ok(Some("a.b.c"))),
            (&["Basic YTpi"], Ok(None)),
            (&["Bearerx y"], Ok(None)),
            (&[""], Ok(None)),
            (&["Bearer"], Err(Refused::Malformed)),
            (&["Bearer "], Err(Refused::Malformed)),
            (&["Bearer a", "Bearer b"], Err(Refused::Malformed)),
        ] {
            assert_eq!(found(values), token.map(|token: Option<&str>| token.map(str::to_owned)), "{values:?}");
        }
        assert!(Refused::Absent.challenge().starts_with("Bearer "));
        assert!(Refused::Signature.challenge().contains("error=\"invalid_token\""));
    }
}
