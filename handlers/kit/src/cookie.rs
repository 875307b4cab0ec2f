//! Cookies: reading those of a request, and setting one.
//!
//! Values are percent-encoded where a cookie cannot hold them, as most libraries do, so that no value can add an
//! attribute or a header.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::panic::refuse;
use crate::{Request, Response};

/// What a value cannot contain (RFC 6265, section 4.1.1), and the sign of an encoding itself.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');

/// When a browser sends a cookie with a request that another site caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// Only when a person follows a link.
    Lax,
    /// Always. Browsers accept it only with `secure`.
    None,
}

/// A cookie to set. Nothing that is off in [`Cookie::new`] was forgotten: it has the defaults of a session.
///
/// ```
/// use galo_kit::{Cookie, Response, test};
///
/// let session = Cookie { max_age: Some(3600), ..Cookie::new("session", "k 1") };
/// let response = Response::empty(204).with_cookie(&session);
/// assert_eq!(
///     response.headers,
///     test::fields(&[("set-cookie", "session=k%201; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax")]),
/// );
///
/// let request = test::get("/", &[]).with_header("cookie", "a=1; session=k%201");
/// assert_eq!(request.cookie("session").as_deref(), Some("k 1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie<'a> {
    /// The name: a token of RFC 9110, such as `session`.
    pub name: &'a str,
    /// The value, of any characters.
    pub value: &'a str,
    /// The path below which it is sent.
    pub path: &'a str,
    /// The domain with its subdomains; none is the host alone.
    pub domain: Option<&'a str>,
    /// In seconds; 0 deletes it. None is until the browser is closed.
    pub max_age: Option<u32>,
    /// Whether it is sent over HTTPS only.
    pub secure: bool,
    /// Whether scripts cannot read it.
    pub http_only: bool,
    /// Whether it is sent with a request that another site caused.
    pub same_site: SameSite,
}

impl<'a> Cookie<'a> {
    /// For all paths of the host, over HTTPS only, not for scripts, `SameSite=Lax`, until the browser is closed.
    pub fn new(name: &'a str, value: &'a str) -> Self {
        Self {
            name,
            value,
            path: "/",
            domain: None,
            max_age: None,
            secure: true,
            http_only: true,
            same_site: SameSite::Lax,
        }
    }

    /// Deletes the cookie of this name that [`Cookie::new`] set.
    pub fn removal(name: &'a str) -> Self {
        Self { max_age: Some(0), ..Self::new(name, "") }
    }

    fn header(&self) -> String {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let attribute = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';');
        if self.name.is_empty() || !self.name.bytes().all(token) {
            refuse(format_args!("invalid name of a cookie: {}", self.name));
        }
        if !attribute(self.path) || !self.domain.is_none_or(attribute) {
            refuse(format_args!("invalid path or domain of the cookie {}", self.name));
        }
        let mut header = String::from(self.name);
        header.push('=');
        header.extend(utf8_percent_encode(self.value, ENCODED));
        header.extend(["; Path=", self.path]);
        if let Some(domain) = self.domain {
            header.extend(["; Domain=", domain]);
        }
        if let Some(seconds) = self.max_age {
            // Writing to a String cannot fail.
            let _ = write!(header, "; Max-Age={seconds}");
        }
        header.push_str(if self.secure { "; Secure" } else { "" });
        header.push_str(if self.http_only { "; HttpOnly" } else { "" });
        header.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        header
    }
}

impl Response {
    /// Sets a cookie.
    ///
    /// # Panics
    /// When the name is not a token, or path or domain have characters that would end them.
    pub fn with_cookie(self, cookie: &Cookie<'_>) -> Self {
        self.with_header("set-cookie", cookie.header())
    }
}

impl Request {
    /// The value of the first cookie of this name, percent-decoded. The manifest must list the header `cookie`.
    pub fn cookie(&self, name: &str) -> Option<Cow<'_, str>> {
        let headers = self.headers.iter().filter(|header| header.name == "cookie");
        let mut cookies =
            headers.flat_map(|header| header.value.split(';')).filter_map(|cookie| cookie.split_once('='));
        let (_, value) = cookies.find(|(found, _)| found.trim_ascii() == name)?;
        let value = value.trim_ascii();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        // What is not an encoding of text was not encoded.
        Some(percent_decode_str(value).decode_utf8().unwrap_or(Cow::Borrowed(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    fn set(cookie: &Cookie<'_>) -> String {
        Response::empty(204).with_cookie(cookie).headers[0].value.clone()
    }

    #[test]
    fn every_attribute_is_written() {
        let cookie = Cookie {
            path: "/shop",
            domain: Some("shop.example"),
            max_age: Some(60),
            secure: false,
            http_only: false,
            same_site: SameSite::Strict,
            ..Cookie::new("theme", "dark")
        };
        assert_eq!(set(&cookie), "theme=dark; Path=/shop; Domain=shop.example; Max-Age=60; SameSite=Strict");
        let everywhere = Cookie { same_site: SameSite::None, ..Cookie::new("a", "b") };
        assert_eq!(set(&everywhere), "a=b; Path=/; Secure; HttpOnly; SameSite=None");
        assert_eq!(set(&Cookie::removal("a")), "a=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn a_value_comes_back_as_it_was_and_adds_nothing() {
        for value in ["", "a", "a; Domain=evil.example", "a\r\nset-cookie: b=c", "ü 100% \"x\", \\", "a=b", "%41"] {
            let header = set(&Cookie::new("k", value));
            let pair = header.split("; ").next().unwrap();
            assert!(pair.bytes().all(|byte| byte.is_ascii_graphic()), "{header}");
            let request = test::get("/", &[]).with_header("cookie", &["x=1; ", pair].concat());
            assert_eq!(request.cookie("k").as_deref(), Some(value), "{header}");
        }
    }

    #[test]
    fn cookies_are_found_by_name() {
        let request = test::get("/", &[])
            .with_header("cookie", "a=1;b=\"2\" ; a=3; novalue; c= x=y ")
            .with_header("cookie", "d=%ff; e=100%");
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("2")),
            ("c", Some("x=y")),
            ("d", Some("%ff")),
            ("e", Some("100%")),
            ("novalue", None),
            ("A", None),
            ("", None),
        ] {
            assert_eq!(request.cookie(name).as_deref(), value, "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "invalid name of a cookie: a;b")]
    fn a_name_that_is_not_a_token_is_a_mistake_of_the_handler() {
        set(&Cookie::new("a;b", ""));
    }

    #[test]
    #[should_panic(expected = "invalid path or domain of the cookie a")]
    fn a_path_that_would_end_is_a_mistake_of_the_handler() {
        set(&Cookie { path: "/;Domain=x", ..Cookie::new("a", "") });
    }
}
