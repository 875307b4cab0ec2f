//! Checks of a request's head that hyper does not make (RFC 9112): it has one valid `Host`, which only HTTP/1.0 may
//! omit, and its body uses the only supported transfer coding.

use std::net::Ipv6Addr;

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Version};

use crate::failure::Failure;

/// Checks the head of a request.
///
/// # Errors
/// [`Failure::HeadMalformed`] or [`Failure::CodingUnknown`].
pub fn check(version: Version, headers: &HeaderMap) -> Result<(), Failure> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => {}
        // HTTP/1.0 had no such header.
        (None, None) if version < Version::HTTP_11 => {}
        (None, None) => return Err(Failure::HeadMalformed { cause: "no Host" }),
        (Some(_), Some(_)) => return Err(Failure::HeadMalformed { cause: "more than one Host" }),
        _ => return Err(Failure::HeadMalformed { cause: "a malformed Host" }),
    }
    // hyper accepts every list that ends with `chunked` and ignores the other codings.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Failure::CodingUnknown),
    }
}

/// Whether a text is `uri-host [ ":" port ]` (RFC 3986, 3.2.2). It may be empty: a client sends an empty `Host` when
/// its target has no authority.
fn is_host(text: &[u8]) -> bool {
    let (name, port) = match text.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|byte| *byte == b']') {
            Some(end) if is_address(&rest[..end]) => (&rest[..0], &rest[end + 1..]),
            _ => return false,
        },
        None => text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len())),
    };
    let port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port && is_name(name)
}

fn is_address(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_name(mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = name {
        name = match (first, rest) {
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            (byte, rest) if is_plain(*byte) => rest,
            _ => return false,
        };
    }
    true
}

/// `unreserved` and `sub-delims`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn checked(version: Version, headers: &[(HeaderName, &[u8])]) -> Result<(), u16> {
        let fields = headers.iter().map(|(name, value)| (name.clone(), value.to_vec().try_into().unwrap()));
        let mut map = HeaderMap::new();
        fields.for_each(|(name, value)| {
            map.append(name, value);
        });
        check(version, &map).map_err(|failure| failure.status().as_u16())
    }

    #[test]
    fn a_request_of_http_1_1_has_one_host() {
        // By default nginx sends the upstream's name, or `localhost` for a unix socket.
        for host in ["galo", "galo_nodes", "localhost", "127.0.0.1:9999", "[::1]:9999", "[::1]", "a%20b", "galo:", ""] {
            assert_eq!(checked(Version::HTTP_11, &[(HOST, host.as_bytes())]), Ok(()), "{host}");
        }
        for host in ["a b", "a/b", "a@b", "galo:99x", "a:1:2", "[::1", "[]", "[a]", "::1", "[::1]x", "a%2", "\""] {
            assert_eq!(checked(Version::HTTP_11, &[(HOST, host.as_bytes())]), Err(400), "{host}");
        }
        assert_eq!(checked(Version::HTTP_11, &[(HOST, b"gal\xff")]), Err(400));
        assert_eq!(checked(Version::HTTP_11, &[]), Err(400));
        assert_eq!(checked(Version::HTTP_10, &[]), Ok(()));
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert_eq!(checked(version, &[(HOST, b"a"), (HOST, b"a")]), Err(400));
        }
    }

    #[test]
    fn a_body_is_chunked_and_nothing_else() {
        let with = |codings: &[&'static str]| {
            let codings = codings.iter().map(|coding| (TRANSFER_ENCODING, coding.as_bytes()));
            let headers: Vec<_> = [(HOST, "a".as_bytes())].into_iter().chain(codings).collect();
            checked(Version::HTTP_11, &headers)
        };
        assert_eq!((with(&["chunked"]), with(&["Chunked"])), (Ok(()), Ok(())));
        for codings in [&["gzip, chunked"][..], &["gzip", "chunked"], &["chunked", "chunked"], &["chunked, chunked"]] {
            assert_eq!(with(codings), Err(501), "{codings:?}");
        }
    }

    proptest! {
        /// An independent parser of authorities accepts every host that passes, and none of them contains a user.
        #[test]
        fn a_host_is_an_authority_without_a_user(text in "[a-z0-9.:@%/\\[\\] _-]{0,24}") {
            if is_host(text.as_bytes()) && !text.is_empty() && !text.starts_with(':') {
                let authority = text.parse::<http::uri::Authority>();
                prop_assert!(!text.contains('@') && (authority.is_ok() || text.contains('%')), "{text}");
            }
        }

        #[test]
        fn no_bytes_make_the_check_panic(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            is_host(&text);
        }
    }
}
