//! The stack under test, and what may be done to it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use galo::develop::build::Profile;
use galo::report::{HandlerReport, NodeReport};
use galo::{manifest, proxy};
use galo_bank::client::Base;
use galo_bank::faults::{self, Stack as _};
use galo_bank::history::History;
use galo_bank::keyless::{Broken, Keyless, broken};
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::proof::{Invariant, Violation};
use galo_bank::source::Source;
use galo_bank::swap::Swaps;
use galo_testing::folder;
use galo_testing::nginx::{Front, Listen, Nginx};
use galo_testing::program::{self, checkout};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use crate::keyless;
use crate::node::{Node, PATIENCE, POLL_EVERY};
use crate::postgres::{Database, Durable};
use crate::shards::{self, Shard};

/// Clients of the handler without a key, beside those of the ledger.
const KEYLESS_CLIENTS: u32 = 4;

/// Two nodes.
const PAIR: [&str; 2] = ["node-1", "node-2"];

/// Lines of each log that are shown when a test fails.
const LOG_TAIL_LINES: usize = 15;

/// Runs a test to its end.
pub fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

/// nginx in front of the nodes with these sockets, with what `galo proxy nginx` wrote.
pub async fn front(folder: &Path, sockets: &[PathBuf], routes: &str) -> Nginx {
    let deployed = checkout().root.join("deploy/nginx");
    let front = Front {
        program: &program::find("nginx").unwrap(),
        deployed: &deployed,
        nodes: &deployed.join("upstream/nodes.conf"),
        sockets,
        routes,
        workers: None,
        listen: Listen::Socket(front_socket(folder)),
        folder,
    };
    Nginx::start(front).await.unwrap()
}

/// Where it listens.
pub fn front_socket(folder: &Path) -> PathBuf {
    folder.join("front.sock")
}

/// Nodes, and nginx in front of them unless clients connect to the nodes directly.
pub struct Stack {
    pub database: Database,
    pub nodes: Vec<Node>,
    pub nginx: Option<Nginx>,
    /// The cluster of the database, when it is not the shared one.
    durable: Option<Durable>,
    /// What is behind the database, when that is a router.
    pub shards: Vec<Shard>,
    /// What the last run acknowledged of the handler without a key and did not record.
    pub lost: Vec<Broken>,
    handlers: PathBuf,
    /// A component that is not swapped, because the test deploys it.
    pub spared: Option<&'static str>,
    pub folder: TempDir,
}

impl Stack {
    /// Two nodes behind nginx.
    pub async fn start(database: Database) -> Self {
        Self::with_routes(database, |deployed| deployed).await
    }

    /// The same on a cluster of its own, which can be killed.
    pub async fn durable(durable: Durable, database: Database) -> Self {
        let mut stack = Self::start(database).await;
        stack.durable = Some(durable);
        stack
    }

    /// The same on a router of so many partitions in front of these shards.
    pub async fn sharded(router: (Durable, Database), shards: Vec<Shard>, partitions: usize) -> Self {
        let (durable, database) = router;
        let places: Vec<_> = shards.iter().map(|shard| shard.database.place()).collect();
        let folder = tempfile::tempdir().unwrap();
        let handlers = shards::handlers(folder.path(), partitions);
        database.execute(&shards::stubs(&handlers, &shards[0].database, &places)).await;
        shards::admit(&handlers, "somar");
        let nodes = Self::serving(database, &PAIR, &[], (folder, handlers)).await;
        let mut stack = nodes.behind(|deployed| deployed).await;
        (stack.durable, stack.shards) = (Some(durable), shards);
        stack
    }

    /// The same, with what `galo proxy nginx` wrote changed.
    pub async fn with_routes(database: Database, change: impl FnOnce(String) -> String) -> Self {
        Self::nodes(database, &PAIR, &[]).await.behind(change).await
    }

    /// The same, with nodes that have more options.
    pub async fn with_options(database: Database, options: &'static [&'static str]) -> Self {
        Self::nodes(database, &PAIR, options).await.behind(|deployed| deployed).await
    }

    /// Puts nginx in front of its nodes.
    async fn behind(mut self, change: impl FnOnce(String) -> String) -> Self {
        let sockets: Vec<_> = self.nodes.iter().map(Node::socket).collect();
        let routes = change(proxy::nginx(&manifest::read(&self.handlers).unwrap(), "nodes"));
        self.nginx = Some(front(self.folder.path(), &sockets, &routes).await);
        self
    }

    /// One node that clients connect to directly.
    pub async fn direct(database: Database) -> Self {
        Self::nodes(database, &["node-1"], &[]).await
    }

    async fn nodes(database: Database, names: &[&str], options: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let handlers = folder.path().join("handlers");
        copy(folder::handlers(Profile::Release), &handlers);
        Self::serving(database, names, options, (folder, handlers)).await
    }

    /// Nodes that serve from a folder of handlers, in the folder of the stack.
    async fn serving(
        database: Database,
        names: &[&str],
        options: &'static [&'static str],
        (folder, handlers): (TempDir, PathBuf),
    ) -> Self {
        keyless::put(&handlers);
        keyless::create(&database).await;
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(Node::start(name, folder.path(), &handlers, &database.service_url(), options).await);
        }
        Self {
            database,
            nodes,
            nginx: None,
            durable: None,
            shards: Vec::new(),
            lost: Vec::new(),
            handlers,
            spared: None,
            folder,
        }
    }

    /// Waits until every node serves a handler of this name.
    pub async fn until_handler(&self, name: &str) {
        self.until_all(name, |report| report.handlers.iter().any(|handler| handler.name == name)).await;
    }

    /// Waits until every node has served so many generations of a handler.
    pub async fn until_generation(&self, name: &str, number: u64) {
        let serves = |handler: &HandlerReport| handler.name == name && handler.generation >= number;
        self.until_all(name, |report| report.handlers.iter().any(serves)).await;
    }

    async fn until_all(&self, what: &str, holds: impl Fn(&NodeReport) -> bool) {
        for node in &self.nodes {
            let begun = Instant::now();
            while !holds(&node.report().await) {
                assert!(begun.elapsed() < PATIENCE, "{what} does not serve: {:?}", node.report().await);
                sleep(POLL_EVERY).await;
            }
        }
    }

    /// A short run without a fault, and the invariants that it breaks, each once.
    pub async fn invariants_broken(&mut self) -> Vec<Invariant> {
        let short = async |_: &mut Self, _: &Progress| {
            sleep(Duration::from_millis(800)).await;
            Ok(())
        };
        let (_, violations) = self.run(Mix::default(), short).await.unwrap();
        let mut broken: Vec<_> = violations.iter().map(|violation| violation.invariant).collect();
        broken.sort();
        broken.dedup();
        broken
    }
}

impl faults::Stack for Stack {
    /// Compiling takes a tenth of a second, beside a load up to one.
    const SWAP_EVERY: Duration = Duration::from_millis(800);

    fn base(&self) -> Base {
        Base::Unix(match self.nginx {
            Some(_) => front_socket(self.folder.path()),
            None => self.nodes[0].socket(),
        })
    }

    fn source(&self) -> Source {
        match self.shards.as_slice() {
            [] => Source::Url(self.database.owner_url()),
            shards => Source::Shards(shards.iter().map(|shard| shard.database.owner_url()).collect()),
        }
    }

    fn handlers(&self) -> &Path {
        &self.handlers
    }

    fn swaps(&self) -> Swaps {
        Swaps::start(&self.handlers, Self::SWAP_EVERY, self.spared)
    }

    async fn until_served(&self, digests: &[String]) -> anyhow::Result<()> {
        for digest in digests {
            self.until_all(digest, |report| report.handlers.iter().any(|handler| handler.sha256 == *digest)).await;
        }
        Ok(())
    }

    async fn crash_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].kill().await;
        self.nodes[node].restart().await;
        Ok(())
    }

    async fn stop_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].terminate().await;
        Ok(())
    }

    async fn start_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].restart().await;
        Ok(())
    }

    async fn pause_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].signal(Signal::SIGSTOP);
        Ok(())
    }

    async fn resume_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].signal(Signal::SIGCONT);
        Ok(())
    }

    async fn kill_postgres(&mut self) -> anyhow::Result<()> {
        self.durable.as_mut().context("the shared cluster is not killed")?.kill();
        Ok(())
    }

    async fn start_postgres(&mut self) -> anyhow::Result<()> {
        self.durable.as_mut().context("the shared cluster is not killed")?.restart(&mut self.database).await;
        Ok(())
    }

    async fn kill_shard(&mut self, shard: usize) -> anyhow::Result<()> {
        self.shards[shard].durable.kill();
        Ok(())
    }

    async fn pause_shard(&mut self, shard: usize) -> anyhow::Result<()> {
        self.shards[shard].durable.signal_all(Signal::SIGSTOP);
        Ok(())
    }

    async fn resume_shard(&mut self, shard: usize) -> anyhow::Result<()> {
        self.shards[shard].durable.signal_all(Signal::SIGCONT);
        Ok(())
    }

    async fn start_shard(&mut self, shard: usize) -> anyhow::Result<()> {
        let Shard { durable, database } = &mut self.shards[shard];
        durable.restart(database).await;
        Ok(())
    }

    async fn reload_nginx(&mut self) -> anyhow::Result<()> {
        self.nginx.as_ref().context("this stack has no nginx")?.reload().await
    }

    /// Beside the load of the ledger, a handler without a key is driven. Whatever the fault is, nothing of it may be
    /// done twice.
    async fn run(
        &mut self,
        mix: Mix,
        fault: impl AsyncFnOnce(&mut Self, &Progress) -> anyhow::Result<()>,
    ) -> anyhow::Result<(History, Vec<Violation>)> {
        let keyless = Keyless::start(&self.base(), keyless::PATH, KEYLESS_CLIENTS);
        let found = faults::under_load(self, mix, fault).await?;
        let sent = keyless.stop().await;
        let recorded = keyless::recorded(&self.database).await;
        let answered = sent.iter().filter(|each| each.status == Some(200)).count();
        println!("without a key: {} sent, {answered} answered 200, {} recorded", sent.len(), recorded.marks.len());
        assert!(answered > 0);
        let (lost, other) = broken(&sent, &recorded).into_iter().partition(|broken| matches!(broken, Broken::Lost(_)));
        self.lost = lost;
        let other: Vec<_> = other;
        assert_eq!(other, []);
        Ok(found)
    }

    fn check_beside(&self) -> anyhow::Result<()> {
        ensure!(self.lost.is_empty(), "acknowledged of the handler without a key, and not recorded: {:?}", self.lost);
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for log in ["node-1.log", "node-2.log", "nginx.log"] {
            let text = fs::read_to_string(self.folder.path().join(log)).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- {log}\n{}", lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"));
        }
    }
}

/// Copies a folder with what is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
