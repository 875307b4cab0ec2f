//! The only error type of the data path. Its variants follow what happens next, not which crate failed. This module
//! alone separates what a client may read from what is logged.
//!
//! `route`, `wire`, `guest` and `database` create failures, `wire` turns them into responses, `request` logs them.

mod code;
mod raised;

use std::fmt::{self, Write as _};

use http::StatusCode;

pub use self::code::Code;
pub use self::raised::{Raised, outcome_of};
use crate::limits;

/// Why a request did not get the answer of its handler.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// No route has this path.
    #[error("no such path")]
    NotFound,
    /// The path exists, but not with this method. The methods it has go into `Allow`.
    #[error("method not allowed; allowed: {allow}")]
    MethodNotAllowed {
        /// The methods of the path, in the format of the header: `GET, POST`.
        allow: String,
    },
    /// A page from an origin that is not allowed sent a request that would change something.
    #[error("sent by a page of another origin; `[cors]` of the manifest can allow it")]
    Uninvited,
    /// The route requires a token, or the token is not accepted.
    #[error("no valid token: {cause}")]
    Unauthorized {
        /// The value of `WWW-Authenticate`.
        challenge: &'static str,
        /// Why it is not accepted, without anything of the token.
        cause: &'static str,
        /// The operator may have to do something about it.
        is_notable: bool,
    },
    /// The head of the request is not valid HTTP.
    #[error("malformed head: {cause}")]
    HeadMalformed {
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The proxy may send the request a second time, which could repeat its effect.
    #[error("the proxy may repeat the request: {cause}")]
    Repeatable {
        /// Why a repetition is not allowed.
        cause: &'static str,
    },
    /// The body has a transfer coding other than `chunked`.
    #[error("unknown transfer coding")]
    CodingUnknown,
    /// The body has a content coding, such as gzip.
    #[error("the body has a content coding")]
    EncodingUnsupported,
    /// The `Content-Type` of the body is not the type that the handler accepts.
    #[error("the body is not said to be {expected}")]
    TypeUnsupported {
        /// The type the handler accepts.
        expected: String,
    },
    /// The body has more bytes than the handler accepts.
    #[error("body is over {bytes_max} bytes")]
    BodyTooLarge {
        /// The limit that was exceeded.
        bytes_max: usize,
    },
    /// The end of the body did not arrive in time.
    #[error("body did not arrive in time")]
    BodyTimeout,
    /// The body broke off or was framed wrongly. Usually the client is gone and does not read this answer.
    #[error("body broke off: {cause}")]
    BodyBroken {
        /// hyper's description of the error.
        cause: String,
    },
    /// More requests in flight than the node admits, more calls waiting than a batch form accepts, or more slow calls
    /// than a handler may have.
    #[error("too many requests in flight, calls waiting or slow calls")]
    Shed,
    /// The database could not be reached, or its answer did not arrive. A sent call is either recorded as a whole or
    /// not at all.
    #[error("database unavailable: {cause}")]
    Unavailable {
        /// Host, port and SQLSTATE, as far as they are known.
        cause: String,
    },
    /// The procedure raised an error, which rolled the call back, and the handler did not answer it.
    #[error("{0}")]
    Raised(Box<Raised>),
    /// The call failed in a way that its handler cannot know, e.g. because the procedure has changed.
    #[error("procedure {procedure} failed: {cause}")]
    Procedure {
        /// The procedure's name.
        procedure: String,
        /// What happened.
        cause: String,
    },
    /// The guest trapped, exceeded a limit or violated the contract.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// The host itself panicked while it processed the request.
    #[error("panic: {message}")]
    Panic {
        /// The panic's payload.
        message: String,
    },
}

/// A guest's error, which is answered with 500.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind} in {phase}: {detail}")]
pub struct Fault {
    /// The function that ran.
    pub phase: Phase,
    /// The kind of error.
    pub kind: FaultKind,
    /// A description of the cause. For a panic of a development build: its message, file and line. [`Fault::new`]
    /// truncates text that comes from a guest.
    pub detail: String,
    /// The call stack, innermost function first, if the component has the names of its functions.
    pub backtrace: Option<String>,
}

/// One of the two functions of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// `prepare(request) -> plan`
    Prepare,
    /// `respond(carry, outcome) -> response`
    Respond,
}

/// The ways a guest goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It trapped, e.g. by a panic, a division by zero or a stack overflow.
    Trap,
    /// It did not return within its deadline.
    Deadline,
    /// It requested more memory or table elements than it may have.
    Memory,
    /// It returned more than the limits allow.
    Oversized,
    /// It returned something the contract forbids, e.g. a bad status or a procedure it was not granted.
    Malformed,
    /// It failed a request that the proved generation does not fail. Its call was rejected, or it answered 5xx.
    Worse,
}

impl Failure {
    /// The code that the client reads. It reveals no internals.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::Unauthorized { .. } => Code::Unauthorized,
            Self::Uninvited => Code::OriginNotAllowed,
            Self::EncodingUnsupported => Code::ContentEncodingUnsupported,
            Self::TypeUnsupported { .. } => Code::ContentTypeUnsupported,
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::BodyTimeout => Code::BodyTimeout,
            Self::BodyBroken { .. } => Code::BodyIncomplete,
            Self::HeadMalformed { .. } => Code::MalformedRequest,
            Self::CodingUnknown => Code::TransferCodingUnsupported,
            Self::Shed | Self::Unavailable { .. } | Self::Repeatable { .. } => Code::Unavailable,
            Self::Raised(raised) => raised.code(),
            Self::Procedure { .. } | Self::Fault(_) | Self::Panic { .. } => Code::InternalError,
        }
    }

    /// What records and traces call it: its code, or `raised` where the procedure has chosen the status.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Raised(raised) if raised.chosen().is_some() => "raised",
            _ => self.code().as_str(),
        }
    }

    /// The status the client gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Raised(raised) => raised.chosen().unwrap_or_else(|| raised.code().status()),
            _ => self.code().status(),
        }
    }
}

impl Fault {
    /// A fault whose detail may be text from a guest, of any length.
    pub fn new(phase: Phase, kind: FaultKind, detail: &str) -> Self {
        Self { phase, kind, detail: cut(detail, limits::FAULT_BYTES_MAX), backtrace: None }
    }

    /// A fault of kind `Malformed`.
    pub fn malformed(phase: Phase, detail: impl AsRef<str>) -> Self {
        Self::new(phase, FaultKind::Malformed, detail.as_ref())
    }
}

/// The first bytes of a foreign text, up to a limit. Control characters except line feeds and tabs are replaced,
/// because in the log or as JSON they are escaped to six times their length.
pub fn cut(text: impl fmt::Display, bytes_max: usize) -> String {
    let mut kept = Cut { text: String::new(), bytes_max };
    // Writing fails only when the limit is reached.
    if write!(kept, "{text}").is_err() {
        kept.text.push('…');
    }
    kept.text
}

/// A name chosen by a guest, as shown in a fault.
pub fn shown(name: impl fmt::Display) -> String {
    let most = limits::NAME_SHOWN_BYTES_MAX;
    cut(cut(name, most).escape_default(), most)
}

/// A text with a limit of bytes. Writing stops with an error at the limit, however much is left to write.
struct Cut {
    text: String,
    bytes_max: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for c in piece.chars() {
            if self.text.len() + c.len_utf8() > self.bytes_max {
                return Err(fmt::Error);
            }
            self.text.push(if c.is_control() && !matches!(c, '\n' | '\t') { '?' } else { c });
        }
        Ok(())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Respond => "respond",
        })
    }
}

impl FaultKind {
    /// The name used in the log and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::Worse => "worse",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_guest_is_cut_between_characters_and_moves_no_terminal() {
        assert_eq!(cut("a\u{1b}[2J\nb\u{9b}", 64), "a?[2J\nb?");
        assert_eq!(cut("üüü", 4), "üü…");
        assert_eq!(cut("üüü", 5), "üü…");
        assert_eq!(cut("üüü", 6), "üüü");
        let fault = Fault::malformed(Phase::Prepare, "\0".repeat(1_000_000));
        assert!(fault.detail.len() <= limits::FAULT_BYTES_MAX + '…'.len_utf8());
        assert!(shown("\u{301}".repeat(1_000_000)).len() <= limits::NAME_SHOWN_BYTES_MAX + '…'.len_utf8());
        assert_eq!(shown("a b"), "a b");
    }
}
