//! Calls to the file system, off the threads that serve and with a timeout: a network file system may hang.

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits;

/// Runs a call to the file system, and waits for it up to `FOLDER_TIMEOUT`.
///
/// # Errors
/// The text that there was no answer in time, or that `ask` panicked.
pub(super) async fn aside<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    match timeout(limits::FOLDER_TIMEOUT, bounded(ask)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("the file system does not answer within {} s", limits::FOLDER_TIMEOUT.as_secs())),
    }
}

/// Runs a call to the file system, and waits for as long as it takes.
///
/// # Errors
/// That `ask` panicked.
pub(super) async fn bounded<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    // A thread that hangs in the kernel cannot be ended, so their number is bounded.
    static THREADS: Semaphore = Semaphore::const_new(limits::FOLDER_THREADS_MAX);
    let permit = THREADS.acquire().await.map_err(|closed| closed.to_string())?;
    let answer = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        ask()
    });
    answer.await.map_err(|panic| panic.to_string())
}
