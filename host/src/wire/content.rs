//! Checks the declared coding and type of a body against what the handler accepts, before any of the body is read. The
//! host decodes nothing: it refuses a body with a content coding instead of passing it on as malformed.

use std::fmt;
use std::str::FromStr;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use hyper::body::Body as _;

use super::body::Body;
use crate::failure::Failure;

/// A media type without parameters, in lower case: `application/json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType(String);

/// Checks the headers that describe the body, if there is a body.
///
/// # Errors
/// [`Failure::EncodingUnsupported`] or [`Failure::TypeUnsupported`].
pub fn check(headers: &HeaderMap, body: &Body, expected: Option<&MediaType>) -> Result<(), Failure> {
    if body.is_end_stream() { Ok(()) } else { check_headers(headers, expected) }
}

fn check_headers(headers: &HeaderMap, expected: Option<&MediaType>) -> Result<(), Failure> {
    let plain = |coding: &[u8]| coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity");
    let is_plain = |value: &HeaderValue| value.as_bytes().split(|byte| *byte == b',').all(plain);
    if !headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Failure::EncodingUnsupported);
    }
    let Some(expected) = expected else { return Ok(()) };
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(given), None) if expected.is(given) => Ok(()),
        _ => Err(Failure::TypeUnsupported { expected: expected.to_string() }),
    }
}

impl MediaType {
    /// Whether a `Content-Type` is this one. Parameters such as `charset` are left to the handler.
    fn is(&self, given: &HeaderValue) -> bool {
        let essence = given.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(self.0.as_bytes())
    }
}

impl FromStr for MediaType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The characters of a token (RFC 9110, 5.6.2) except `*`, because a range is not a type.
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
        let is_token = |text: &str| !text.is_empty() && text.bytes().all(token);
        match text.split_once('/') {
            Some((first, second)) if is_token(first) && is_token(second) => Ok(Self(text.to_ascii_lowercase())),
            _ => Err("expected TYPE/SUBTYPE without parameters, e.g. application/json".to_owned()),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&'static str, &'static str)], expected: Option<&str>) -> Result<(), Failure> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        check_headers(&map, expected.map(|expected| expected.parse().unwrap()).as_ref())
    }

    #[test]
    fn a_content_coding_is_unsupported_whatever_it_is() {
        for coding in ["gzip", "GZIP", "br", "identity, gzip", "gzip;q=1", "x"] {
            let refused = checked(&[("content-encoding", coding)], None);
            assert!(matches!(refused, Err(Failure::EncodingUnsupported)), "{coding}");
        }
        assert!(checked(&[("content-encoding", "identity"), ("content-encoding", "gzip")], None).is_err());
        for coding in ["identity", "Identity", "", " identity , identity"] {
            assert!(checked(&[("content-encoding", coding)], None).is_ok(), "{coding}");
        }
    }

    #[test]
    fn a_content_type_is_the_expected_one_with_any_parameters() {
        for given in ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;a"]
        {
            assert!(checked(&[("content-type", given)], Some("application/json")).is_ok(), "{given}");
        }
        for given in
            ["text/plain", "application/json+x", "application/problem+json", "", "json", "application/json,a/b"]
        {
            let refused = checked(&[("content-type", given)], Some("application/json"));
            assert!(matches!(refused, Err(Failure::TypeUnsupported { .. })), "{given}");
            assert!(checked(&[("content-type", given)], None).is_ok(), "{given}");
        }
        assert!(checked(&[], Some("application/json")).is_err());
        let twice = [("content-type", "application/json"), ("content-type", "application/json")];
        assert!(checked(&twice, Some("application/json")).is_err());
        for text in ["", "json", "application/", "/json", "a/b; c=d", "application/*", "a/b/c", "a /b"] {
            assert!(text.parse::<MediaType>().is_err(), "{text}");
        }
        assert_eq!("Application/JSON".parse::<MediaType>().unwrap().to_string(), "application/json");
    }
}
