//! Proves that a compiled component fits: it is of the handler's world, imports what it was granted and no more, an
//! instance of it fits its limits, and it can use the memory that they allow it. Only such a component can be called.
//!
//! A component that was compiled once can be fitted again, under other grants and limits.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component as Native, Linker};

use super::component::{Compiled, Component, Grants};
use super::engine::Engine;
use super::error::ComponentError;
use super::limiter::RELINK;
use super::store::Guest;
use super::wasi;
use crate::contract::{HandlerPre, TYPES_INSTANCE, Version};
use crate::limits::{self, HandlerLimits};

impl Compiled {
    /// Proves that the component is of the handler's world, imports what it is granted, and that an instance of it can
    /// be made within its limits. Takes a fraction of a millisecond.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn fit(&self, grants: Grants, limits: HandlerLimits) -> Result<Component, ComponentError> {
        check_imports(&self.engine, &self.native, grants)?;
        let mut linker = Linker::<Guest>::new(self.engine.inner());
        if grants.wasi {
            wasi::link(&mut linker).map_err(|error| ComponentError::Invalid(format!("{error:#}")))?;
        }
        let world = |error: wasmtime::Error| ComponentError::World(format!("{error:#}"));
        let pre = linker.instantiate_pre(&self.native).map_err(world)?;
        // Checks both exports with their types; `instance` calls them unchecked.
        HandlerPre::new(pre.clone()).map_err(world)?;
        let export = |name: &str| {
            let index = self.native.get_export_index(None, name);
            index.ok_or_else(|| ComponentError::World(format!("no export `{name}`")))
        };
        let (prepare, respond) = (export("prepare")?, export("respond")?);
        let (engine, compiled) = (self.engine.clone(), self.clone());
        let members = std::sync::Arc::default();
        let component = Component { engine, pre, prepare, respond, limits, grants, compiled, members };
        let declared = component.trial().map_err(ComponentError::Trial)?;
        check_memory(declared, &limits)?;
        Ok(component)
    }
}

/// Holds what the manifest asks for against the memory that the component may have by its own declaration. A default is
/// not asked for: a component with less memory may be able to do with it.
fn check_memory(declared: usize, limits: &HandlerLimits) -> Result<(), ComponentError> {
    let default = HandlerLimits::default();
    let HandlerLimits { body_bytes_max, memory_bytes_max, .. } = *limits;
    let wanted = limits::memory_for_body(body_bytes_max);
    let asked = if memory_bytes_max > declared && memory_bytes_max != default.memory_bytes_max {
        format!("`memory_bytes_max = {memory_bytes_max}`")
    } else if wanted > declared && body_bytes_max != default.body_bytes_max {
        format!("`body_bytes_max = {body_bytes_max}` (which takes {wanted} bytes of memory)")
    } else {
        return Ok(());
    };
    let text = format!("the manifest asks for {asked}, the component declares at most {declared} bytes: {RELINK}");
    Err(ComponentError::Memory(text))
}

/// The version of the contract whose types an import is.
fn version(import: &str) -> Option<Version> {
    import.strip_prefix(TYPES_INSTANCE).and_then(Version::parse)
}

/// Reports the first import that is neither the contract's types nor granted.
fn check_imports(engine: &Engine, native: &Native, grants: Grants) -> Result<(), ComponentError> {
    for (name, import) in native.component_type().imports(engine.inner()) {
        let granted = grants.wasi && name.starts_with("wasi:");
        match import.ty {
            ComponentItem::ComponentInstance(instance) if version(name).is_some() => {
                if let Some(version) = version(name).filter(|version| !version.is_served()) {
                    return Err(ComponentError::Version(version));
                }
                let mut exports = instance.exports(engine.inner());
                if let Some((function, _)) = exports.find(|(_, e)| !matches!(e.ty, ComponentItem::Type(_))) {
                    return Err(ComponentError::Import(format!("{name}.{function}")));
                }
            }
            _ if granted => {}
            _ => return Err(ComponentError::Import(name.to_owned())),
        }
    }
    Ok(())
}
