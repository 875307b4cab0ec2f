//! `Galo-Try`, the header by which a proxy announces that it may send a request a second time. It is accepted from a
//! proxy that the operator has declared, and removed from any other request. A request that carries it is refused on a
//! route without `retry = "key"`, so that a proxy with an outdated configuration cannot execute anything twice.

use http::{HeaderMap, HeaderValue};

use crate::config::Proxy;
use crate::failure::Failure;
use crate::limits;
use crate::manifest::{Entry, GALO_TRY, Retry};

/// Removes the header when no proxy was declared, because then it comes from a client.
pub fn forget(proxy: Proxy, headers: &mut HeaderMap) {
    if proxy == Proxy::Unknown {
        headers.remove(&GALO_TRY);
    }
}

/// Checks the header that a proxy sent.
///
/// # Errors
/// [`Failure::Repeatable`]: the route's manifest has no `retry = "key"`, or the header is not exactly one id.
pub fn check(entry: &Entry, headers: &HeaderMap) -> Result<(), Failure> {
    let mut ids = headers.get_all(&GALO_TRY).iter();
    match (ids.next(), ids.next(), entry.retry) {
        (None, ..) => Ok(()),
        (Some(_), _, Retry::Never) => {
            Err(Failure::Repeatable { cause: "the route has no retry = \"key\" in the manifest" })
        }
        (Some(id), None, Retry::Key) if is_id(id) => Ok(()),
        // Of two, one may be the client's; a handler could not use a malformed one as a key.
        (Some(_), ..) => Err(Failure::Repeatable { cause: "Galo-Try is malformed, or there are two" }),
    }
}

fn is_id(id: &HeaderValue) -> bool {
    (1..=limits::TRY_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest;

    fn entry(retry: &str) -> Entry {
        let text = format!("[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"POST /a\"\n{retry}");
        manifest::parse(Path::new("galo.toml"), &text).unwrap().handlers.remove(0)
    }

    fn checked(proxy: Proxy, entry: &Entry, ids: &[&str]) -> Result<usize, u16> {
        let mut headers = HeaderMap::new();
        ids.iter().for_each(|id| {
            headers.append(&GALO_TRY, id.parse().unwrap());
        });
        forget(proxy, &mut headers);
        check(entry, &headers).map_err(|failure| failure.status().as_u16())?;
        Ok(headers.get_all(&GALO_TRY).iter().count())
    }

    #[test]
    fn a_try_is_accepted_from_a_trusted_proxy_only() {
        let keyed = entry("headers = [\"idempotency-key\", \"galo-try\"]\nretry = \"key\"");
        let plain = entry("");
        let longest = "k".repeat(limits::TRY_BYTES_MAX);
        for (ids, keyed_trusted, plain_trusted) in [
            (&[][..], Ok(0), Ok(0)),
            (&["1705458881.217-0f"], Ok(1), Err(503)),
            (&[&*longest], Ok(1), Err(503)),
            (&[""], Err(503), Err(503)),
            (&["a b"], Err(503), Err(503)),
            (&[&*format!("{longest}k")], Err(503), Err(503)),
            (&["a", "a"], Err(503), Err(503)),
        ] {
            assert_eq!(checked(Proxy::Trusted, &keyed, ids), keyed_trusted, "{ids:?}");
            assert_eq!(checked(Proxy::Trusted, &plain, ids), plain_trusted, "{ids:?}");
            assert_eq!(checked(Proxy::Unknown, &keyed, ids), Ok(0), "{ids:?}");
            assert!(checked(Proxy::Unknown, &plain, ids).is_ok(), "{ids:?}");
        }
    }
}
