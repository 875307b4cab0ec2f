//! The stable code and status of each kind of failure. Programs read the code in answers that no handler made. A
//! manifest can add a text for people to each code but cannot change the code. docs/operating.md has the same table.

use http::StatusCode;

/// A kind of failure, as clients know it. Failures that a client handles in the same way share a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The head of the request is not HTTP.
    MalformedRequest,
    /// The body broke off or was framed wrongly.
    BodyIncomplete,
    /// A value that the database does not accept: SQLSTATE 22xxx.
    InvalidValue,
    /// The route requires a token, or the token is not accepted.
    Unauthorized,
    /// A page from an origin that is not allowed sent a request that would change something.
    OriginNotAllowed,
    /// The database does not permit it: SQLSTATE 42501.
    Forbidden,
    /// No route has this path.
    NotFound,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// Something exists already, or something that is referred to does not: SQLSTATE 23503, 23505, 23P01.
    Conflict,
    /// The body has more bytes than the handler accepts.
    BodyTooLarge,
    /// The body has a content coding.
    ContentEncodingUnsupported,
    /// The body is not of the type that the handler accepts.
    ContentTypeUnsupported,
    /// A value that a constraint of the database forbids: SQLSTATE 23502, 23514.
    ConstraintViolated,
    /// The request line or the headers have too many bytes. Answered by a proxy; a node's own 431 has no body.
    HeadersTooLarge,
    /// The handler, its procedure or the host failed.
    InternalError,
    /// The body has a transfer coding other than `chunked`.
    TransferCodingUnsupported,
    /// The node is busy, or the database did not answer. Either everything was recorded or nothing. Try again later.
    Unavailable,
}

/// Every code, in the order of the enum, which follows the statuses.
const TABLE: [(Code, &str, StatusCode); 18] = [
    (Code::MalformedRequest, "malformed_request", StatusCode::BAD_REQUEST),
    (Code::BodyIncomplete, "body_incomplete", StatusCode::BAD_REQUEST),
    (Code::InvalidValue, "invalid_value", StatusCode::BAD_REQUEST),
    (Code::Unauthorized, "unauthorized", StatusCode::UNAUTHORIZED),
    (Code::OriginNotAllowed, "origin_not_allowed", StatusCode::FORBIDDEN),
    (Code::Forbidden, "forbidden", StatusCode::FORBIDDEN),
    (Code::NotFound, "not_found", StatusCode::NOT_FOUND),
    (Code::MethodNotAllowed, "method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
    (Code::BodyTimeout, "body_timeout", StatusCode::REQUEST_TIMEOUT),
    (Code::Conflict, "conflict", StatusCode::CONFLICT),
    (Code::BodyTooLarge, "body_too_large", StatusCode::PAYLOAD_TOO_LARGE),
    (Code::ContentEncodingUnsupported, "content_encoding_unsupported", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    (Code::ContentTypeUnsupported, "content_type_unsupported", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    (Code::ConstraintViolated, "constraint_violated", StatusCode::UNPROCESSABLE_ENTITY),
    (Code::HeadersTooLarge, "headers_too_large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    (Code::InternalError, "internal_error", StatusCode::INTERNAL_SERVER_ERROR),
    (Code::TransferCodingUnsupported, "transfer_coding_unsupported", StatusCode::NOT_IMPLEMENTED),
    (Code::Unavailable, "unavailable", StatusCode::SERVICE_UNAVAILABLE),
];

impl Code {
    /// The number of codes.
    pub const COUNT: usize = TABLE.len();

    /// All codes, in the order of the enum.
    pub fn all() -> [Self; Self::COUNT] {
        TABLE.map(|(code, _, _)| code)
    }

    /// The code with this text, as [`Code::as_str`] returns it.
    pub fn named(word: &str) -> Option<Self> {
        TABLE.iter().find(|(_, known, _)| *known == word).map(|(code, _, _)| *code)
    }

    /// The code as clients read it, e.g. `not_found`.
    pub fn as_str(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The status of an answer with this code.
    pub fn status(self) -> StatusCode {
        TABLE[self as usize].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code_at_its_place() {
        for (place, code) in Code::all().into_iter().enumerate() {
            assert_eq!(code as usize, place);
            assert_eq!(Code::named(code.as_str()), Some(code));
            assert!(code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code:?}");
        }
        // Fails when a code is added after the last one of the enum but not to the table.
        assert_eq!(Code::Unavailable as usize + 1, Code::COUNT);
        assert_eq!(Code::named("nothing"), None);
    }
}
