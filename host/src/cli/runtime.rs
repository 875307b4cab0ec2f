//! What a command runs on: an async runtime, and the open files it may have.

use std::process::ExitCode;

use anyhow::Context as _;
use galo::drain::Outcome;
use galo::limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A command whose settings are valid, ready to run.
pub(super) type Task = Box<dyn FnOnce() -> anyhow::Result<ExitCode>>;

/// Runs a future on a runtime of its own.
pub(super) fn run_on(
    workers: Option<usize>,
    task: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<ExitCode> {
    Ok(match block_on(workers, task)? {
        Outcome::Graceful => ExitCode::SUCCESS,
        Outcome::Cut { .. } | Outcome::Unrecorded => ExitCode::FAILURE,
    })
}

/// The same for one with another result.
pub(super) fn block_on<T>(workers: Option<usize>, task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // Every compiled component holds a file, and so does every connection; a shell often allows only 1,024.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    // Counts the CPU quota of a container.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.unwrap_or(cores).min(limits::WORKERS_MAX))
        .max_blocking_threads(limits::BLOCKING_THREADS_MAX)
        .enable_all()
        .thread_name("worker")
        .thread_stack_size(limits::WORKER_STACK_BYTES)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(task);
    // A thread that still blocks (a download that was stopped) must not delay the end.
    runtime.shutdown_background();
    outcome
}
