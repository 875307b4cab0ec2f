//! Nodes in this process: one engine for all of them, a node of its own for each test.

#![expect(clippy::unwrap_used, reason = "set-up for tests: what fails here fails the test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::Method;
use bytes::Bytes;
use galo::config::Settings;
use galo::develop::build::Profile;
use galo::drain::Outcome;
use galo::guest::{Cache, Compiled, Compiler, Component, ComponentError, Digest, Grants};
use galo::limits::{CompileLimits, HandlerLimits};
use galo::registry::{Handler, Stage};
use galo::serve::{self, Running};

use crate::database::TestDatabase;
pub use crate::engine::{PATIENCE, engine, settings};
use crate::folder::{Guests, handlers};
use crate::http::{Answer, request};
use crate::program;

/// Compiles a component as a node does, or finds it compiled in the cache.
pub fn compile(bytes: &[u8], cache: Option<&Cache>) -> Result<Compiled, ComponentError> {
    let compiler = Compiler::new(engine(), program::galo(), CompileLimits::default(), cache.cloned());
    let compiled = compiler.find(Digest::of(bytes)).map(Ok);
    compiled.unwrap_or_else(|| {
        // On a thread of its own: a test may be inside a runtime.
        let compile = || compiler.compile_here(bytes).map_err(|error| error.downcast::<ComponentError>().unwrap());
        std::thread::scope(|scope| scope.spawn(compile).join().unwrap())
    })
}

/// Compiles a component and proves that it fits.
pub fn verify(
    bytes: &[u8],
    grants: Grants,
    limits: HandlerLimits,
    cache: Option<&Cache>,
) -> Result<Component, ComponentError> {
    compile(bytes, cache)?.fit(grants, limits)
}

/// A node in this process.
pub struct TestNode {
    /// The node, as it runs.
    pub running: Running,
}

impl TestNode {
    /// The project's handlers on a test's database.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::with(database, settings(handlers(Profile::Release))).await
    }

    /// A node with these settings.
    pub async fn with(database: &TestDatabase, settings: Settings) -> Self {
        Self { running: serve::start(&settings, &database.target(), engine()).await.unwrap() }
    }

    /// A node with the given guests, each on `/NAME`, with GET and POST.
    pub async fn guests(database: &TestDatabase, guests: &Guests) -> Self {
        Self::with(database, settings(guests.folder.path())).await
    }

    /// The address on which it answers requests.
    pub fn address(&self) -> String {
        self.running.listen.to_string()
    }

    /// Its admin address.
    pub fn admin_address(&self) -> String {
        self.running.admin.to_string()
    }

    /// One GET, on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        request(&self.address(), Method::GET, path, "").await
    }

    /// One POST, on a connection of its own.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        request(&self.address(), Method::POST, path, body).await
    }

    /// One GET of its admin address.
    pub async fn admin(&self, path: &str) -> Answer {
        request(&self.admin_address(), Method::GET, path, "").await
    }

    /// A handler as it is now.
    pub fn handler(&self, name: &str) -> Arc<Handler> {
        Arc::clone(self.running.node.registry.table().handler(name).unwrap())
    }

    /// The number of the generation that serves.
    pub fn generation(&self, name: &str) -> u64 {
        self.handler(name).lineage().current.number
    }

    /// Waits until this generation of a handler serves.
    pub async fn until_generation(&self, name: &str, number: u64) {
        let why = || format!("{:?}", self.handler(name).refusal());
        until(&format!("generation {number} of {name} serves"), why, || self.generation(name) == number).await;
    }

    /// Waits until a candidate is refused, and returns stage and message.
    pub async fn until_refused(&self, name: &str) -> (Stage, String) {
        until(&format!("{name} is refused"), String::new, || self.handler(name).refusal().is_some()).await;
        let refusal = self.handler(name).refusal().unwrap();
        (refusal.stage, refusal.message.clone())
    }

    /// Waits until the manifest is refused, and returns why.
    pub async fn until_manifest_refused(&self) -> (Stage, String) {
        let registry = &self.running.node.registry;
        until("the manifest is refused", String::new, || registry.refusal().is_some()).await;
        let refusal = registry.refusal().unwrap();
        (refusal.stage, refusal.message.clone())
    }

    /// Stops it gracefully.
    pub async fn stop(self) -> Outcome {
        self.running.stop().await
    }
}

/// Waits for something that gives no event.
pub async fn until(what: &str, why: impl Fn() -> String, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what} {}", why());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
