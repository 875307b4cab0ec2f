//! The runtime that a command runs on, and the open files it may have. Called by the parent.

use std::process::ExitCode;

use anyhow::Context as _;
use galo::drain::Outcome;
use galo::limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Runs a task on a runtime of its own.
pub(super) fn run_on(
    workers: Option<usize>,
    task: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<ExitCode> {
    // Every compiled component holds a file, and so does every connection; what a shell allows is often 1,024.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    // It counts the CPU quota of a container.
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
    // What still blocks a thread (a download that was stopped) must not hold the end up.
    runtime.shutdown_background();
    Ok(match outcome? {
        Outcome::Graceful => ExitCode::SUCCESS,
        Outcome::Cut { .. } | Outcome::Unrecorded => ExitCode::FAILURE,
    })
}
