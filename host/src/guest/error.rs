//! Why a component is rejected: it is too large, does not compile, or does not fit its world, its grants or its limits.

use crate::contract::{VERSION, Version};
use crate::failure::{Fault, FaultKind};

/// Why a component is rejected.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// It has more bytes than any component may have.
    #[error("{bytes} bytes are over the limit of {most} for a component")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: u64,
    },
    /// It is a core module, not a component.
    #[error("a core module, not a component: build it for wasm32-wasip2")]
    CoreModule,
    /// Compiling it takes more than the limits allow.
    #[error("{0}")]
    Costly(String),
    /// The compiler ended without a result.
    #[error("{0}")]
    Compiler(String),
    /// The compiler was stopped from outside or could not run; the next attempt may succeed.
    #[error("{0}")]
    Passing(String),
    /// It compiles, but its compiled form cannot be written.
    #[error("its compiled form cannot be written: {0}")]
    Unkept(String),
    /// It does not parse, validate or compile.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// It declares more than its entry in the manifest allows.
    #[error("{0}")]
    Unfit(String),
    /// It imports something that it was not granted.
    #[error("imports `{0}`, which the manifest does not grant")]
    Import(String),
    /// It was built for a version of the contract that this host does not have.
    #[error("built for galo:handler {0}, this host has {VERSION}: {remedy}", remedy = if .0.major < VERSION.major {
        "build it again with this version's kit (`galo upgrade` in its project)"
    } else {
        "update the host, or build it for this host's version"
    })]
    Version(Version),
    /// It does not have the two exports of the handler's world, with their types.
    #[error("not of the world `galo:handler/handler@{VERSION}`: {0}")]
    World(String),
    /// It can never have the memory that the manifest asks for.
    #[error("{0}")]
    Memory(String),
    /// An instance of it cannot be made within its limits.
    #[error("cannot be instantiated: {0}")]
    Trial(Fault),
}

impl ComponentError {
    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self::Passing(text.into())
    }

    /// Whether the next attempt may succeed: the cause may be a busy machine, or one that is out of memory or disk.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Passing(_) | Self::Unkept(_) | Self::Trial(Fault { kind: FaultKind::Deadline, .. }))
    }
}
