//! How long a connection is waited for: for the headers of a request once its first byte came, and for a client to
//! take its response. The wait between requests is hyper's, the wait for a body is `wire`'s.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits;

/// How far a connection is, counted: even while it waits for a request, odd while it answers one. A count and not a
/// flag, so that a request that came and went between two reads is noticed.
#[derive(Clone, Default)]
pub struct Phase(Arc<AtomicU64>);

/// A request is being answered, until this is dropped.
pub struct Busy(Phase);

impl Phase {
    /// Called when a request's headers are there.
    pub fn busy(&self) -> Busy {
        self.0.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream that is given up when its client is too slow.
pub struct Patience<S> {
    stream: S,
    phase: Phase,
    seen: u64,
    head: Clock,
    write: Clock,
}

impl<S> Patience<S> {
    /// Watches a stream.
    pub fn new(stream: S, phase: Phase) -> Self {
        Self { stream, phase, seen: 0, head: Clock::default(), write: Clock::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let count = this.phase.count();
        if this.seen != count {
            this.seen = count;
            this.head.stop();
        }
        if count % 2 == 1 {
            return read;
        }
        if read.is_ready() && buf.filled().len() > before {
            this.head.start(limits::HEAD_TIMEOUT);
        }
        match read {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => this.head.check(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> Patience<S> {
    /// The clock runs from the first write that had to wait to the end of the response: a client that takes a byte
    /// now and then does not start it anew.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            self.write.start(limits::WRITE_TIMEOUT);
        }
        match self.write.check(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => written,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        // hyper flushes the stream when all it had was written.
        if flushed.is_ready() {
            this.write.stop();
        }
        this.written(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.written(cx, closed)
    }
}

/// A timer that is made once per connection and only when it is first needed: most never are.
#[derive(Default)]
struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Clock {
    /// Starts it, unless it runs.
    fn start(&mut self, timeout: Duration) {
        if std::mem::replace(&mut self.running, true) {
            return;
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + timeout),
            None => self.sleep = Some(Box::pin(sleep(timeout))),
        }
    }

    fn stop(&mut self) {
        self.running = false;
    }

    /// Ready with the error when the time is over.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match &mut self.sleep {
            Some(sleep) if self.running => {
                ready!(sleep.as_mut().poll(cx));
                Poll::Ready(io::ErrorKind::TimedOut.into())
            }
            _ => Poll::Pending,
        }
    }
}
