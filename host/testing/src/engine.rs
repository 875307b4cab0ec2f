//! What all nodes of the tests share: one engine, their settings, and how long a test waits.

#![expect(clippy::unwrap_used, reason = "set-up for tests: what fails here fails the test")]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use galo::config::{Address, Readers, Settings};
use galo::guest::Engine;

use crate::program;

/// How long a test waits for something to happen before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The one engine: two would reserve the address space of two pools.
pub fn engine() -> &'static Engine {
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::start().unwrap());
    &ENGINE
}

/// Settings for a node on ports of its own, which whoever can reach it may operate, as a developer's.
pub fn settings(handlers: &Path) -> Settings {
    let any = "127.0.0.1:0".parse::<Address>().unwrap();
    // Not this program, which holds the tests.
    let galo = program::galo().to_owned();
    let readers = Readers::Loopback;
    Settings { pool_connections: 4, galo, readers, ..Settings::new(handlers.to_owned(), any.clone(), any) }
}
