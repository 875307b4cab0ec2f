//! `galo check --memory`: the memory that a node with these handlers needs, compared with what it would be given.
//!
//! An estimate by this process, which has loaded what a node loads: what it holds now, the machine code of the
//! handlers, what loading a component and calls that run at once add, and what connections take. A call adds the
//! memory that its component begins with; one that grows takes more, up to the handler's `memory_bytes_max`.

use std::path::Path;

use anyhow::{Context as _, bail};
use galo::registry::Table;
use galo::{limits, log};

use super::size::Size;

/// What a node needs, in bytes.
#[derive(Debug)]
struct Need<'a> {
    /// Held after the start: the program and what the allocator keeps.
    held: u64,
    /// The machine code of all handlers.
    code: u64,
    /// To read the largest component, when it is loaded or swapped: its bytes, and a copy for the state.
    reading: u64,
    /// The handler whose calls take most, and what each of them takes.
    largest: (&'a str, u64),
    /// How many of them may run at once.
    calls: u64,
    /// The handler whose compiler took most, and how much.
    compiler: (&'a str, u64),
}

/// Compares what a node with these handlers needs with what it is given.
///
/// # Errors
/// When it does not fit.
pub(super) fn check(table: &Table, given: Size) -> anyhow::Result<()> {
    let need = need(table, held()?);
    let Need { held, code, reading, largest: (name, bytes), calls, compiler } = need;
    let whole = Size(need.whole());
    let parts = format!(
        "{} after its start, {} of machine code, {} to load a component, {} for {calls} calls of `{name}` at once, {} for \
         connections",
        Size(held),
        Size(code),
        Size(reading),
        Size(calls * bytes),
        Size(limits::NODE_TRAFFIC_BYTES)
    );
    if whole > given {
        bail!("these handlers need about {whole} of memory, and a node would have {given}: {parts}; give it more");
    }
    log::print(format_args!("memory: a node needs about {whole} of {given}: {parts}"));
    if held + compiler.1 > given.0 {
        log::print(format_args!(
            "warning: compiling `{}` took {}, for which a node of {given} has no room: fill its cache before with \
             `galo compile`",
            compiler.0,
            Size(compiler.1)
        ));
    }
    Ok(())
}

impl Need<'_> {
    fn whole(&self) -> u64 {
        self.held + self.code + self.reading + self.calls * self.largest.1 + limits::NODE_TRAFFIC_BYTES
    }
}

fn need(table: &Table, held: u64) -> Need<'_> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(limits::WORKERS_MAX);
    let mut need = Need { held, code: 0, reading: 0, largest: ("", 0), calls: 0, compiler: ("", 0) };
    for handler in &table.handlers {
        let (name, lineage) = (handler.entry.name.as_str(), handler.lineage());
        let component = &lineage.current.component;
        // A guest with WASI may block its worker, which another thread replaces then.
        let more = if handler.entry.wasi { limits::BLOCKING_THREADS_MAX } else { limits::SLOW_CALLS_PER_GENERATION };
        let (bytes, calls) = (component.compiled.memory_bytes(), (workers + more) as u64);
        need.code += component.compiled.code_bytes();
        let file = std::fs::metadata(&handler.entry.component).map_or(0, |metadata| metadata.len());
        need.reading = need.reading.max(2 * file);
        if bytes * calls >= need.calls * need.largest.1 {
            (need.largest, need.calls) = ((name, bytes), calls);
        }
        if component.compiled.compiler_bytes > need.compiler.1 {
            need.compiler = (name, component.compiled.compiler_bytes);
        }
    }
    need
}

/// Bytes of memory that this process holds.
fn held() -> anyhow::Result<u64> {
    let path = Path::new("/proc/self/status");
    let status = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    let kib = resident.and_then(|kib| kib.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{} has no VmRSS", path.display()))? * 1024)
}
