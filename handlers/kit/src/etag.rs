//! Responses that a client has already: `ETag` and `If-None-Match`.
//!
//! `respond` does not see the request, so `prepare` passes the header on in the carry. The procedure still runs; the
//! body is what is saved.

use alloc::format;
use alloc::string::String;
use core::hash::Hasher as _;

use fnv::FnvHasher;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::Response;

/// What an entity tag cannot contain (RFC 9110, section 8.8.3), and the sign of an encoding itself.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

impl Response {
    /// Sets the `etag`: a text that changes whenever the body does, such as the version of a row.
    pub fn with_etag(self, tag: &str) -> Self {
        let mut header = String::from("\"");
        header.extend(utf8_percent_encode(tag, ENCODED));
        header.push('"');
        self.with_header("etag", header)
    }

    /// 304 without a body, if this is a 200 and the client has it already: if its `etag` is in `if_none_match`, the
    /// header of the request. A response without `etag` gets one, the hash of its body.
    ///
    /// ```
    /// use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows, test};
    ///
    /// struct Item;
    ///
    /// impl Handler for Item {
    ///     fn prepare(request: &Request) -> Plan {
    ///         // The manifest lists the header: headers = ["if-none-match"]
    ///         Plan::call("item", [1.into()], request.header("if-none-match").unwrap_or_default())
    ///     }
    ///
    ///     fn respond(carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
    ///         Ok(Response::json(200, &rows.first()?).unless_matched(carry))
    ///     }
    /// }
    ///
    /// let rows = test::rows(["name"], [["pen".into()]]);
    /// let first = Item::respond(b"", &rows)?;
    /// let tag = &first.headers.iter().find(|header| header.name == "etag").unwrap().value;
    /// let second = Item::respond(tag.as_bytes(), &rows)?;
    /// assert_eq!((first.status, second.status, second.body.len()), (200, 304, 0));
    /// # Ok::<(), UnexpectedRows>(())
    /// ```
    pub fn unless_matched(mut self, if_none_match: impl AsRef<[u8]>) -> Self {
        if self.status != 200 {
            return self;
        }
        if !self.headers.iter().any(|header| header.name == "etag") {
            let tag = hash(&self.body);
            self = self.with_etag(&tag);
        }
        let tags = str::from_utf8(if_none_match.as_ref()).unwrap_or_default();
        if self.headers.iter().any(|header| header.name == "etag" && contains(tags, &header.value)) {
            self.status = 304;
            self.body.clear();
            self.headers.retain(|header| header.name != "content-type");
        }
        self
    }
}

/// A hash that tells two versions of one body apart. It is not made against an adversary: who chooses a body would only
/// keep its own old version.
fn hash(body: &[u8]) -> String {
    let mut hasher = FnvHasher::default();
    hasher.write(body);
    format!("{:016x}", hasher.finish())
}

/// Whether a list of entity tags has this one, by weak comparison (RFC 9110, section 13.1.2).
fn contains(list: &str, tag: &str) -> bool {
    let wanted = tag.trim_start_matches("W/").trim_matches('"');
    let mut rest = list.trim_ascii();
    if rest == "*" {
        return true;
    }
    // A tag may contain a comma.
    while let Some(inside) = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"') {
        let Some((found, after)) = inside.split_once('"') else { return false };
        if found == wanted {
            return true;
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn a_tag_is_found_in_a_list() {
        for (list, tag, found) in [
            (r#""a""#, r#""a""#, true),
            (r#"W/"a""#, r#""a""#, true),
            (r#""a""#, r#"W/"a""#, true),
            (r#""b", W/"a,c" , "a""#, r#""a""#, true),
            (r#""a,b""#, r#""a,b""#, true),
            (" * ", r#""a""#, true),
            (r#""""#, r#""""#, true),
            ("", r#""a""#, false),
            ("a", r#""a""#, false),
            (r#""a"#, r#""a""#, false),
            (r#""A", "aa""#, r#""a""#, false),
            (r#""b", *"#, r#""a""#, false),
            (r#""x" y "a""#, r#""a""#, false),
        ] {
            assert_eq!(contains(list, tag), found, "{tag} in {list}");
        }
    }

    #[test]
    fn a_tag_of_ones_own_is_kept_and_encoded() {
        let response = Response::json(200, &1).with_etag("7 \"ü\"").unless_matched("");
        let header = ("etag", "\"7%20%22%C3%BC%22\"");
        assert_eq!(response.headers, test::fields(&[("content-type", "application/json"), header]));
        let not_modified = Response::json(200, &2).with_etag("7").unless_matched(b"\"7\"");
        assert_eq!(not_modified.status, 304);
        assert_eq!((not_modified.body.len(), not_modified.headers), (0, test::fields(&[("etag", "\"7\"")])));
    }

    #[test]
    fn the_hash_is_that_of_the_body() {
        let tag = |body: &str| Response::typed(200, "text/plain", body).unless_matched("").headers[1].value.clone();
        assert_eq!(tag("a"), "\"af63dc4c8601ec8c\"");
        assert_ne!(tag("a"), tag("b"));
        assert_eq!(tag(""), "\"cbf29ce484222325\"");
    }

    #[test]
    fn only_a_200_is_compared() {
        let missing = Response::error(404, "x").unless_matched("*");
        assert_eq!((missing.status, missing.headers.len()), (404, 1));
    }
}
