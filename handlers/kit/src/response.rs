//! Making a response: JSON, or an error that a person understands.
//!
//! The host adds the headers that the connection needs.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use crate::panic::refuse;
use crate::{Field, Level, Line, Response};

/// What a URI cannot contain. Not the sign of an encoding: a location is encoded already, or plain.
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

#[derive(Serialize)]
struct Error<'a> {
    error: &'a str,
}

impl Response {
    /// A response with a JSON body.
    ///
    /// # Panics
    /// When the body cannot be written as JSON: a map whose keys are not text, or a `Serialize` that fails.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self::typed(status, "application/json", body),
            Err(error) => refuse(format_args!("the body cannot be JSON: {error}")),
        }
    }

    /// `{"error":"…"}`, with a text for a person to read.
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, &Error { error: text })
    }

    /// A response with a body of any media type.
    pub fn typed(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let content_type = Field { name: "content-type".into(), value: content_type.into() };
        Self { status, headers: vec![content_type], body: body.into(), log: Vec::new() }
    }

    /// A response without a body: 204, for example.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), log: Vec::new() }
    }

    /// A redirect: 303 to what a POST made, 302 or 307 for now, 301 or 308 for ever. 307 and 308 keep the method.
    ///
    /// ```
    /// use galo_kit::{Response, test};
    ///
    /// let response = Response::redirect(303, "/orders/7?q=a b");
    /// assert_eq!((response.status, response.headers), (303, test::fields(&[("location", "/orders/7?q=a%20b")])));
    /// ```
    ///
    /// # Panics
    /// When the status is not one of these.
    pub fn redirect(status: u16, location: &str) -> Self {
        match status {
            301 | 302 | 303 | 307 | 308 => Self::empty(status).with_location(location),
            other => refuse(format_args!("{other} is not a redirect: use 301, 302, 303, 307 or 308")),
        }
    }

    /// Sets `location`, as a 201 has it. What a URI cannot contain is percent-encoded.
    pub fn with_location(self, location: &str) -> Self {
        self.with_header("location", utf8_percent_encode(location, ENCODED).collect::<String>())
    }

    /// Adds a line for the log of the node, which adds the name of the handler and the id of the request. At most 16
    /// lines of together 4 KiB are written. Never log a secret or a client's data.
    ///
    /// ```
    /// use galo_kit::{Level, Response};
    ///
    /// let response = Response::error(409, "sold out").log(Level::Warning, "an item is out of stock");
    /// assert_eq!(response.log[0].text, "an item is out of stock");
    /// ```
    pub fn log(mut self, level: Level, text: impl Into<String>) -> Self {
        self.log.push(Line { level, text: text.into() });
        self
    }

    /// Adds a header. The name is lower case.
    ///
    /// ```
    /// use galo_kit::Response;
    ///
    /// let response = Response::json(200, &[1]).with_header("cache-control", "max-age=60");
    /// assert_eq!(response.headers[1].value, "max-age=60");
    /// ```
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(Field { name: name.into(), value: value.into() });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn json_has_the_content_type_of_json() {
        let response = Response::json(200, &[1, 2]);
        assert_eq!((response.status, test::text(&response)), (200, "[1,2]"));
        assert_eq!(response.headers, test::fields(&[("content-type", "application/json")]));
    }

    #[test]
    fn an_error_is_escaped_json() {
        let response = Response::error(422, "kind \"x\" ü");
        assert_eq!((response.status, test::text(&response)), (422, r#"{"error":"kind \"x\" ü"}"#));
    }

    #[test]
    fn a_location_is_encoded_once_and_adds_no_header() {
        for (location, header) in [
            ("/a?b=c&d#e", "/a?b=c&d#e"),
            ("/a%20b", "/a%20b"),
            ("https://shop.example/ü", "https://shop.example/%C3%BC"),
            ("/a\r\nset-cookie: b", "/a%0D%0Aset-cookie:%20b"),
        ] {
            let response = Response::json(201, &7).with_location(location);
            assert_eq!(response.headers[1], Field { name: "location".into(), value: header.into() });
        }
    }

    #[test]
    #[should_panic(expected = "304 is not a redirect")]
    fn a_redirect_has_the_status_of_one() {
        Response::redirect(304, "/");
    }
}
