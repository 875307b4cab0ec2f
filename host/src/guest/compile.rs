//! The compiler's process, `galo compiler` (a hidden subcommand): reads a component from stdin, writes its compiled
//! form to stdout, and prints on stderr why it cannot, or else the bytes of memory that it took. Cranelift runs only
//! in this process, under limits that the process sets for itself before it reads a byte. The node keeps stdin open
//! while it waits for the form; when stdin is closed, the process kills itself. `PR_SET_PDEATHSIG` would not do: it
//! sends its signal when the *thread* that started the process ends, and the threads that start compilers end while
//! the node goes on.
//!
//! `compiler` starts it.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::signal::{Signal, raise};

use super::engine::{Counting, Engine};
use crate::limits;

/// The limits of one run.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of private writable memory.
    pub memory_bytes: u64,
    /// CPU time, in whole seconds.
    pub cpu: Duration,
    /// The niceness of the process.
    pub niceness: i32,
}

/// The status of a process that has printed why the component is not valid.
pub(super) const STATUS_INVALID: u8 = 3;
/// The status of a process that was refused memory and could still report it.
pub(super) const STATUS_MEMORY: u8 = 4;
/// The status of a process that could not write the form and has printed why: most likely the disk is full.
pub(super) const STATUS_OUTPUT: u8 = 5;
/// The status of a Rust program that panicked.
pub(super) const STATUS_PANIC: u8 = 101;
/// What Rust prints when an allocation fails, before it aborts.
pub(super) const MEMORY_REFUSED: &str = "memory allocation of";

/// Compiles what comes on stdin.
///
/// # Errors
/// When the limits cannot be set, or a stream fails.
pub fn compile(bounds: Bounds, counting: Counting) -> anyhow::Result<ExitCode> {
    restrain(bounds)?;
    let component = read().context("cannot read a component from stdin")?;
    let engine = Engine::for_compiling(counting)?;
    match engine.inner().precompile_component(&component) {
        Ok(form) => {
            drop(component);
            let mut stdout = io::stdout().lock();
            match stdout.write_all(&form).and_then(|()| stdout.flush()) {
                Ok(()) => {
                    let kib = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
                    let _ = write!(io::stderr(), "{}", kib.saturating_mul(1024));
                    Ok(ExitCode::SUCCESS)
                }
                Err(error) => {
                    let _ = write!(io::stderr(), "{error}");
                    Ok(ExitCode::from(STATUS_OUTPUT))
                }
            }
        }
        Err(error) => {
            let text = format!("{error:#}");
            // Fails when the reader is gone; then nobody needs the reason.
            let _ = io::stderr().write_all(text.as_bytes());
            let refused = error.is::<wasmtime::error::OutOfMemory>() || text.contains("os error 12");
            Ok(ExitCode::from(if refused { STATUS_MEMORY } else { STATUS_INVALID }))
        }
    }
}

/// Sets the limits and the priority; they apply to every thread that is started afterwards.
fn restrain(bounds: Bounds) -> anyhow::Result<()> {
    let limit = |resource, soft: u64, hard: u64| {
        setrlimit(resource, soft, hard).with_context(|| format!("cannot limit {resource:?} to {soft}"))
    };
    // Not RLIMIT_AS: it would also count the program, its libraries and memory that is only reserved.
    limit(Resource::RLIMIT_DATA, bounds.memory_bytes, bounds.memory_bytes)?;
    // At the soft limit the kernel sends SIGXCPU, which names the reason; a second later it sends SIGKILL, which does
    // not.
    limit(Resource::RLIMIT_CPU, bounds.cpu.as_secs(), bounds.cpu.as_secs() + 1)?;
    limit(Resource::RLIMIT_FSIZE, limits::COMPILED_BYTES_MAX, limits::COMPILED_BYTES_MAX)?;
    // A compiler that crashes must not leave a core dump.
    limit(Resource::RLIMIT_CORE, 0, 0)?;
    // When memory runs out, the kernel should kill this process, not the node. Raising the own score needs no
    // privilege; where /proc cannot be written to, only the limit above applies.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // If it fails, the compiler competes with the node for the cores.
    let _ = rustix::process::setpriority_process(None, bounds.niceness);
    Ok(())
}

/// Reads the length of a component and the component, and then starts a thread that waits for the end of stdin.
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
        // The node has ended or has given up. The process holds nothing that needs cleaning up.
        let _ = raise(Signal::SIGKILL);
    });
    watching.context("cannot start a thread")?;
    Ok(component)
}
