//! The listener: sockets, the accept loop, and one HTTP/1.1 connection per task, each with its bounds in time. It
//! does not know what is answered: `serve` gives it the function, for requests and for the admin address alike.

mod crowd;
pub mod files;
pub mod head;
mod patience;
mod socket;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};

use self::crowd::{Crowd, Seat};
use self::patience::Patience;
pub use self::socket::{Listener, Reach};
use crate::drain::Drain;
use crate::failure::Failure;
use crate::limits::{self, ClientTimeouts};
use crate::place::{Leave, Place};
use crate::wire::{Body, Incoming, Outgoing};

/// What bounds and counts a listener's connections.
#[derive(Clone)]
pub struct Doors {
    /// Connections open at once; beyond it the longest idle one is closed, and the kernel's backlog waits.
    pub connections_max: usize,
    /// How many are open.
    pub connections: Gauge,
    /// How many were closed for a newcomer.
    pub made_room: Counter,
    /// How long a client is waited for.
    pub timeouts: ClientTimeouts,
    /// When to stop.
    pub drain: Drain,
}

/// Accepts connections until the drain begins, and answers their requests with `answer`, which is given what is wrong
/// with a request's head: it refuses what is refused. Open connections go on in
/// their own tasks; the drain waits for them. The socket is closed when this returns.
pub async fn run<A, F>(listener: Listener, doors: Doors, answer: A)
where
    A: Fn(Incoming, Result<(), Failure>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outgoing> + Send + 'static,
{
    let mut entrance = Entrance::new(&listener, &doors);
    loop {
        let accepted = tokio::select! {
            () = doors.drain.begun() => break,
            accepted = entrance.accept() => accepted,
        };
        if let Some((stream, seat)) = accepted {
            doors.drain.track(connection(stream, seat, doors.connections.clone(), answer.clone()));
        }
    }
    entrance.crowd.dismiss();
}

/// Where connections come in. It logs the edges: the first failure and the recovery, the first that leaves for another.
struct Entrance<'a> {
    listener: &'a Listener,
    doors: &'a Doors,
    crowd: Arc<Crowd>,
    failing: bool,
    made_room: Option<Instant>,
}

impl<'a> Entrance<'a> {
    fn new(listener: &'a Listener, doors: &'a Doors) -> Self {
        let crowd = Crowd::new(doors.connections_max, doors.timeouts);
        Self { listener, doors, crowd, failing: false, made_room: None }
    }

    /// The next connection, and its place. `None` when none could be accepted; then it has paused.
    async fn accept(&mut self) -> Option<(socket::Stream, Seat)> {
        let address = self.listener.address();
        match self.listener.accept().await {
            Ok(stream) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(%address, "accepting again");
                }
                let crowd = Arc::clone(&self.crowd);
                Some((stream, crowd.enter(|| self.made_room()).await))
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%address, %error, "cannot accept, pausing between tries");
                }
                // Another connection's file is all that this one can get. It stays in the backlog; trying again at once
                // would only burn the CPU that the open connections need to end.
                if out_of_files(&error) && self.crowd.make_room() {
                    self.made_room();
                }
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                None
            }
        }
    }

    fn made_room(&mut self) {
        self.doors.made_room.inc();
        let before = self.made_room.replace(Instant::now());
        if before.is_none_or(|before| before.elapsed() > limits::ROOM_LOG_PAUSE) {
            let (address, connections_max) = (self.listener.address(), self.doors.connections_max);
            tracing::warn!(%address, connections_max, "all connections are taken, closing the longest idle for a new one");
        }
    }
}

/// Whether the process, or the machine, has no file descriptor left.
fn out_of_files(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error.raw_os_error().map(Errno::from_raw).is_some_and(|errno| matches!(errno, Errno::EMFILE | Errno::ENFILE))
}

async fn connection<A, F>(stream: socket::Stream, seat: Seat, connections: Gauge, answer: A)
where
    A: Fn(Incoming, Result<(), Failure>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outgoing> + Send + 'static,
{
    connections.inc();
    match stream {
        socket::Stream::Tcp(stream) => exchange(stream, &seat.place, answer).await,
        socket::Stream::Unix(stream) => exchange(stream, &seat.place, answer).await,
    }
    connections.dec();
}

/// One connection, from its first request to its last. Also called by `host/fuzz`, with a client's bytes.
pub async fn exchange<S, A, F>(stream: S, place: &Arc<Place>, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Incoming, Result<(), Failure>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outgoing> + Send + 'static,
{
    let io = TokioIo::new(Patience::new(stream, Arc::clone(place)));
    let answer = &answer;
    let service = service_fn(|incoming: http::Request<hyper::body::Incoming>| {
        let checked = head::check(incoming.version(), incoming.headers());
        let incoming = incoming.map(|body| Body::new(body, place));
        async move {
            // Only now: a request that came with others is not served while the answer before it is not taken.
            let busy = place.busy();
            let outgoing = answer(incoming, checked).await;
            drop(busy);
            Ok::<_, Infallible>(outgoing)
        }
    });
    let connection = http1::Builder::new()
        // Without a timer hyper has no header timeout at all.
        .timer(TokioTimer::new())
        // hyper counts from the end of the last response, so for it this is the idle timeout; from the first byte
        // of a request to the end of its headers `Patience` counts.
        .header_read_timeout(place.timeouts.idle)
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .max_headers(limits::HEADERS_MAX)
        .keep_alive(true)
        // A client that shuts its sending side down has gone: nobody reads the answer.
        .half_close(false)
        // Head and body leave in one writev.
        .writev(true)
        .pipeline_flush(false)
        .auto_date_header(true)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let mut leaving = Leave::Stay;
    let ended = poll_fn(|cx| {
        let asked = place.poll_asked(cx);
        if std::mem::replace(&mut leaving, asked) != asked {
            // A request that is there already is answered.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // The answer in flight goes out with `Connection: close`; an idle connection ends at once.
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    let ended = ended.await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
