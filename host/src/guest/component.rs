//! A component and what was proved of it: it compiles, it is of the handler's world, it imports what it was granted
//! and no more, and an instance of it fits its limits. Only such a component can be called.
//!
//! Compiled once, it may be fitted again, under other grants and limits. Compiled by `compiler`, fitted by `reload`;
//! called through the functions of `instance`.

use std::fmt;

use sha2::{Digest as _, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component as Native, ComponentExportIndex, InstancePre, Linker};

use super::engine::Engine;
use super::instance::Guest;
use super::wasi;
use crate::contract::{HandlerPre, TYPES_INSTANCE};
use crate::failure::{Fault, FaultKind};
use crate::limits::HandlerLimits;

/// A component in its compiled form. That it compiles says nothing of what it is.
#[derive(Clone)]
pub struct Compiled {
    pub(super) engine: Engine,
    pub(super) native: Native,
    /// The sha256 of its bytes: what it is known by.
    pub digest: Digest,
    /// Whether it was compiled before, and its compiled form was found.
    pub cached: bool,
}

/// A component that was proved to fit.
pub struct Component {
    pub(super) engine: Engine,
    pub(super) pre: InstancePre<Guest>,
    /// Where its two functions are: looking both up by their names costs a call 3 % of its time.
    pub(super) prepare: ComponentExportIndex,
    pub(super) respond: ComponentExportIndex,
    pub(super) limits: HandlerLimits,
    pub(super) grants: Grants,
    /// What it was made of, to be fitted again.
    pub compiled: Compiled,
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
    #[error("{bytes} bytes are over the limit of {most} for a component")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What it may be.
        most: u64,
    },
    /// It is a core module, not a component.
    #[error("a core module, not a component: build it for wasm32-wasip2")]
    CoreModule,
    /// Compiling it takes more than it may.
    #[error("{0}")]
    Costly(String),
    /// The compiler ended without a result.
    #[error("{0}")]
    Compiler(String),
    /// The compiler was not let to its end, which may be otherwise the next time.
    #[error("{0}")]
    Passing(String),
    /// It compiles, and there is no room for its compiled form.
    #[error("its compiled form cannot be written: {0}")]
    Unkept(String),
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

impl Refusal {
    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self::Passing(text.into())
    }

    /// Whether it may be otherwise the next time: a busy machine or one without memory may be the cause.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Passing(_) | Self::Unkept(_) | Self::Trial(Fault { kind: FaultKind::Deadline, .. }))
    }
}

impl Compiled {
    /// Proves that the component is of the handler's world, imports what it is granted, and that an instance of it can
    /// be made within its limits. Takes a fraction of a millisecond.
    ///
    /// # Errors
    /// The first proof that fails.
    pub fn fit(&self, grants: Grants, limits: HandlerLimits) -> Result<Component, Refusal> {
        check_imports(&self.engine, &self.native, grants)?;
        let mut linker = Linker::<Guest>::new(self.engine.inner());
        if grants.wasi {
            wasi::link(&mut linker).map_err(|error| Refusal::Invalid(format!("{error:#}")))?;
        }
        let world = |error: wasmtime::Error| Refusal::World(format!("{error:#}"));
        let pre = linker.instantiate_pre(&self.native).map_err(world)?;
        // Checks both exports with their types; `instance` calls them unchecked.
        HandlerPre::new(pre.clone()).map_err(world)?;
        let export = |name: &str| {
            let index = self.native.get_export_index(None, name);
            index.ok_or_else(|| Refusal::World(format!("no export `{name}`")))
        };
        let (prepare, respond) = (export("prepare")?, export("respond")?);
        let (engine, compiled) = (self.engine.clone(), self.clone());
        let component = Component { engine, pre, prepare, respond, limits, grants, compiled };
        component.trial().map_err(Refusal::Trial)?;
        Ok(component)
    }
}

/// Names the first import that is neither the contract's types nor granted.
fn check_imports(engine: &Engine, native: &Native, grants: Grants) -> Result<(), Refusal> {
    for (name, import) in native.component_type().imports(engine.inner()) {
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

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |at: usize| text.get(2 * at..2 * at + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok());
        let mut bytes = [0; 32];
        bytes.iter_mut().enumerate().try_for_each(|(at, byte)| digit(at).map(|digit| *byte = digit))?;
        (text.len() == 64).then_some(Self(bytes))
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
