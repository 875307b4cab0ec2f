//! The listener: sockets, the accept loop, and one HTTP/1.1 connection per task, each with its bounds in time. It
//! does not know what is answered: `serve` gives it the function, for requests and for the admin address alike.

mod patience;
mod socket;

use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::patience::{Patience, Phase};
pub use self::socket::Listener;
use crate::drain::Drain;
use crate::limits;
use crate::wire::{Incoming, Outgoing};

/// What bounds and counts a listener's connections.
#[derive(Clone)]
pub struct Doors {
    /// Connections open at once; beyond it the kernel's backlog waits.
    pub connections_max: usize,
    /// How many are open.
    pub connections: Gauge,
    /// When to stop.
    pub drain: Drain,
}

/// Accepts connections until the drain begins, and answers their requests with `answer`. Open connections go on in
/// their own tasks; the drain waits for them. The socket is closed when this returns.
pub async fn run<A, F>(listener: Listener, doors: Doors, answer: A)
where
    A: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outgoing> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(doors.connections_max));
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = doors.drain.begun() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(address = %listener.address(), "accepting again");
                }
                let connection = connection(stream, permit, doors.clone(), answer.clone());
                doors.drain.track(connection);
            }
            Err(error) => {
                // Out of file descriptors, most likely. The connection stays in the backlog; trying again at once
                // would only burn the CPU that the open connections need to end.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(address = %listener.address(), %error, "cannot accept, pausing between tries");
                }
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &Listener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(socket::Stream, OwnedSemaphorePermit)> {
    // The permit first: a connection that cannot be served is not taken from the backlog.
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    Ok((listener.accept().await?, permit))
}

async fn connection<A, F>(stream: socket::Stream, permit: OwnedSemaphorePermit, doors: Doors, answer: A)
where
    A: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outgoing> + Send + 'static,
{
    doors.connections.inc();
    match stream {
        socket::Stream::Tcp(stream) => exchange(stream, &doors.drain, answer).await,
        socket::Stream::Unix(stream) => exchange(stream, &doors.drain, answer).await,
    }
    doors.connections.dec();
    drop(permit);
}

/// One connection, from its first request to its last.
async fn exchange<S, A, F>(stream: S, drain: &Drain, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outgoing> + Send + 'static,
{
    let phase = Phase::default();
    let io = TokioIo::new(Patience::new(stream, phase.clone()));
    let service = service_fn(move |incoming: Incoming| {
        let busy = phase.busy();
        let answer = answer(incoming);
        async move {
            let outgoing = answer.await;
            drop(busy);
            Ok::<_, Infallible>(outgoing)
        }
    });
    let connection = http1::Builder::new()
        // Without a timer hyper has no header timeout at all.
        .timer(TokioTimer::new())
        // hyper counts from the end of the last response, so for it this is the idle timeout; from the first byte
        // of a request to the end of its headers `Patience` counts.
        .header_read_timeout(limits::IDLE_TIMEOUT)
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
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.begun() => {
            // The answer in flight goes out with `Connection: close`; an idle connection ends at once.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
