//! Why something that was asked of the admin address is not done.

use http::StatusCode;

use crate::log::escaped;

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

    /// No handler has this name.
    pub(in crate::admin) fn no_handler(name: &str) -> Self {
        Self::missing(format!("no handler {}; `/api/handlers` lists them", escaped(name)))
    }

    /// For who may use the admin address, but not read records.
    pub(in crate::admin) fn records() -> Self {
        let why =
            "records are the data of clients: start the node with --admin-token-file FILE, or with --admin unix:PATH";
        Self::new(StatusCode::FORBIDDEN, why)
    }
}
