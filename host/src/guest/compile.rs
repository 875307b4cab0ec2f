//! The compiler's process, `galo compiler`, hidden: reads a component from stdin, writes its compiled form to stdout,
//! and prints on stderr why it does not. Cranelift runs here and nowhere else, under limits that the process sets for
//! itself before it reads a byte. Stdin stays open for as long as somebody waits for the form; when it is closed, the
//! process kills itself.
//!
//! Started by `compiler`.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, raise};

use super::engine::Engine;
use crate::limits;

/// What one run may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of private writable memory.
    pub memory_bytes: u64,
    /// CPU time, in whole seconds.
    pub cpu: Duration,
    /// Its priority.
    pub niceness: i32,
}

/// The status of a process that has printed why the component is not valid.
pub(super) const STATUS_INVALID: u8 = 3;
/// The status of one that was refused memory, and could still report it.
pub(super) const STATUS_MEMORY: u8 = 4;
/// The status of one that could not write the form, and has printed why: a disk that is full, most likely.
pub(super) const STATUS_OUTPUT: u8 = 5;
/// The status of a Rust program that panicked.
pub(super) const STATUS_PANIC: u8 = 101;
/// What Rust prints when memory is refused it, before it aborts.
pub(super) const MEMORY_REFUSED: &str = "memory allocation of";

/// Compiles what comes on stdin.
///
/// # Errors
/// When the limits cannot be set, or a stream fails.
pub fn compile(bounds: Bounds) -> anyhow::Result<ExitCode> {
    restrain(bounds)?;
    let component = read().context("cannot read a component from stdin")?;
    let engine = Engine::for_compiling()?;
    match engine.inner().precompile_component(&component) {
        Ok(form) => {
            drop(component);
            let mut stdout = io::stdout().lock();
            match stdout.write_all(&form).and_then(|()| stdout.flush()) {
                Ok(()) => Ok(ExitCode::SUCCESS),
                Err(error) => {
                    let _ = write!(io::stderr(), "{error}");
                    Ok(ExitCode::from(STATUS_OUTPUT))
                }
            }
        }
        Err(error) => {
            let text = format!("{error:#}");
            // A reader that is gone needs no explanation.
            let _ = io::stderr().write_all(text.as_bytes());
            let refused = error.is::<wasmtime::error::OutOfMemory>() || text.contains("os error 12");
            Ok(ExitCode::from(if refused { STATUS_MEMORY } else { STATUS_INVALID }))
        }
    }
}

/// Sets the limits and the priority; they hold for every thread that is started after.
fn restrain(bounds: Bounds) -> anyhow::Result<()> {
    let limit = |resource, soft: u64, hard: u64| {
        setrlimit(resource, soft, hard).with_context(|| format!("cannot limit {resource:?} to {soft}"))
    };
    // Not RLIMIT_AS: it would count the program, its libraries and what is only reserved.
    limit(Resource::RLIMIT_DATA, bounds.memory_bytes, bounds.memory_bytes)?;
    // A second later the kernel kills without saying for what.
    limit(Resource::RLIMIT_CPU, bounds.cpu.as_secs(), bounds.cpu.as_secs() + 1)?;
    limit(Resource::RLIMIT_FSIZE, limits::COMPILED_BYTES_MAX, limits::COMPILED_BYTES_MAX)?;
    // A compiler that dies leaves no image of its memory behind.
    limit(Resource::RLIMIT_CORE, 0, 0)?;
    // When memory runs out, this process goes first and not the one that serves. Anybody may raise his own; where /proc
    // cannot be written to, the limit above has to do.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // Without it compiling is only less polite.
    let _ = rustix::process::setpriority_process(None, bounds.niceness);
    Ok(())
}

/// Reads the length of a component and the component, and from then on watches for the end of stdin.
fn read() -> anyhow::Result<Vec<u8>> {
    let mut stdin = io::stdin();
    let mut length = [0; 8];
    stdin.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut component = Vec::with_capacity(usize::try_from(length)?);
    stdin.by_ref().take(length).read_to_end(&mut component)?;
    anyhow::ensure!(component.len() as u64 == length, "it ended too early");
    let watch = std::thread::Builder::new().name("stdin".to_owned()).stack_size(limits::SMALL_STACK_BYTES);
    let watching = watch.spawn(move || {
        let _ = io::copy(&mut stdin, &mut io::sink());
        // Whoever waited is gone, or has given up. Nothing needs to be put in order.
        let _ = raise(Signal::SIGKILL);
    });
    watching.context("cannot start a thread")?;
    Ok(component)
}
