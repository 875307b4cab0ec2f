//! The log: lines on stderr, as text or as JSON. `cli` sets it up once. All output of this program to stderr or stdout
//! goes through here and cannot fail or panic. If the reader of a pipe has gone or the disk is full, only lines are
//! lost.
//!
//! stderr has a queue and a thread, so a log line never waits for a reader either (`queue`). stdout carries the result
//! of a command, so writing it waits for the reader.

mod escape;
mod queue;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

pub use self::escape::{controls_a_terminal, escaped, escaped_json};
use self::queue::Queue;
use crate::limits;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is neither `text` nor `json`")),
        }
    }
}

/// Which lines are written: `info`, `galo=debug,warn`, ...
#[derive(Debug)]
pub struct Filter(EnvFilter);

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The access log has a separate setting.
        let filter =
            EnvFilter::try_new(text).and_then(|filter| Ok(filter.add_directive("access=info".parse::<Directive>()?)));
        filter.map(Self).map_err(|error| format!("`{text}` is not a filter: {error}"))
    }
}

/// The name of the thread that handles the data of clients, whose panics may quote some.
pub const PRIVATE_THREAD: &str = "recorder";

/// Starts the log of the process. From then on panics are logged too, because the standard library would write them
/// to stderr directly and wait for its reader.
pub fn start(format: Format, Filter(filter): Filter) {
    use std::io::IsTerminal as _;
    // Without `log_internal_errors`, a line that cannot be formatted or written is skipped.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines).log_internal_errors(false);
    match format {
        Format::Text => lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let (thread, at) = (thread.name().unwrap_or("?"), panic.location().map(ToString::to_string));
        // Empty unless RUST_BACKTRACE asks for it.
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        let message = panic_message(thread, panic.payload_as_str());
        tracing::error!(thread, at = at.unwrap_or_default(), "panic: {message}{trace}");
    }));
}

/// The message of a panic, unless it may quote a client.
fn panic_message<'a>(thread: &str, message: Option<&'a str>) -> &'a str {
    match thread {
        PRIVATE_THREAD => "its message is not logged: it may quote a record",
        _ => message.unwrap_or("no message"),
    }
}

/// Writes a line to stderr that is not a log line: the final message of a command, or the progress of a download.
pub fn line(text: &str) {
    if let Some(queue) = queue() {
        queue.push(format!("{text}\n").as_bytes());
    }
}

/// Waits until every line is written, but only briefly, in case stderr is not read. Called at the end.
pub fn flush() {
    if let Some(queue) = queue() {
        queue.flush(limits::LOG_FLUSH_TIMEOUT);
    }
}

/// Lines that were dropped because stderr was full, closed or too slow.
pub fn dropped() -> u64 {
    queue().map_or(0, |queue| queue.dropped())
}

/// Writes a line to stdout, as `println!` does, but a reader that has gone (`galo handlers | head -1`) ends nothing.
pub fn print(text: std::fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Writes bytes to stdout.
///
/// # Errors
/// When they cannot be written: the disk is full, or the reader of a pipe has gone, for which there is no more to do.
pub fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Whether the reader of stdout has gone, which a command that follows something learns only here until it writes.
pub fn is_closed() -> bool {
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    // Without events to wait for, these are the only ones that are reported.
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    poll(&mut fds, PollTimeout::ZERO).is_ok() && fds[0].revents().is_some_and(|found| found.intersects(gone))
}

/// The queue of stderr. `None` when its thread cannot be started, which then cannot be reported either.
fn queue() -> Option<&'static Arc<Queue>> {
    static QUEUE: OnceLock<Option<Arc<Queue>>> = OnceLock::new();
    let start = || {
        // A separate descriptor, because a write to the standard library's stderr holds a lock while it blocks.
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
        Queue::start(File::from(stderr)).ok()
    };
    QUEUE.get_or_init(start).as_ref()
}

/// Takes one line of the subscriber.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if let Some(queue) = queue() {
            queue.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_on_a_record_does_not_log_it() {
        let message = "byte index 2 is out of bounds of `card 4111`";
        assert!(!panic_message(PRIVATE_THREAD, Some(message)).contains("4111"));
        assert_eq!(panic_message("main", Some(message)), message);
        assert_eq!(panic_message("main", None), "no message");
    }
}
