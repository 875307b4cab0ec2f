//! What the host could not do. The only error of the data path: an enum by what happens next, not by which crate
//! complained. What a client may read is separate from what the log says, here and nowhere else.
//!
//! Made by the leaves (`route`, `wire`, `guest`, `database`), turned into a response by `wire`, logged by `request`.

mod code;

use std::fmt::{self, Write as _};

use http::StatusCode;

pub use self::code::Code;
use crate::limits;

/// Why a request did not get the answer of its handler.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// No route has this path.
    #[error("no such path")]
    NotFound,
    /// The path is known, with other methods; they go into `Allow`.
    #[error("method not allowed; allowed: {allow}")]
    MethodNotAllowed {
        /// The methods of the path, as the header wants them: `GET, POST`.
        allow: String,
    },
    /// A page of an origin that is not allowed sent what would change something.
    #[error("sent by a page of another origin; `[cors]` of the manifest can allow it")]
    Uninvited,
    /// The head of the request is not what HTTP asks for.
    #[error("malformed head: {cause}")]
    HeadMalformed {
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The proxy may send the request a second time, and that could do again what the first try did.
    #[error("the proxy may repeat the request: {cause}")]
    Repeatable {
        /// Why it may not.
        cause: &'static str,
    },
    /// The body has a transfer coding other than `chunked`.
    #[error("unknown transfer coding")]
    CodingUnknown,
    /// The body has a content coding, such as gzip.
    #[error("the body has a content coding")]
    EncodingUnsupported,
    /// The body is not said to be of the type that the handler takes.
    #[error("the body is not said to be {expected}")]
    TypeUnsupported {
        /// The type it takes.
        expected: String,
    },
    /// The body has more bytes than the handler takes.
    #[error("body is over {bytes_max} bytes")]
    BodyTooLarge {
        /// The limit it broke.
        bytes_max: usize,
    },
    /// The body did not come to its end in time.
    #[error("body did not arrive in time")]
    BodyTimeout,
    /// The body broke off or was framed wrongly; most often nobody reads this answer.
    #[error("body broke off: {cause}")]
    BodyBroken {
        /// hyper's word for it.
        cause: String,
    },
    /// More requests in flight than the node admits, more calls waiting than a batch form takes, or more slow calls
    /// than a handler may have.
    #[error("too many requests in flight, calls waiting or slow calls")]
    Shed,
    /// The database could not be asked, or its answer did not come. What was sent is either wholly recorded or not
    /// at all.
    #[error("database unavailable: {cause}")]
    Unavailable {
        /// Host, port, SQLSTATE: whatever is known.
        cause: String,
    },
    /// The procedure raised an exception, which is not for a business answer.
    #[error("procedure {procedure} failed: {cause}")]
    Procedure {
        /// The procedure's name.
        procedure: String,
        /// SQLSTATE and message.
        cause: String,
        /// The SQLSTATE of the exception, which rolled the call back; none when it failed in another way.
        sqlstate: Option<String>,
    },
    /// The guest trapped, overran or lied.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// The host itself panicked while it carried the request.
    #[error("panic: {message}")]
    Panic {
        /// The panic's payload.
        message: String,
    },
}

/// What a guest did that cost its request a 500.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind} in {phase}: {detail}")]
pub struct Fault {
    /// Which of the two functions ran.
    pub phase: Phase,
    /// What it did.
    pub kind: FaultKind,
    /// The cause in words; for a panic of a development build its message, file and line. What a guest says is cut
    /// where it enters, by [`Fault::new`].
    pub detail: String,
    /// The functions it was in, the innermost first, where the component has their names.
    pub backtrace: Option<String>,
}

/// One of the two functions of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// `prepare(request) -> plan`
    Prepare,
    /// `respond(carry, rows) -> response`
    Respond,
}

/// The ways a guest goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It executed an instruction that traps: a panic, a division by zero, a stack overflow.
    Trap,
    /// It did not return within its deadline.
    Deadline,
    /// It asked for more memory or table than it may have.
    Memory,
    /// It handed back more than it may.
    Oversized,
    /// It handed back something the contract forbids: a bad status, a procedure it was not granted.
    Malformed,
    /// It failed a request that the proved generation does not fail: its call was rejected, or it answered 5xx.
    Worse,
}

impl Failure {
    /// What the client reads. It names nothing of the inside.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::Uninvited => Code::OriginNotAllowed,
            Self::EncodingUnsupported => Code::ContentEncodingUnsupported,
            Self::TypeUnsupported { .. } => Code::ContentTypeUnsupported,
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::BodyTimeout => Code::BodyTimeout,
            Self::BodyBroken { .. } => Code::BodyIncomplete,
            Self::HeadMalformed { .. } => Code::MalformedRequest,
            Self::CodingUnknown => Code::TransferCodingUnsupported,
            Self::Shed | Self::Unavailable { .. } | Self::Repeatable { .. } => Code::Unavailable,
            Self::Procedure { .. } | Self::Fault(_) | Self::Panic { .. } => Code::InternalError,
        }
    }

    /// The status the client gets.
    pub fn status(&self) -> StatusCode {
        self.code().status()
    }
}

impl Fault {
    /// A fault whose detail may be a guest's own words, of any length.
    pub fn new(phase: Phase, kind: FaultKind, detail: &str) -> Self {
        Self { phase, kind, detail: cut(detail, limits::FAULT_BYTES_MAX), backtrace: None }
    }

    /// A fault of kind `Malformed`.
    pub fn malformed(phase: Phase, detail: impl AsRef<str>) -> Self {
        Self::new(phase, FaultKind::Malformed, detail.as_ref())
    }
}

/// The first bytes of a text that is not ours, up to a limit. Control characters but line feeds and tabs are replaced:
/// escaped, in the log or as JSON, they would be six times as long.
pub fn cut(text: impl fmt::Display, bytes_max: usize) -> String {
    let mut kept = Cut { text: String::new(), bytes_max };
    // What fails is writing on when it is full.
    if write!(kept, "{text}").is_err() {
        kept.text.push('…');
    }
    kept.text
}

/// A name that a guest made up, as its fault shows it.
pub fn shown(name: impl fmt::Display) -> String {
    let most = limits::NAME_SHOWN_BYTES_MAX;
    cut(cut(name, most).escape_default(), most)
}

/// A text that takes no more than its bytes: what writes it is stopped there, however much it had to write.
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
    /// The word of the log and of the metrics.
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
