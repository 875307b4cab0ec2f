//! The key of a request, which distinguishes a second try of it from another request. A handler with `retry = "key"` in
//! the manifest passes it to its procedure, which records it together with its effect, once.

use alloc::borrow::Cow;
use alloc::string::String;

use crate::{Field, Part, Plan, Rejection, Request, Response};

/// In bytes, without quotes and escapes. A key usually stays in an index for good, and 255 is the limit that clients of
/// other services already keep.
const KEY_BYTES_MAX: usize = 255;

/// The `Idempotency-Key` is not valid: it is empty, too long, sent twice, or not printable ASCII. It converts into a
/// [`Rejection`], a [`Response`] and a [`Plan`] with the status 400.
#[derive(Debug, PartialEq, Eq)]
pub struct MalformedKey;

impl From<MalformedKey> for Rejection {
    fn from(_: MalformedKey) -> Self {
        Self::new(Part::Header, "idempotency-key", "1 to 255 printable ASCII characters, sent once")
    }
}

impl From<MalformedKey> for Response {
    fn from(malformed: MalformedKey) -> Self {
        Rejection::from(malformed).into()
    }
}

impl From<MalformedKey> for Plan {
    fn from(malformed: MalformedKey) -> Self {
        Self::Reply(malformed.into())
    }
}

impl Request {
    /// The key of the request: `c:` and the client's `Idempotency-Key`, or else `t:` and the `Galo-Try` of a proxy that
    /// may send the request twice; at most 257 bytes. The prefixes keep the two apart, so a client that guesses a
    /// `Galo-Try` does not match its key. None without either header, or when the manifest lists neither.
    ///
    /// ```
    /// use galo_kit::{Plan, Request, Response, test};
    ///
    /// fn plan(request: &Request) -> Result<Plan, Response> {
    ///     Ok(Plan::call("pay", [request.key()?.into()], ""))
    /// }
    ///
    /// let request = test::post("/payments", &[], "").with_header("idempotency-key", "a1");
    /// assert_eq!(test::call(plan(&request).into()).arguments, ["c:a1".into()]);
    /// ```
    ///
    /// # Errors
    /// [`MalformedKey`] when the client's key is not valid. `?` answers it with 400: the client relies on its request
    /// being recorded once.
    pub fn key(&self) -> Result<Option<String>, MalformedKey> {
        match single(self, "idempotency-key") {
            Sent::Once(key) => Ok(Some(["c:", &client_key(key)?].concat())),
            Sent::Repeatedly => Err(MalformedKey),
            // The host passes on a well-formed one or none.
            Sent::Never => Ok(self.header("galo-try").map(|id| ["t:", id].concat())),
        }
    }
}

enum Sent<'a> {
    Never,
    Once(&'a str),
    /// It is ambiguous which of them counts.
    Repeatedly,
}

fn single<'a>(request: &'a Request, name: &str) -> Sent<'a> {
    let its = |header: &&Field| header.name == name;
    let mut values = request.headers.iter().filter(its).map(|header| header.value.as_str());
    match (values.next(), values.next()) {
        (None, _) => Sent::Never,
        (Some(value), None) => Sent::Once(value),
        (Some(_), Some(_)) => Sent::Repeatedly,
    }
}

/// draft-ietf-httpapi-idempotency-key-header wants a string in quotes; most clients send the key as it is.
fn client_key(sent: &str) -> Result<Cow<'_, str>, MalformedKey> {
    let key = match sent.strip_prefix('"') {
        Some(rest) => Cow::Owned(unquoted(rest)?),
        None if sent.contains('"') => return Err(MalformedKey),
        None => Cow::Borrowed(sent),
    };
    let fits = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if fits { Ok(key) } else { Err(MalformedKey) }
}

/// The content of a string, given what follows its first quote (RFC 8941, section 4.2.5): a backslash may only precede
/// a quote or a backslash, and nothing may follow the last quote.
fn unquoted(rest: &str) -> Result<String, MalformedKey> {
    let inside = rest.strip_suffix('"').ok_or(MalformedKey)?;
    let mut text = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '"' => return Err(MalformedKey),
            '\\' => characters.next().filter(|escaped| matches!(escaped, '"' | '\\')).ok_or(MalformedKey)?,
            plain => plain,
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::MalformedKey;
    use crate::{Plan, Rejection, Request, Response, test};

    fn key(headers: &[(&str, &str)]) -> Result<Option<String>, MalformedKey> {
        let mut request = test::post("/a", &[], "");
        request.headers = test::fields(headers);
        request.key()
    }

    #[test]
    fn the_clients_key_comes_before_the_proxys_try_and_a_request_id_is_not_a_key() {
        for (headers, expected) in [
            (&[][..], Ok(None)),
            (&[("x-request-id", "a")], Ok(None)),
            (&[("galo-try", "1705.2-0f")], Ok(Some("t:1705.2-0f"))),
            (&[("galo-try", "a"), ("idempotency-key", "b")], Ok(Some("c:b"))),
            (&[("idempotency-key", "\"a \\\"b\\\\\"")], Ok(Some("c:a \"b\\"))),
            (&[("galo-try", "a"), ("idempotency-key", "")], Err(MalformedKey)),
            (&[("idempotency-key", "a"), ("idempotency-key", "a")], Err(MalformedKey)),
        ] {
            assert_eq!(key(headers), expected.map(|key| key.map(String::from)), "{headers:?}");
        }
    }

    #[test]
    fn a_malformed_key_is_answered_with_400() {
        fn response(request: &Request) -> Result<Plan, Response> {
            Ok(Plan::call("pay", [request.key()?.into()], ""))
        }
        fn rejection(request: &Request) -> Result<Plan, Rejection> {
            Ok(Plan::call("pay", [request.key()?.into()], ""))
        }
        let request = test::post("/a", &[], "").with_header("idempotency-key", "");
        let expected = Response::from(MalformedKey);
        assert_eq!(expected.status, 400);
        assert!(test::text(&expected).contains(r#""in":"header","path":"idempotency-key""#));
        for plan in [response(&request).into(), rejection(&request).into(), MalformedKey.into()] {
            assert_eq!(test::reply(plan).body, expected.body);
        }
    }
}
