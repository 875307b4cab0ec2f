//! Why something that was asked of the admin address is not done.

use http::StatusCode;

use crate::admin::records::FORBIDDEN;

/// A status, and a text for a person that names the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) struct Denied {
    pub(in crate::admin) status: StatusCode,
    pub(in crate::admin) message: String,
}

impl Denied {
    pub(in crate::admin) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(in crate::admin) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(in crate::admin) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(in crate::admin) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// For who may use the admin address, but not read records.
    pub(in crate::admin) fn records() -> Self {
        Self::new(StatusCode::FORBIDDEN, FORBIDDEN.trim_end())
    }
}
