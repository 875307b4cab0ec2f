//! Per-connection timeouts: for the headers of a request, from its first byte or from the accept, and for a client to
//! take its response. hyper limits the wait between requests, `wire` the wait for a body.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits;
use crate::place::{Leave, Place};

/// A stream that fails when its client is too slow.
pub struct Patience<S> {
    stream: S,
    place: Arc<Place>,
    seen: u64,
    head: Clock,
    write: Clock,
    /// Whether the client has taken bytes since a write last had to wait.
    progress: bool,
    /// Bytes that the client has taken since the clock of its response was started.
    taken: usize,
}

impl<S> Patience<S> {
    /// Watches a stream.
    pub fn new(stream: S, place: Arc<Place>) -> Self {
        Self { stream, place, seen: 0, head: Clock::default(), write: Clock::default(), progress: false, taken: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let count = this.place.requests();
        if this.seen != count {
            this.seen = count;
            this.head.stop();
        }
        if count % 2 == 1 {
            return read;
        }
        // A new connection is expected to send a request at once, so the first request has no idle time before it.
        if count == 0 || read.is_ready() && buf.filled().len() > before {
            this.head.start(this.place.timeouts.head);
        }
        match read {
            Poll::Ready(read) => Poll::Ready(read),
            // hyper closes an idle connection that was asked to leave, but waits for the rest of a head.
            Poll::Pending if this.place.asked() == Leave::AtOnce => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => this.head.check(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> Patience<S> {
    /// The timeout runs from the first write that had to wait to the end of the response. It begins again when the
    /// client took a fair share of the response within it, but not for a byte now and then.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            self.write.start(limits::WRITE_TIMEOUT);
            self.place.stalls(std::mem::take(&mut self.progress));
            if self.place.is_given_up() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else {
            self.progress = true;
        }
        let mut late = self.write.check(cx);
        if late.is_ready() && std::mem::take(&mut self.taken) >= limits::WRITE_BYTES_MIN {
            self.write.stop();
            self.write.start(limits::WRITE_TIMEOUT);
            late = self.write.check(cx);
        }
        match late {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => written,
        }
    }

    fn took(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.taken += bytes;
        }
        self.written(cx, written)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.took(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.took(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        // hyper flushes the stream when it has written everything.
        if flushed.is_ready() {
            this.write.stop();
            this.taken = 0;
            this.place.flushed();
        }
        this.written(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.written(cx, closed)
    }
}

/// A timer that is created once per connection, on first use. Most connections never need it.
#[derive(Default)]
struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Clock {
    /// Starts the timer unless it is running.
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

    /// Ready with an error when the time is over.
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
