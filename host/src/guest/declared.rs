//! What a component declares, read before it is compiled: the core instances, memories and tables that one instance of
//! it begins with, and its imports. What cannot fit its entry in the manifest is refused with all reasons at once, in
//! milliseconds, where compiling it first could take half a minute and a gigabyte.
//!
//! The numbers are lower bounds: a module that a component imports, or exports to another one, is counted without its
//! memories. `fit` proves the rest on an instance. Bytes that do not parse are left to the compiler, which names the
//! mistake.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, Instance,
    MemoryType, Parser, Payload,
};

use super::component::Grants;
use super::error::ComponentError;
use crate::contract::TYPES_INSTANCE;
use crate::failure::cut;
use crate::limits::{self, HandlerLimits};

/// What a component declares.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Declared {
    /// What one instance of it begins with.
    pub size: Size,
    /// The names of its imports, without types and without the contract's own: `fit` reports a version that is not
    /// there.
    pub imports: Vec<String>,
}

/// What an instance begins with: of a module, or of a component with everything inside.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Instances of core modules.
    pub core_instances: u64,
    /// Linear memories.
    pub memories: u64,
    /// Bytes of all of them.
    pub memory_bytes: u64,
    /// Tables.
    pub tables: u64,
    /// Elements of all of them.
    pub table_elements: u64,
}

impl Size {
    /// Saturating: a few bytes can declare instances of instances without end.
    fn add(&mut self, other: Self) {
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.memories = self.memories.saturating_add(other.memories);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.tables = self.tables.saturating_add(other.tables);
        self.table_elements = self.table_elements.saturating_add(other.table_elements);
    }
}

/// A module or component that is being read, with its index spaces. What is imported has an unknown size.
#[derive(Default)]
struct Frame {
    is_module: bool,
    size: Size,
    modules: Space,
    components: Space,
}

/// An index space. A few bytes declare an entry that takes many, so the number is bounded: what has more is left to the
/// compiler's own process, whose memory is limited.
#[derive(Default)]
struct Space(Vec<Option<Size>>);

impl Space {
    fn push(&mut self, size: Option<Size>) -> Option<()> {
        (self.0.len() < limits::DECLARED_ENTRIES_MAX).then(|| self.0.push(size))
    }

    fn get(&self, index: usize) -> Option<&Option<Size>> {
        self.0.get(index)
    }
}

impl Declared {
    /// Reads a component; `None` when it is not well formed, or has more parts than any handler needs.
    pub fn read(component: &[u8]) -> Option<Self> {
        let mut declared = Self::default();
        // The outermost component first.
        let mut frames = vec![Frame::default()];
        for payload in Parser::new(0).parse_all(component) {
            if frames.len() > limits::DECLARED_DEPTH_MAX {
                return None;
            }
            match payload.ok()? {
                Payload::ModuleSection { .. } => frames.push(Frame { is_module: true, ..Frame::default() }),
                Payload::ComponentSection { .. } => frames.push(Frame::default()),
                Payload::End(_) => {
                    let Frame { is_module, size, .. } = frames.pop()?;
                    match frames.last_mut() {
                        None => declared.size = size,
                        Some(outer) if is_module => outer.modules.push(Some(Size { core_instances: 1, ..size }))?,
                        Some(outer) => outer.components.push(Some(size))?,
                    }
                }
                Payload::ComponentImportSection(imports) if frames.len() == 1 => {
                    for import in imports.clone() {
                        let import = import.ok()?;
                        let name = import.name.name;
                        if !matches!(import.ty, ComponentTypeRef::Type(_)) && !name.starts_with(TYPES_INSTANCE) {
                            if declared.imports.len() == limits::DECLARED_IMPORTS_MAX {
                                break;
                            }
                            declared.imports.push(cut(name, limits::NAME_SHOWN_BYTES_MAX));
                        }
                    }
                    read_section(&mut frames, Payload::ComponentImportSection(imports))?;
                }
                payload => read_section(&mut frames, payload)?,
            }
        }
        frames.is_empty().then_some(declared)
    }

    /// Checks it against what its entry in the manifest allows.
    ///
    /// # Errors
    /// Everything that does not fit, with the keys of the manifest that would allow it.
    pub fn check(&self, grants: Grants, allowed: &HandlerLimits) -> Result<(), ComponentError> {
        let mut reasons = Vec::new();
        let mut keys = Vec::new();
        let wasi: Vec<_> = self.imports.iter().filter(|name| name.starts_with("wasi:")).collect();
        let foreign = self.imports.iter().filter(|name| !name.starts_with("wasi:"));
        reasons.extend(foreign.map(|name| format!("imports `{name}`, which the manifest does not grant")));
        if let (Some(first), false) = (wasi.first(), grants.wasi) {
            let more = if wasi.len() > 1 { format!(", and {} more of WASI", wasi.len() - 1) } else { String::new() };
            reasons.push(format!("imports `{first}`, which the manifest does not grant{more}"));
            keys.push("`wasi = true`".to_owned());
        }
        let mut over = |what: &str, declared: u64, most: u64| {
            if declared > most {
                reasons.push(format!("{declared} {what} wanted, and a component may have {most}"));
            }
        };
        over("core instances", self.size.core_instances, limits::CORE_INSTANCES_PER_COMPONENT.into());
        over("memories", self.size.memories, limits::MEMORIES_PER_COMPONENT.into());
        over("tables", self.size.tables, limits::TABLES_PER_COMPONENT.into());
        let mut raised = Vec::new();
        let bytes = (self.size.memory_bytes, allowed.memory_bytes_max, limits::MEMORY_BYTES_CEILING);
        let elements = (self.size.table_elements, allowed.table_elements_max, limits::TABLE_ELEMENTS_CEILING);
        for (what, key, (declared, most, ceiling), room) in [
            ("bytes of memory", "memory_bytes_max", bytes, limits::MEMORY_BYTES_DEFAULT as u64),
            ("elements of tables", "table_elements_max", elements, 0),
        ] {
            if declared <= most as u64 {
                continue;
            }
            if declared > ceiling as u64 {
                reasons.push(format!("{declared} {what} wanted, and no handler may have more than {ceiling}"));
                continue;
            }
            reasons.push(format!("{declared} {what} wanted, {most} allowed"));
            // A round number, with room for a request.
            let wanted = (declared + room).next_multiple_of(if room == 0 { 1024 } else { 1 << 20 });
            raised.push(format!("{key} = {}", wanted.min(ceiling as u64)));
        }
        if !raised.is_empty() {
            keys.push(format!("`limits = {{ {} }}`", raised.join(", ")));
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let remedy = if keys.is_empty() { String::new() } else { format!(": set {} in its entry", keys.join(" and ")) };
        Err(ComponentError::Unfit(reasons.join("; ") + &remedy))
    }
}

/// Reads a section of the module or component that is being read.
fn read_section(frames: &mut [Frame], payload: Payload<'_>) -> Option<()> {
    match payload {
        Payload::MemorySection(memories) => {
            let size = &mut frames.last_mut()?.size;
            for memory in memories {
                let MemoryType { initial, page_size_log2, .. } = memory.ok()?;
                let page_bytes = 1_u64.checked_shl(page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX);
                size.add(Size { memories: 1, memory_bytes: initial.saturating_mul(page_bytes), ..Size::default() });
            }
        }
        Payload::TableSection(tables) => {
            let size = &mut frames.last_mut()?.size;
            for table in tables {
                size.add(Size { tables: 1, table_elements: table.ok()?.ty.initial, ..Size::default() });
            }
        }
        Payload::InstanceSection(instances) => {
            let frame = frames.last_mut()?;
            for instance in instances {
                if let Instance::Instantiate { module_index, .. } = instance.ok()? {
                    let unknown = Size { core_instances: 1, ..Size::default() };
                    frame.size.add(frame.modules.get(module_index as usize)?.unwrap_or(unknown));
                }
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            let frame = frames.last_mut()?;
            for instance in instances {
                if let ComponentInstance::Instantiate { component_index, .. } = instance.ok()? {
                    frame.size.add(frame.components.get(component_index as usize)?.unwrap_or_default());
                }
            }
        }
        Payload::ComponentAliasSection(aliases) => {
            for alias in aliases {
                read_alias(frames, &alias.ok()?)?;
            }
        }
        Payload::ComponentImportSection(imports) => {
            let frame = frames.last_mut()?;
            for import in imports {
                match import.ok()?.ty {
                    ComponentTypeRef::Module(_) => frame.modules.push(None)?,
                    ComponentTypeRef::Component(_) => frame.components.push(None)?,
                    _ => {}
                }
            }
        }
        Payload::ComponentExportSection(exports) => {
            // An export has an index of its own.
            let frame = frames.last_mut()?;
            for export in exports {
                let export = export.ok()?;
                let index = export.index as usize;
                match export.kind {
                    ComponentExternalKind::Module => {
                        let module = *frame.modules.get(index)?;
                        frame.modules.push(module)?;
                    }
                    ComponentExternalKind::Component => {
                        let component = *frame.components.get(index)?;
                        frame.components.push(component)?;
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Some(())
}

/// Adds what an alias names to the index spaces of the component that is being read.
fn read_alias(frames: &mut [Frame], alias: &ComponentAlias<'_>) -> Option<()> {
    match alias {
        ComponentAlias::Outer { kind, count, index } => {
            let outer = frames.len().checked_sub(1 + *count as usize)?;
            let index = *index as usize;
            match kind {
                ComponentOuterAliasKind::CoreModule => {
                    let module = *frames[outer].modules.get(index)?;
                    frames.last_mut()?.modules.push(module)?;
                }
                ComponentOuterAliasKind::Component => {
                    let component = *frames[outer].components.get(index)?;
                    frames.last_mut()?.components.push(component)?;
                }
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
            }
        }
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
            frames.last_mut()?.modules.push(None)?;
        }
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
            frames.last_mut()?.components.push(None)?;
        }
        ComponentAlias::InstanceExport { .. } | ComponentAlias::CoreInstanceExport { .. } => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Declared {
        Declared::read(&wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn what_a_few_bytes_declare_takes_no_memory_without_bound() {
        let aliases = "(alias outer 0 0 (core module))".repeat(limits::DECLARED_ENTRIES_MAX);
        let many = wat::parse_str(format!("(component (core module) {aliases})")).unwrap();
        assert!(Declared::read(&many).is_none());
        let depth = limits::DECLARED_DEPTH_MAX + 1;
        let deep = wat::parse_str(format!("{}{}", "(component".repeat(depth), ")".repeat(depth))).unwrap();
        assert!(Declared::read(&deep).is_none());
        let imports: String =
            (0..limits::DECLARED_IMPORTS_MAX * 2).map(|n| format!("(import \"a{n}\" (func))")).collect();
        assert_eq!(read(&format!("(component {imports})")).imports.len(), limits::DECLARED_IMPORTS_MAX);
    }

    fn refusal(declared: &Declared) -> String {
        let checked = declared.check(Grants { wasi: false }, &HandlerLimits::default());
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn every_instance_of_a_component_inside_is_counted() {
        let declared = read(
            r#"(component
                (core module $m (memory 2) (table 10 funcref) (table 5 funcref))
                (component $inner
                    (alias outer 1 $m (core module $again))
                    (core instance (instantiate $again))
                    (core instance (instantiate $again)))
                (core instance (instantiate $m))
                (instance (instantiate $inner))
                (instance (instantiate $inner)))"#,
        );
        let (memory_bytes, table_elements) = (10 * 65_536, 75);
        let size = Size { core_instances: 5, memories: 5, memory_bytes, tables: 10, table_elements };
        assert_eq!(declared, Declared { size, imports: Vec::new() });
        assert_eq!(refusal(&declared), "");
    }

    #[test]
    fn an_imported_memory_is_not_counted_twice() {
        let declared = read(
            r#"(component
                (core module $a (memory (export "m") 1))
                (core module $b (import "a" "m" (memory 1)))
                (core instance $i (instantiate $a))
                (core instance (instantiate $b (with "a" (instance $i)))))"#,
        );
        assert_eq!((declared.size.core_instances, declared.size.memories), (2, 1));
    }

    #[test]
    fn everything_that_does_not_fit_is_reported_at_once_with_its_keys() {
        let declared = read(
            r#"(component
                (import "wasi:cli/environment@0.2.3" (instance))
                (import "wasi:cli/exit@0.2.3" (instance))
                (import "shop:stock/count@1.0.0" (instance))
                (import "galo:handler/types@0.1.0" (instance $types (export "plan" (type (sub resource)))))
                (alias export $types "plan" (type $plan))
                (import "plan" (type (eq $plan)))
                (core module $m (memory 152) (table 7688 funcref))
                (core instance (instantiate $m)))"#,
        );
        assert_eq!(
            refusal(&declared),
            "imports `shop:stock/count@1.0.0`, which the manifest does not grant; imports `wasi:cli/environment@0.2.3`, \
             which the manifest does not grant, and 1 more of WASI; 9961472 bytes of memory wanted, 4194304 allowed; \
             7688 elements of tables wanted, 4096 allowed: set `wasi = true` and \
             `limits = { memory_bytes_max = 14680064, table_elements_max = 8192 }` in its entry"
        );
    }

    #[test]
    fn what_no_manifest_can_allow_is_reported_without_a_key() {
        // Each component holds two of the one before: a few hundred bytes declare 2^70 instances.
        let mut text = "(core module $m (memory 1)) (core instance (instantiate $m))".to_owned();
        for _ in 0..70 {
            text = format!("(component $c {text}) (instance (instantiate $c)) (instance (instantiate $c))");
        }
        let refused = refusal(&read(&format!("(component {text})")));
        assert!(
            refused.starts_with(&format!("{} core instances wanted, and a component may have 64;", u64::MAX)),
            "{refused}"
        );
        assert!(
            refused.ends_with(&format!("no handler may have more than {}", limits::MEMORY_BYTES_CEILING)),
            "{refused}"
        );
    }

    #[test]
    fn what_does_not_parse_is_left_to_the_compiler() {
        for text in [b"garbage".as_slice(), b"", b"\0asm\x0d\0\x01\0\x01\x7f"] {
            assert_eq!(Declared::read(text), None);
        }
    }
}
