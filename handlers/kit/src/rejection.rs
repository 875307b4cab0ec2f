//! Why a request is refused, and the response that says so: a 4xx with the same JSON, which README.md documents. It
//! names the place and what was expected there, and never quotes a value that was sent.
//!
//! A `config` that does not fit is the operator's mistake: the client gets a 500 without a reason, and the log has it.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::Serialize;

use crate::decode::Problem;
use crate::{Level, Plan, Response};

/// In bytes. A path can contain names that the client chose.
const TEXT_BYTES_MAX: usize = 200;

/// The part of a request that is refused, or the `config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A parameter of the route. The status is 404: nothing has this address.
    Path,
    /// The query string: 400.
    Query,
    /// A header: 400.
    Header,
    /// A cookie: 400.
    Cookie,
    /// The body: 400 if it is not well formed, 422 if it is not what was expected.
    Body,
    /// The bearer token or its claims: 401.
    Token,
    /// The handler's `config` in the manifest: 500.
    Config,
}

impl Part {
    fn status(self) -> u16 {
        match self {
            Self::Path => 404,
            Self::Query | Self::Header | Self::Cookie => 400,
            Self::Body => 422,
            Self::Token => 401,
            Self::Config => 500,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::Body => "body",
            Self::Token => "token",
            Self::Config => "config",
        }
    }
}

/// Why a request is refused. It converts into a [`Response`] and into a [`Plan`]:
///
/// ```
/// use galo_kit::{Part, Rejection, Response, test};
///
/// let rejection = Rejection::new(Part::Body, "items[1].quantity", "an integer from 1 to 99");
/// let response = Response::from(rejection);
/// assert_eq!(response.status, 422);
/// assert_eq!(
///     test::text(&response),
///     concat!(
///         r#"{"error":"invalid_request","#,
///         r#""message":"body, items[1].quantity: expected an integer from 1 to 99","#,
///         r#""in":"body","path":"items[1].quantity","expected":"an integer from 1 to 99"}"#,
///     ),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status of the response.
    pub status: u16,
    /// The part of the request.
    pub part: Part,
    /// Where in this part: a name, or a path such as `items[1].quantity`. Empty for the whole part.
    pub path: String,
    /// What was expected there, in words that follow "expected".
    pub expected: Cow<'static, str>,
}

impl Rejection {
    /// A rejection by the handler itself, with the usual status of this part.
    pub fn new(part: Part, path: &str, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { status: part.status(), part, path: path.into(), expected: expected.into() }
    }

    pub(crate) fn of(part: Part, problem: Problem) -> Self {
        let status = if problem.malformed && part == Part::Body { 400 } else { part.status() };
        let (mut path, mut expected) = problem.into_parts();
        path.truncate(path.floor_char_boundary(TEXT_BYTES_MAX));
        if expected.len() > TEXT_BYTES_MAX {
            let end = expected.floor_char_boundary(TEXT_BYTES_MAX);
            expected.to_mut().truncate(end);
        }
        Self { status, part, path, expected }
    }

    /// The same, in a value of this name.
    pub(crate) fn at(mut self, name: &str) -> Self {
        self.path = if self.path.is_empty() { name.into() } else { format!("{name}.{}", self.path) };
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, separator) = (self.part.name(), if self.path.is_empty() { "" } else { ", " });
        write!(formatter, "{part}{separator}{}: expected {}", self.path, self.expected)
    }
}

impl core::error::Error for Rejection {}

#[derive(Serialize)]
struct Body<'a> {
    error: &'static str,
    message: &'a str,
    r#in: &'static str,
    path: &'a str,
    expected: &'a str,
}

impl From<Rejection> for Response {
    fn from(rejection: Rejection) -> Self {
        let Rejection { status, part, path, expected } = &rejection;
        if *part == Part::Config {
            return Self::error(*status, "internal_error").log(Level::Error, format!("{rejection}"));
        }
        let error = if *part == Part::Token { "unauthorized" } else { "invalid_request" };
        let body = Body { error, message: &format!("{rejection}"), r#in: part.name(), path, expected };
        let response = Self::json(*status, &body);
        // RFC 9110, section 15.5.2: a 401 names the scheme.
        if *status == 401 { response.with_header("www-authenticate", "Bearer") } else { response }
    }
}

impl From<Rejection> for Plan {
    fn from(rejection: Rejection) -> Self {
        Self::Reply(rejection.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Step;
    use crate::test;

    #[test]
    fn the_status_depends_on_the_part() {
        for (part, status) in [
            (Part::Path, 404),
            (Part::Query, 400),
            (Part::Header, 400),
            (Part::Cookie, 400),
            (Part::Body, 422),
            (Part::Token, 401),
            (Part::Config, 500),
        ] {
            let response = Response::from(Rejection::new(part, "", "x"));
            assert_eq!(response.status, status);
            assert_eq!(response.headers.iter().any(|header| header.name == "www-authenticate"), status == 401);
        }
        let malformed = || Problem::malformed("end");
        assert_eq!(Rejection::of(Part::Body, malformed()).status, 400);
        assert_eq!(Rejection::of(Part::Token, malformed()).status, 401);
    }

    #[test]
    fn what_the_manifest_lacks_is_logged_and_not_sent() {
        let response = Response::from(Rejection::new(Part::Config, "page", "an integer"));
        assert_eq!(test::text(&response), r#"{"error":"internal_error"}"#);
        assert_eq!(
            (response.log[0].level, &*response.log[0].text),
            (Level::Error, "config, page: expected an integer")
        );
    }

    #[test]
    fn names_that_the_client_chose_are_cut() {
        let problem = Problem::expected("ü".repeat(101)).within(Step::Name("€".repeat(70)));
        let rejection = Rejection::of(Part::Query, problem);
        assert_eq!((rejection.path, rejection.expected), ("€".repeat(66), "ü".repeat(100).into()));
    }

    #[test]
    fn the_message_is_that_of_the_body() {
        let rejection = Rejection::new(Part::Query, "limit", "an integer");
        let text = format!("{rejection}");
        assert_eq!(text, "query, limit: expected an integer");
        assert!(test::text(&rejection.into()).contains(&text));
        assert_eq!(format!("{}", Rejection::new(Part::Body, "", "an object")), "body: expected an object");
    }
}
