//! A component and what was proved of it: it compiles, it is of the handler's world, it imports what it was granted
//! and no more, and an instance of it fits its limits. Only such a component can be called.
//!
//! Made by `registry`; called through the functions of `instance`.

use std::fmt;

use sha2::{Digest as _, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component as Compiled, Linker};

use super::cache::Cache;
use super::engine::Engine;
use super::instance::Guest;
use super::wasi;
use crate::contract::{HandlerPre, TYPES_INSTANCE};
use crate::failure::Fault;
use crate::limits::{self, HandlerLimits};

/// A component that was verified.
pub struct Component {
    pub(super) engine: Engine,
    pub(super) pre: HandlerPre<Guest>,
    pub(super) limits: HandlerLimits,
    pub(super) grants: Grants,
    /// The sha256 of its bytes: what it is known by.
    pub digest: Digest,
}

/// What a component may import besides the contract's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    /// The closed WASI.
    pub wasi: bool,
}

/// The sha256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// Why a component is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It has more bytes than any component may have.
    #[error("{bytes} bytes are over the limit of {} for a component", limits::COMPONENT_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is a core module, not a component.
    #[error("a core module, not a component: build it for wasm32-wasip2")]
    CoreModule,
    /// It does not parse, validate or compile.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// It imports something that it was not granted.
    #[error("imports `{0}`, which the manifest does not grant")]
    Import(String),
    /// It does not have the two exports of the handler's world, with their types.
    #[error("not of the world `galo:handler/handler@1.0.0`: {0}")]
    World(String),
    /// An instance of it cannot be made within its limits.
    #[error("cannot be instantiated: {0}")]
    Trial(Fault),
}

/// Verifies the bytes of a component. Takes 10–100 ms per component when it has to be compiled, under 1 ms when its
/// compiled form is in the cache; do not call it on a serving thread.
///
/// # Errors
/// The first proof that fails.
pub fn verify(
    engine: &Engine,
    bytes: &[u8],
    grants: Grants,
    limits: HandlerLimits,
    cache: Option<&Cache>,
) -> Result<Component, Refusal> {
    if bytes.len() as u64 > limits::COMPONENT_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes: bytes.len() });
    }
    let digest = Digest::of(bytes);
    let compiled = match cache.and_then(|cache| cache.find(engine, &digest)) {
        Some(compiled) => compiled,
        None => {
            let compiled = compile(engine, bytes)?;
            if let Some(cache) = cache {
                cache.keep(engine, &digest, &compiled);
            }
            compiled
        }
    };
    check_imports(engine, &compiled, grants)?;
    let mut linker = Linker::<Guest>::new(engine.inner());
    if grants.wasi {
        wasi::link(&mut linker).map_err(|error| Refusal::Invalid(format!("{error:#}")))?;
    }
    let pre = linker.instantiate_pre(&compiled).map_err(|error| Refusal::World(format!("{error:#}")))?;
    let pre = HandlerPre::new(pre).map_err(|error| Refusal::World(format!("{error:#}")))?;
    let component = Component { engine: engine.clone(), pre, limits, grants, digest };
    component.trial().map_err(Refusal::Trial)?;
    Ok(component)
}

fn compile(engine: &Engine, bytes: &[u8]) -> Result<Compiled, Refusal> {
    // Magic, version 1, layer 0: told apart because it is what a build for another target gives.
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(Refusal::CoreModule);
    }
    Compiled::from_binary(engine.inner(), bytes).map_err(|error| Refusal::Invalid(format!("{error:#}")))
}

/// Names the first import that is neither the contract's types nor granted.
fn check_imports(engine: &Engine, compiled: &Compiled, grants: Grants) -> Result<(), Refusal> {
    for (name, import) in compiled.component_type().imports(engine.inner()) {
        let granted = grants.wasi && name.starts_with("wasi:");
        match import.ty {
            ComponentItem::ComponentInstance(instance) if name == TYPES_INSTANCE => {
                let mut exports = instance.exports(engine.inner());
                if let Some((function, _)) = exports.find(|(_, e)| !matches!(e.ty, ComponentItem::Type(_))) {
                    return Err(Refusal::Import(format!("{name}.{function}")));
                }
            }
            _ if granted => {}
            _ => return Err(Refusal::Import(name.to_owned())),
        }
    }
    Ok(())
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
