//! Making a response: JSON, or an error that a person understands.
//!
//! It sets only `content-type`; the host adds the headers that the connection needs.

use alloc::vec;
use alloc::vec::Vec;

use serde::Serialize;

use crate::panic::refuse;
use crate::{Field, Response};

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
}
