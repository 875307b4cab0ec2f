//! The bytes that wait for stderr: a bounded queue, and the thread that writes it.
//!
//! Adding a line never fails and never waits for the reader. What does not fit, or cannot be written, is dropped and
//! counted; when writing works again, a line reports how many. Used by the parent only.

use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;

/// Lines on their way to stderr.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    news: Condvar,
    /// Wakes the threads that wait for the writer.
    written: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whole lines, one after the other.
    waiting: Vec<u8>,
    /// Whether the writer has taken bytes that it has not written yet.
    writing: bool,
    /// Lines that were dropped and not reported yet.
    unreported: u64,
}

impl Queue {
    /// Starts the thread that writes to `to`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(mut to: impl Write + Send + 'static) -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let writer = Arc::clone(&queue);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                // `write_out` should not panic. If it does, later lines are still written.
                let _ = catch_unwind(AssertUnwindSafe(|| writer.write_out(&mut to)));
            }
        })?;
        Ok(queue)
    }

    /// Adds whole lines, or drops them when there is no room.
    pub(super) fn push(&self, lines: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + lines.len() > limits::LOG_QUEUE_BYTES_MAX {
            self.drop_lines(&mut state, lines);
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.news.notify_one();
    }

    /// Lines that were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written or has failed, but no longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while state.writing || !state.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the queued lines, in an endless loop.
    fn write_out(&self, to: &mut impl Write) {
        let mut batch = Vec::new();
        // The last line was written only in part.
        let mut torn = false;
        loop {
            self.take(&mut batch);
            if torn {
                batch.insert(0, b'\n');
            }
            let written = write(to, &batch);
            let lost = batch.get(written..).unwrap_or_default();
            torn = batch.get(..written).is_some_and(|written| written.last().map_or(torn, |last| *last != b'\n'));
            let mut state = self.state();
            let recovered = if lost.is_empty() { std::mem::take(&mut state.unreported) } else { 0 };
            if !lost.is_empty() {
                self.drop_lines(&mut state, lost);
            }
            drop(state);
            if recovered > 0 {
                // Goes through the queue like any other line.
                tracing::warn!(lines = recovered, "log lines were dropped: stderr was full, closed or too slow");
            }
            self.state().writing = false;
            self.written.notify_all();
        }
    }

    /// Waits for lines, and takes all there are.
    fn take(&self, batch: &mut Vec<u8>) {
        batch.clear();
        let mut state = self.state();
        while state.waiting.is_empty() {
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.waiting, batch);
        state.writing = true;
    }

    fn drop_lines(&self, state: &mut State, lines: &[u8]) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        state.unreported += count;
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes bytes until an error; returns how many were written.
fn write(to: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process that shares this pipe has made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(limits::LOG_RETRY_PAUSE),
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A stderr that takes one write for each word it is given: how many bytes, or an error.
    struct Slow(Receiver<Option<usize>>, Written);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            match self.0.recv() {
                Ok(None) => Err(ErrorKind::StorageFull.into()),
                Ok(Some(n)) => {
                    let n = n.min(bytes.len());
                    self.1.lock().unwrap().extend_from_slice(&bytes[..n]);
                    Ok(n)
                }
                // The test has ended.
                Err(_) => Ok(bytes.len()),
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    type Written = Arc<Mutex<Vec<u8>>>;

    fn slow() -> (Arc<Queue>, Sender<Option<usize>>, Written) {
        let (words, receiver) = channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        (Queue::start(Slow(receiver, Arc::clone(&seen))).unwrap(), words, seen)
    }

    #[test]
    fn a_reader_that_stops_blocks_nobody_and_costs_only_lines() {
        let (queue, words, seen) = slow();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let begun = Instant::now();
        let most = limits::LOG_QUEUE_BYTES_MAX / line.len();
        // One line is held by the writer, some wait, and the rest has no room.
        (0..3 * most).for_each(|_| queue.push(&line));
        assert!(begun.elapsed() < PATIENCE);
        assert!(queue.dropped() >= most as u64, "{}", queue.dropped());
        // The end of a process does not wait for the reader either.
        queue.flush(Duration::from_millis(10));
        drop(words);
        queue.flush(PATIENCE);
        let state = queue.state();
        assert!(state.waiting.is_empty() && !state.writing && state.unreported == 0);
        assert!(seen.lock().unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_a_torn_line_is_ended() {
        let (queue, words, seen) = slow();
        // Given a disk that is full in the middle of a line,
        words.send(Some(3)).unwrap();
        words.send(None).unwrap();
        queue.push(b"first\n");
        queue.flush(PATIENCE);
        assert_eq!(queue.dropped(), 1);
        // when there is room again, the next line begins at its beginning.
        words.send(Some(99)).unwrap();
        queue.push(b"second\n");
        queue.flush(PATIENCE);
        assert_eq!(seen.lock().unwrap().as_slice(), b"fir\nsecond\n");
        assert_eq!(queue.state().unreported, 0);
    }
}
