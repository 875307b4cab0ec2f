//! The stack under test, and one run of the bank test against it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use galo::develop::build::{self, Cancel, Profile};
use galo::{manifest, proxy};
use galo_bank::client::Base;
use galo_bank::experiment::Experiment;
use galo_bank::history::{History, Outcome};
use galo_bank::keyless::{Broken, Keyless, broken};
use galo_bank::load::{Load, Progress};
use galo_bank::plan::Mix;
use galo_bank::proof::{Law, Violation};
use galo_bank::source::Source;
use galo_bank::swap::Swaps;
use galo_bank::verdict;
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use crate::keyless;
use crate::nginx::Nginx;
use crate::node::{LOOK_EVERY, Node, PATIENCE};
use crate::postgres::{Database, checkout};

/// Enough that both nodes always have something in flight, and few enough that two cores keep up in a debug build.
const CLIENTS: u32 = 16;

/// Clients of the handler without a key, beside them.
const KEYLESS_CLIENTS: u32 = 4;

/// Acknowledged before anything is done to the stack, and again after it: the fault happens under load.
const WARM_TRANSACTIONS: u64 = 100;

/// Between two swaps: compiling takes a tenth of a second, beside a load up to one.
const SWAP_EVERY: Duration = Duration::from_millis(800);

/// Lines of each log that are shown when a test fails.
const LOG_TAIL_LINES: usize = 15;

/// The handlers of the checkout, built once.
fn handlers() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        build::handlers(&checkout(), Profile::Release, &Cancel::default()).unwrap().put(folder.path()).unwrap();
        folder
    });
    folder.path()
}

/// What all requests of a run are made from. The variable is not called GALO_*: those are read by `galo`, which refuses
/// what it does not know.
fn seed() -> u64 {
    std::env::var("BANK_SEED").map_or(1, |text| text.parse().unwrap())
}

/// Runs a test to its end.
pub fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

/// Nodes, and nginx before them unless the nodes are spoken to directly.
pub struct Stack {
    pub database: Database,
    pub nodes: Vec<Node>,
    pub nginx: Option<Nginx>,
    /// What the last run acknowledged of the handler without a key and did not record.
    pub lost: Vec<Broken>,
    handlers: PathBuf,
    folder: TempDir,
}

impl Stack {
    /// Two nodes behind nginx.
    pub async fn start(database: Database) -> Self {
        Self::with_routes(database, |deployed| deployed).await
    }

    /// The same, with what `galo proxy nginx` wrote changed.
    pub async fn with_routes(database: Database, change: impl FnOnce(String) -> String) -> Self {
        let mut stack = Self::nodes(database, &["node-1", "node-2"]).await;
        let sockets: Vec<_> = stack.nodes.iter().map(Node::socket).collect();
        let routes = change(proxy::nginx(&manifest::read(&stack.handlers).unwrap(), "nodes"));
        stack.nginx = Some(Nginx::start(stack.folder.path(), &sockets, &routes).await);
        stack
    }

    /// One node that clients speak to directly.
    pub async fn direct(database: Database) -> Self {
        Self::nodes(database, &["node-1"]).await
    }

    async fn nodes(database: Database, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let handlers = folder.path().join("handlers");
        copy(self::handlers(), &handlers);
        keyless::put(&handlers);
        keyless::create(&database).await;
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(Node::start(name, folder.path(), &handlers, &database.service_url()).await);
        }
        Self { database, nodes, nginx: None, lost: Vec::new(), handlers, folder }
    }

    /// The folder that all nodes serve from.
    pub fn handlers(&self) -> &Path {
        &self.handlers
    }

    /// Waits until every node serves a handler of this name.
    pub async fn until_handler(&self, name: &str) {
        for node in &self.nodes {
            let begun = Instant::now();
            while !node.report().await.handlers.iter().any(|handler| handler.name == name) {
                assert!(begun.elapsed() < PATIENCE, "{name} does not serve: {:?}", node.report().await);
                sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Where clients ask.
    pub fn base(&self) -> Base {
        Base::Unix(self.nginx.as_ref().map_or_else(|| self.nodes[0].socket(), |nginx| nginx.socket.clone()))
    }

    /// Loads the stack, has `fault` happen while handlers are swapped, lets it recover, and returns the record and what
    /// is wrong with the ledger. Whatever the fault is, nothing of the handler without a key may have been done twice.
    pub async fn run(&mut self, mix: Mix, fault: impl AsyncFnOnce(&mut Self, &Progress)) -> (History, Vec<Violation>) {
        let experiment = Experiment {
            load: Load { mix, ..Load::new(self.base(), CLIENTS, seed()) },
            source: Source::Url(self.database.owner_url()),
        };
        let keyless = Keyless::start(&self.base(), keyless::PATH, KEYLESS_CLIENTS);
        let mut sent = Vec::new();
        let meanwhile = async |progress: &Progress| {
            let swaps = Swaps::start(&self.handlers, SWAP_EVERY);
            progress.until(WARM_TRANSACTIONS).await?;
            fault(self, progress).await;
            progress.until(WARM_TRANSACTIONS).await?;
            self.until_served(&swaps.stop().await?).await;
            sent = keyless.stop().await;
            Ok(())
        };
        let found = experiment.run(meanwhile).await.unwrap();
        let recorded = keyless::recorded(&self.database).await;
        let answered = sent.iter().filter(|each| each.status == Some(200)).count();
        println!("without a key: {} sent, {answered} answered 200, {} recorded", sent.len(), recorded.marks.len());
        assert!(answered > 0);
        let (lost, other) = broken(&sent, &recorded).into_iter().partition(|broken| matches!(broken, Broken::Lost(_)));
        self.lost = lost;
        let other: Vec<_> = other;
        assert_eq!(other, []);
        found
    }

    /// As [`Self::run`], and nothing may be wrong.
    pub async fn proved(&mut self, mix: Mix, fault: impl AsyncFnOnce(&mut Self, &Progress)) -> History {
        let (history, violations) = self.run(mix, fault).await;
        verdict::ledger(&violations).unwrap();
        assert_eq!(self.lost, []);
        assert!(history.count(Outcome::Ok) > 0);
        history
    }

    /// A short run without a fault, and the laws that it breaks, each once.
    pub async fn laws_broken(&mut self) -> Vec<Law> {
        let (_, violations) = self.run(Mix::default(), async |_, _| sleep(Duration::from_millis(800)).await).await;
        let mut laws: Vec<_> = violations.iter().map(|violation| violation.law).collect();
        laws.sort();
        laws.dedup();
        laws
    }

    /// Waits until every node serves the components with these digests.
    async fn until_served(&self, digests: &[String]) {
        for node in &self.nodes {
            for digest in digests {
                let begun = Instant::now();
                while !node.report().await.handlers.iter().any(|handler| handler.sha256 == *digest) {
                    assert!(begun.elapsed() < PATIENCE, "{digest} does not serve: {:?}", node.report().await);
                    sleep(LOOK_EVERY).await;
                }
            }
        }
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

/// Copies a folder of handlers with what is in it.
fn copy(from: &Path, to: &Path) {
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
