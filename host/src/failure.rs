//! What the host could not do. The only error of the data path: an enum by what happens next, not by which crate
//! complained. What a client may read is separate from what the log says, here and nowhere else.
//!
//! Made by the leaves (`route`, `wire`, `guest`, `database`), turned into a response by `wire`, logged by `request`.

use std::fmt;

use http::StatusCode;

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
    /// The head of the request is not what HTTP asks for.
    #[error("malformed head: {cause}")]
    HeadMalformed {
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The body has a transfer coding other than `chunked`.
    #[error("unknown transfer coding")]
    CodingUnknown,
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
    /// More requests in flight than the node admits, or more calls waiting than a batch form takes.
    #[error("too many requests in flight, or calls waiting")]
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
    /// The cause in words; for a panic of a development build its message, file and line.
    pub detail: String,
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
}

impl Failure {
    /// The status the client gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken { .. } | Self::HeadMalformed { .. } => StatusCode::BAD_REQUEST,
            Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::Shed | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Procedure { .. } | Self::Fault(_) | Self::Panic { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The text the client gets. It names nothing of the inside.
    pub fn public_text(&self) -> &'static str {
        match self {
            Self::NotFound => "caminho desconhecido",
            Self::MethodNotAllowed { .. } => "metodo nao permitido",
            Self::BodyTooLarge { .. } => "corpo grande demais",
            Self::BodyTimeout => "o corpo demorou demais",
            Self::BodyBroken { .. } => "corpo incompleto",
            Self::HeadMalformed { .. } => "requisicao malformada",
            Self::CodingUnknown => "codificacao desconhecida",
            Self::Shed | Self::Unavailable { .. } => "indisponivel",
            Self::Procedure { .. } | Self::Fault(_) | Self::Panic { .. } => "erro interno",
        }
    }
}

impl Fault {
    /// A fault of kind `Malformed`.
    pub fn malformed(phase: Phase, detail: impl Into<String>) -> Self {
        Self { phase, kind: FaultKind::Malformed, detail: detail.into() }
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
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
