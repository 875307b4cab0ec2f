//! A component, compiled, and a component that was proved to fit (`fit`). Only the latter can be called (`instance`).

use std::sync::Arc;

use wasmtime::component::{Component as Native, ComponentExportIndex, InstancePre};

use super::digest::Digest;
use super::engine::Engine;
use super::store::Guest;
use crate::limits::HandlerLimits;
use crate::members::Members;

/// A component in its compiled form. It is not proved yet that it is a handler.
#[derive(Clone)]
pub struct Compiled {
    pub(super) engine: Engine,
    pub(super) native: Native,
    /// The sha256 of its bytes: its identity.
    pub digest: Digest,
    /// Whether its compiled form was found in the cache.
    pub cached: bool,
    /// Bytes of memory that its compiler took at most; 0 if the form was found.
    pub compiler_bytes: u64,
}

impl Compiled {
    /// Bytes of its machine code, which is mapped and becomes resident as it runs.
    pub fn code_bytes(&self) -> u64 {
        let code = self.native.image_range();
        (code.end.addr() - code.start.addr()) as u64
    }

    /// Bytes of linear memory that an instance of it begins with.
    pub fn memory_bytes(&self) -> u64 {
        let required = self.native.resources_required();
        required.map_or(0, |required| {
            let pages = required.max_initial_memory_size.unwrap_or(0);
            pages.saturating_mul(u64::from(required.num_memories)).saturating_mul(64 * 1024)
        })
    }
}

/// A component that was proved to fit. A clone shares its code.
#[derive(Clone)]
pub struct Component {
    pub(super) engine: Engine,
    pub(super) pre: InstancePre<Guest>,
    /// Where its two functions are: looking both up by their names costs a call 3 % of its time.
    pub(super) prepare: ComponentExportIndex,
    pub(super) respond: ComponentExportIndex,
    pub(super) limits: HandlerLimits,
    pub(super) grants: Grants,
    /// The compiled component it was made of, for fitting it again.
    pub compiled: Compiled,
    /// The names of members of JSON that its examples and its manifest have.
    pub members: Arc<Members>,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Component({})", self.compiled.digest)
    }
}

/// What a component may import besides the contract's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    /// The closed WASI.
    pub wasi: bool,
}
