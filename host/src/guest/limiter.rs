//! The memory and the tables of one store, all its instances together. Growth beyond the limit is refused, and the
//! refusal is recorded, so that the fault can be told from another trap. wasmtime asks before it allocates and on every
//! `memory.grow`. A refusal names the key of the manifest that would lift it.

use wasmtime::ResourceLimiter;

use crate::limits::{self, HandlerLimits};

/// What a store has and what it may have.
pub struct Limiter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    memory_bytes_declared: usize,
    table_elements: usize,
    table_elements_max: usize,
    refused: bool,
}

impl Limiter {
    /// A store that has nothing yet.
    pub fn new(limits: &HandlerLimits) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            memory_bytes_declared: 0,
            table_elements: 0,
            table_elements_max: limits.table_elements_max,
            refused: false,
        }
    }

    /// Whether anything was refused.
    pub fn refused(&self) -> bool {
        self.refused
    }

    /// The most that its memories may ever have by the component's own declaration.
    pub fn memory_bytes_declared(&self) -> usize {
        self.memory_bytes_declared
    }

    /// An error, not a −1 that a guest may misread: growing over the limit is a fault with a name.
    fn refuse(&mut self, what: &str, wanted: usize, most: usize, key: &str) -> wasmtime::Result<bool> {
        self.refused = true;
        Err(wasmtime::Error::msg(format!("{wanted} {what} wanted, {most} allowed; `{key}` in its entry raises it")))
    }
}

/// How a component gets more memory than it declares.
pub const RELINK: &str = "link it with a larger maximum, or without one as galo-link does";

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = (self.memory_bytes - current).saturating_add(desired);
        if wanted > self.memory_bytes_max {
            return self.refuse("bytes of memory", wanted, self.memory_bytes_max, "memory_bytes_max");
        }
        if current == 0 {
            self.memory_bytes_declared = self.memory_bytes_declared.saturating_add(maximum.unwrap_or(usize::MAX));
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    /// Called when a memory cannot grow although the limit allows it.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        let (wanted, most) = (self.memory_bytes, self.memory_bytes_declared);
        // The system refused, or the guest wanted more than 4 GiB.
        if error.is::<std::io::Error>() || most == usize::MAX {
            return Err(error);
        }
        let text = format!("{wanted} bytes of memory wanted, the component declares at most {most}: {RELINK}");
        Err(wasmtime::Error::msg(text))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = (self.table_elements - current).saturating_add(desired);
        if wanted > self.table_elements_max {
            return self.refuse("elements of tables", wanted, self.table_elements_max, "table_elements_max");
        }
        self.table_elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        limits::CORE_INSTANCES_PER_COMPONENT as usize
    }

    fn tables(&self) -> usize {
        limits::TABLES_PER_COMPONENT as usize
    }

    fn memories(&self) -> usize {
        limits::MEMORIES_PER_COMPONENT as usize
    }
}
