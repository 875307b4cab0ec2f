//! The listener: sockets, the accept loop, and one HTTP/1.1 connection per task, each with its timeouts. `serve` passes
//! the function that answers requests, both for the public and for the admin address.

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

/// The limits and counters of a listener's connections.
#[derive(Clone)]
pub struct Doors {
    /// The maximum of open connections. Beyond it the longest idle one is closed, and new ones wait in the kernel's
    /// backlog.
    pub connections_max: usize,
    /// The number of open connections.
    pub connections: Gauge,
    /// The number of connections closed to make room for a new one.
    pub made_room: Counter,
    /// How long to wait for a client.
    pub timeouts: ClientTimeouts,
    /// The signal to stop.
    pub drain: Drain,
}

/// Accepts connections until the drain begins, and answers their requests with `answer`. `answer` receives the result
/// of the check of the head, and refuses malformed requests. Open connections continue in separate tasks, and the drain
/// waits for them. The socket is closed when this returns.
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

/// Accepts connections. It logs the first failure and the recovery, and the first connection closed for another.
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

    /// The next connection and its place. `None` when none could be accepted, after a pause.
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
                // The connection stays in the backlog until another one frees its file descriptor. Trying again at once
                // would only take CPU that the open connections need to end.
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

/// Serves one connection, from its first request to its last. `host/fuzz` calls it too, with generated bytes.
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
            // A pipelined request is served only after the client has taken the previous answer.
            let busy = place.busy();
            let outgoing = answer(incoming, checked).await;
            drop(busy);
            Ok::<_, Infallible>(outgoing)
        }
    });
    let connection = http1::Builder::new()
        // Without a timer hyper has no header timeout at all.
        .timer(TokioTimer::new())
        // hyper counts from the end of the last response, so this is the idle timeout. `Patience` limits the time
        // from the first byte of a request to the end of its headers.
        .header_read_timeout(place.timeouts.idle)
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .max_headers(limits::HEADERS_MAX)
        .keep_alive(true)
        // A client that shuts down its sending side counts as gone.
        .half_close(false)
        // Head and body are sent in one writev.
        .writev(true)
        .pipeline_flush(false)
        .auto_date_header(true)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let mut leaving = Leave::Stay;
    let ended = poll_fn(|cx| {
        let asked = place.poll_asked(cx);
        if std::mem::replace(&mut leaving, asked) != asked {
            // A request that has already arrived is answered.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // The answer in flight is sent with `Connection: close`. An idle connection ends at once.
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    let ended = ended.await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
