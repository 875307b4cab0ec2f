//! The servers that stand beside `galo serve` in the comparison. Each is this program again, as a hidden subcommand, on
//! a runtime like that of a node.

mod limit;
mod linked;
mod plain;
mod records;
mod twin;

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use galo::limits;
use galo::serve::Signals;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::UnixListener;

/// What to serve, and where.
#[derive(Clone, Args)]
pub struct ServeArgs {
    what: Server,
    /// The path of the unix socket
    #[arg(long)]
    listen: PathBuf,
    /// The folder of galo.toml and the components
    #[arg(long)]
    handlers: Option<PathBuf>,
    /// The folder of compiled components
    #[arg(long)]
    cache: Option<PathBuf>,
    /// The program that compiles those that are not there
    #[arg(long)]
    galo: Option<PathBuf>,
    /// Worker threads
    #[arg(long, value_name = "N")]
    workers: usize,
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, default_value = "")]
    database_url: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Server {
    Limit,
    Plain,
    Twin,
}

type Incoming = http::Request<hyper::body::Incoming>;
type Outgoing = http::Response<Full<Bytes>>;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from serving.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    // As `galo serve` does: every connection holds a file.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    // And it declines huge pages, which would be counted as memory; where that is forbidden, it has them.
    let _ = prctl::set_thp_disable(true);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.workers)
        .max_blocking_threads(limits::BLOCKING_THREADS_MAX)
        .enable_all()
        .thread_stack_size(limits::WORKER_STACK_BYTES)
        .build()?;
    let served = runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            ended = serve(args) => ended,
            _ = signals.next() => Ok(()),
        }
    });
    runtime.shutdown_background();
    served
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    match args.what {
        Server::Limit => limit::serve(&args.listen).await,
        Server::Plain => plain::serve(&args.listen, &args.database_url).await,
        Server::Twin => twin::serve(args).await,
    }
}

/// Answers the requests of all connections with `answer`.
async fn listen<A, F>(socket: &std::path::Path, answer: A) -> anyhow::Result<()>
where
    A: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outgoing> + Send + 'static,
{
    let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |incoming| {
                let answer = answer(incoming);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::IDLE_TIMEOUT_DEFAULT)
                .serve_connection(TokioIo::new(stream), service);
            // nginx closes its connections when it ends.
            let _ = connection.await;
        });
    }
}

fn json(status: http::StatusCode, body: impl Into<Bytes>) -> Outgoing {
    let mut outgoing = http::Response::new(Full::new(body.into()));
    *outgoing.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    outgoing.headers_mut().insert(http::header::CONTENT_TYPE, json);
    outgoing
}
