//! Inspects the authentication request of a server without TLS before tokio-postgres answers it: no password is sent to
//! another machine in clear text or as MD5, which an eavesdropper could use. SCRAM reveals neither the password nor
//! anything that can be replayed.
//!
//! It reads only the response to the request for TLS and the head of the first message.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The head of an authentication request: message type, length, and authentication method.
const HEAD_BYTES: usize = 9;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;

/// The kinds of password requests that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// All of them: nobody else can listen, or the URL allows it.
    All,
    /// SCRAM, or no password.
    Scram,
}

#[derive(Debug)]
enum Awaited {
    /// Whether the server has TLS: one byte.
    Tls,
    /// The head of the first message, and how many bytes of it were read.
    Head([u8; HEAD_BYTES], usize),
    /// Nothing more.
    Nothing,
}

/// A stream to a server, inspected until the server has sent its authentication request.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    awaited: Awaited,
    answered: Answered,
    offered: Arc<AtomicBool>,
}

impl<S> Watched<S> {
    /// A stream on which TLS is requested first.
    pub(super) fn asking_for_tls(stream: S, answered: Answered) -> Self {
        Self { stream, awaited: Awaited::Tls, answered, offered: Arc::default() }
    }

    /// A stream without TLS.
    pub(super) fn plain(stream: S, answered: Answered) -> Self {
        let mut watched = Self::asking_for_tls(stream, answered);
        watched.await_head();
        watched
    }

    /// Whether the server offered TLS.
    pub(super) fn offered(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.offered)
    }

    fn await_head(&mut self) {
        self.awaited = match self.answered {
            Answered::All => Awaited::Nothing,
            Answered::Scram => Awaited::Head([0; HEAD_BYTES], 0),
        };
    }

    fn see(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let (Awaited::Tls, Some((answer, rest))) = (&self.awaited, bytes.split_first()) {
            if *answer == b'S' {
                self.offered.store(true, Ordering::Relaxed);
                self.awaited = Awaited::Nothing;
            } else {
                self.await_head();
            }
            bytes = rest;
        }
        let Awaited::Head(head, known) = &mut self.awaited else { return Ok(()) };
        let more = bytes.len().min(HEAD_BYTES - *known);
        head[*known..*known + more].copy_from_slice(&bytes[..more]);
        *known += more;
        if *known < HEAD_BYTES {
            return Ok(());
        }
        let (kind, asked) = (head[0], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        self.awaited = Awaited::Nothing;
        let how = match (kind, asked) {
            (b'R', CLEARTEXT) => "in clear text",
            (b'R', MD5) => "as MD5",
            _ => return Ok(()),
        };
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "the server asks for the password {how} over an unencrypted connection to another machine, and it is \
                 not sent: turn TLS on at the server, or have it ask for SCRAM (scram-sha-256 in pg_hba.conf \
                 and password_encryption); where nobody can listen, write sslmode=disable"
            ),
        ))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Awaited::Nothing = self.awaited {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.see(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, asked: u32) -> Vec<u8> {
        [&[kind, 0, 0, 0, 12][..], &asked.to_be_bytes(), b"salt"].concat()
    }

    fn seen(mut watched: Watched<()>, bytes: &[u8], at_once: usize) -> io::Result<()> {
        bytes.chunks(at_once).try_for_each(|some| watched.see(some))
    }

    #[test]
    fn only_scram_is_answered_where_others_can_listen() {
        for at_once in [1, 4, 100] {
            for (kind, asked, passes) in
                [(b'R', 0, true), (b'R', 10, true), (b'R', CLEARTEXT, false), (b'R', MD5, false), (b'E', MD5, true)]
            {
                let plain = seen(Watched::plain((), Answered::Scram), &head(kind, asked), at_once);
                assert_eq!(plain.is_ok(), passes, "{kind} {asked}");
                let refused = [&b"N"[..], &head(kind, asked)].concat();
                let refused = seen(Watched::asking_for_tls((), Answered::Scram), &refused, at_once);
                assert_eq!(refused.is_ok(), passes, "{kind} {asked}");
                assert!(seen(Watched::plain((), Answered::All), &head(kind, asked), at_once).is_ok());
            }
        }
    }

    #[test]
    fn what_is_encrypted_is_not_looked_at() {
        let mut watched = Watched::asking_for_tls((), Answered::Scram);
        let offered = watched.offered();
        watched.see(b"S").unwrap();
        assert!(offered.load(Ordering::Relaxed));
        watched.see(&head(b'R', CLEARTEXT)).unwrap();
    }
}
