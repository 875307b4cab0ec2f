//! The stack under test, and what may be done to it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use galo_bank::client::{Base, Client, Reuse};
use galo_bank::compose::Compose;
use galo_bank::faults;
use galo_bank::ledger::Ledger;
use galo_bank::source::Source;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use crate::container::{Container, PATIENCE, POLL_EVERY, until};

/// What a user who runs psql in the container is.
const PSQL: [&str; 8] = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "rinha"];

/// All containers, up and healthy.
pub struct Stack {
    compose: Arc<Compose>,
    nginx: Container,
    nodes: [Container; 2],
    postgres: Container,
    /// The volume that the nodes watch.
    handlers: PathBuf,
    /// The volume with the sockets of the nodes.
    sockets: PathBuf,
    /// The volume with the socket of Postgres.
    database: PathBuf,
    runtime: Runtime,
}

/// Takes everything down, volumes included.
struct Down(Arc<Compose>);

impl Stack {
    /// Starts it on new volumes.
    pub fn up(compose: Compose) -> anyhow::Result<Self> {
        let compose = Arc::new(compose);
        // Whatever a run left behind that was itself killed.
        down(&compose)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.spawn(down_at_a_signal(compose.clone()));
        let unless_complete = Down(compose.clone());
        let begun = Instant::now();
        compose.run(&["up", "-d", "--no-build"])?;
        let container = |name| Container::of(&compose, name);
        let stack = Self {
            nginx: container("nginx")?,
            nodes: [container("node-1")?, container("node-2")?],
            postgres: container("postgres")?,
            handlers: compose.volume("handlers")?,
            sockets: compose.volume("sockets")?,
            database: compose.volume("database")?,
            compose,
            runtime,
        };
        println!("the stack is up after {:?}", begun.elapsed());
        std::mem::forget(unless_complete);
        Ok(stack)
    }

    /// A client of its own.
    pub fn client(&self) -> Client {
        Client::new(faults::Stack::base(self), Reuse::Never)
    }

    /// Runs a test to its end.
    pub fn block_on<T>(&self, test: impl Future<Output = T>) -> T {
        self.runtime.block_on(test)
    }

    /// The ledger as it is.
    pub async fn ledger(&self) -> Ledger {
        Ledger::read_quiet(&faults::Stack::source(self)).await.unwrap()
    }

    /// Runs a fault to its end; it fails by panicking.
    pub fn check(&mut self, fault: impl AsyncFnOnce(&mut Self) -> anyhow::Result<()>) {
        let runtime = self.runtime.handle().clone();
        runtime.block_on(fault(self)).unwrap();
    }

    /// Waits until a node answers on its own socket, which nginx would connect to.
    async fn until_ready(&self, node: &Container) {
        let socket = self.sockets.join(format!("{}.sock", node.name));
        let begun = Instant::now();
        while Client::new(Base::Unix(socket.clone()), Reuse::Never).extrato(1).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "{} is not ready", node.name);
            sleep(POLL_EVERY).await;
        }
    }

    /// Waits until Postgres takes connections of the nodes' role.
    async fn until_postgres_is_back(&self) {
        let url = format!("host={} user=galo dbname=rinha", self.database.display());
        let source = Source::Url(url);
        let begun = Instant::now();
        while let Err(error) = source.lines("SELECT 1").await {
            assert!(begun.elapsed() < PATIENCE, "Postgres is not back: {error:#}");
            sleep(POLL_EVERY).await;
        }
    }

    /// Prints the end of each container's log.
    pub fn show_logs(&self) {
        let logs = self.compose.run(&["logs", "--tail", "15"]).unwrap_or_else(|error| format!("{error:#}"));
        let _ = writeln!(std::io::stderr(), "{logs}");
    }
}

impl faults::Stack for Stack {
    /// A node compiles both components with the third of a core that it also serves with.
    const SWAP_EVERY: Duration = Duration::from_secs(1);

    fn base(&self) -> Base {
        Base::Tcp(format!("127.0.0.1:{}", self.compose.port))
    }

    /// The tables, for which Postgres lets only its own user in, and only on its socket.
    fn source(&self) -> Source {
        let command = ["docker", "exec", "-i", &self.postgres.id].into_iter().chain(PSQL);
        Source::Psql(command.map(str::to_owned).collect())
    }

    fn handlers(&self) -> &Path {
        &self.handlers
    }

    async fn until_served(&self, digests: &[String]) -> anyhow::Result<()> {
        for node in &self.nodes {
            until(&format!("{} serves {digests:?}", node.name), || {
                let report = node.exec(&["galo", "handlers", "--json"]).unwrap_or_default();
                digests.iter().all(|digest| serves(&report, digest))
            });
        }
        Ok(())
    }

    async fn crash_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].crash()?;
        self.until_ready(&self.nodes[node]).await;
        Ok(())
    }

    async fn stop_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].stop()
    }

    async fn start_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].docker("start")?;
        self.until_ready(&self.nodes[node]).await;
        Ok(())
    }

    async fn pause_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].docker("pause")
    }

    async fn resume_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].docker("unpause")
    }

    async fn kill_postgres(&mut self) -> anyhow::Result<()> {
        self.postgres.docker("kill")
    }

    async fn start_postgres(&mut self) -> anyhow::Result<()> {
        self.postgres.docker("start")?;
        self.until_postgres_is_back().await;
        Ok(())
    }

    async fn reload_nginx(&mut self) -> anyhow::Result<()> {
        let before = self.nginx.children();
        // README.md of deploy has this command.
        self.nginx.exec(&["nginx", "-e", "stderr", "-s", "reload"])?;
        until("new workers have taken over", || !self.nginx.children().iter().any(|worker| before.contains(worker)));
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(Down(self.compose.clone()));
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        if let Err(error) = down(&self.0) {
            let _ = writeln!(std::io::stderr(), "the stack is not taken down: {error:#}");
        }
    }
}

fn down(compose: &Compose) -> anyhow::Result<()> {
    compose.run(&["down", "--volumes", "--remove-orphans"]).map(drop)
}

async fn down_at_a_signal(compose: Arc<Compose>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    drop(Down(compose));
    std::process::exit(130);
}

/// Whether a node's report has this digest as that of a generation that serves.
fn serves(report: &str, digest: &str) -> bool {
    let report: serde_json::Value = serde_json::from_str(report).unwrap_or_default();
    let handlers = report["handlers"].as_array();
    handlers.is_some_and(|handlers| handlers.iter().any(|handler| handler["sha256"] == digest))
}
