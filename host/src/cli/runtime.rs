//! What a command runs on: an async runtime, the open files it may have, and pages of the ordinary size.

use std::process::ExitCode;

use anyhow::Context as _;
use galo::drain::Outcome;
use galo::limits;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A command whose settings are valid, ready to run.
pub(super) type Task = Box<dyn FnOnce() -> anyhow::Result<ExitCode>>;

/// Declines huge pages for this process and those that it starts: they count against the limit of a container. The
/// allocator asks for them, and where the system grants them a node has five times the anonymous memory, for no more
/// requests a second (BENCHMARKS.md).
pub(super) fn decline_huge_pages() {
    // Where this is forbidden, it runs as before.
    let _ = prctl::set_thp_disable(true);
}

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
