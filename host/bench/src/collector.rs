//! A collector of traces that takes everything and keeps nothing, so that what is measured is what sending costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A running one, in a thread of its own; it ends with the program.
pub struct Collector {
    pub address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Collector {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// That there is none.
    pub fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let (address, bytes) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counted = bytes.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("collector".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    let counted = counted.clone();
                    let take = hyper::service::service_fn(move |request| take(request, counted.clone()));
                    let connection = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(connection.serve_connection(TokioIo::new(stream), take));
                }
            });
        })?;
        Ok(Self { address, bytes })
    }

    /// Bytes of traces so far.
    pub fn received(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

async fn take(request: Request<Incoming>, counted: Arc<AtomicU64>) -> hyper::Result<Response<Empty<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    counted.fetch_add(u64::try_from(body.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    Ok(Response::new(Empty::new()))
}
