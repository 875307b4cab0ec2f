//! A running stack: how it is brought up, asked and taken down.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use galo_bank::client::{Base, Client, Reuse};
use galo_bank::compose::{Compose, docker};
use galo_bank::ledger::Ledger;
use galo_bank::source::Source;
use serde_json::Value;
use tokio::runtime::Runtime;

/// From nothing to the first answer: what the contest gives a stack.
const START_MAX: Duration = Duration::from_secs(40);

/// How long a test waits for something to happen before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two tries of something that gives no event; each starts a program.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// As a user in the container runs it.
const PSQL: [&str; 8] = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "rinha"];

/// All containers of a variant, up and healthy; taken down with its volumes when it is dropped.
pub struct Stack {
    pub compose: Compose,
    runtime: Runtime,
}

impl Stack {
    /// Starts it on new volumes.
    pub fn up(compose: &Compose) -> Self {
        let stack = Self::prepare(compose);
        stack.start();
        stack
    }

    /// The same before anything is started.
    pub fn prepare(compose: &Compose) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stack = Self { compose: compose.clone(), runtime };
        // Whatever a run left behind that was itself killed.
        stack.down().unwrap();
        stack
    }

    pub fn start(&self) {
        let took = self.bring_up();
        assert!(took < START_MAX, "the first answer took {took:?}");
    }

    /// Starts it, and returns how long that took.
    pub fn bring_up(&self) -> Duration {
        forget_the_program();
        let begun = Instant::now();
        self.compose.run(&["up", "-d", "--no-build"]).unwrap();
        self.until_ready();
        let took = begun.elapsed();
        println!("the first answer after {took:?}");
        // A stand-in for an official image is never taken for it.
        for service in ["nginx", "postgres", "handlers"] {
            let log = self.compose.run(&["logs", service]).unwrap();
            assert!(log.contains("image: "), "{service} does not print which image it is: {log}");
        }
        took
    }

    /// Waits until nginx passes on what a node answers.
    pub fn until_ready(&self) {
        until("the stack answers", || self.runtime.block_on(self.client().extrato(1)).is_ok());
    }

    /// Credits a cent through nginx, on a connection of its own, and returns the status.
    pub fn credit(&self) -> u16 {
        self.post(&[], r#"{"valor":1,"tipo":"c","descricao":"stack"}"#).0
    }

    /// Sends a transaction through nginx; returns status and body.
    pub fn post(&self, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        self.post_of(1, headers, body)
    }

    /// The same for another cliente.
    pub fn post_of(&self, cliente: i32, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let (status, body) = self.runtime.block_on(self.client().post(cliente, headers, body)).unwrap();
        (status, String::from_utf8(body.into()).unwrap())
    }

    /// The saldo of a cliente, through nginx.
    pub fn saldo(&self, cliente: i32) -> anyhow::Result<i64> {
        Ok(self.runtime.block_on(self.client().extrato(cliente))?.saldo.total)
    }

    /// Sends a body to a path through nginx; returns status and body.
    pub fn send_to(&self, path: &str, body: &str) -> (u16, String) {
        let (status, body) = self.runtime.block_on(self.client().send_to(path, body)).unwrap();
        (status, String::from_utf8(body.into()).unwrap())
    }

    /// The container of a service.
    pub fn container(&self, service: &str) -> String {
        self.compose.run(&["ps", "-q", service]).unwrap()
    }

    /// Runs a program in a container, and returns what it prints.
    pub fn exec(&self, service: &str, command: &[&str]) -> anyhow::Result<String> {
        docker(&[&["exec", &self.container(service)], command].concat())
    }

    /// What docker knows of a container.
    pub fn inspect(&self, service: &str) -> Value {
        let printed = docker(&["inspect", &self.container(service)]).unwrap();
        serde_json::from_str::<Value>(&printed).unwrap()[0].take()
    }

    /// Runs a statement as the administrator, and returns what it prints.
    pub fn sql(&self, statement: &str) -> String {
        self.sql_of("postgres", statement)
    }

    /// The same in the container of another Postgres.
    pub fn sql_of(&self, service: &str, statement: &str) -> String {
        self.exec(service, &[&PSQL[..], &["-c", statement]].concat()).unwrap()
    }

    /// What a node reports of one of its handlers.
    pub fn handler(&self, node: &str, name: &str) -> anyhow::Result<Value> {
        let report: Value = serde_json::from_str(&self.exec(node, &["galo", "handlers", "--json"])?)?;
        let mut handlers = report["handlers"].as_array().context("no handlers")?.iter();
        Ok(handlers.find(|handler| handler["name"] == name).context("no such handler")?.clone())
    }

    /// How often a node has called its handler of transactions.
    pub fn calls(&self, node: &str) -> u64 {
        self.handler(node, "transacoes").ok().and_then(|handler| handler["calls"].as_u64()).unwrap_or(0)
    }

    /// Credits until each of these nodes has served one.
    pub fn until_all_serve(&self, nodes: &[&str]) {
        for node in nodes {
            until(&format!("{node} serves"), || self.credit() == 200 && self.calls(node) > 0);
        }
    }

    /// Proves the ledger as it is.
    pub fn assert_ledger_holds(&self) {
        let id = self.container("postgres");
        let command = ["docker", "exec", "-i", &id].into_iter().chain(PSQL);
        let source = Source::Psql(command.map(str::to_owned).collect());
        let ledger = self.runtime.block_on(Ledger::read(&source)).unwrap();
        assert!(ledger.rows() > 0 && ledger.violations.is_empty(), "{:?}", ledger.violations);
    }

    /// To be held while the stack is tested.
    pub fn logs_if_it_fails(&self) -> Logs<'_> {
        Logs(&self.compose)
    }

    fn client(&self) -> Client {
        Client::new(Base::Tcp(format!("127.0.0.1:{}", self.compose.port)), Reuse::Never)
    }

    fn down(&self) -> anyhow::Result<String> {
        self.compose.run(&["down", "--volumes", "--remove-orphans"])
    }
}

/// Prints the end of every container's log when it is dropped by a test that fails.
pub struct Logs<'a>(&'a Compose);

impl Drop for Logs<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.0.run(&["logs", "--tail", "20"]).unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(std::io::stderr(), "{logs}");
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.logs_if_it_fails());
        if let Err(error) = self.down() {
            let _ = writeln!(std::io::stderr(), "the stack is not taken down: {error:#}");
        }
    }
}

/// Drops the program's pages from the kernel's cache, as on a machine that has just been started. The container that
/// reads a page first is charged for it: one whose limit is too low for the program reads it from the disk again and
/// again. With 30 MB a development build took half a minute for what takes a tenth of a second. (`dd` that copies
/// nothing drops the whole file.)
fn forget_the_program() {
    // `galo-set-up` has a copy of the program; all other images share one.
    for image in ["galo", "galo-set-up"] {
        let run = ["run", "--rm", "--network", "none", "--entrypoint", "dd", image];
        docker(&[&run[..], &["if=/usr/local/bin/galo", "iflag=nocache", "count=0"]].concat()).unwrap();
    }
}

/// Waits until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(RETRY_EVERY);
    }
}
