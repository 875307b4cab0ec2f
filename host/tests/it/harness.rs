//! The set-up that these tests share with the benches and the bank test (`host/testing`), under one name.

pub use galo_testing::database::{TestDatabase, connect, granted};
pub use galo_testing::folder::{Guests, handlers, one_build_at_a_time, scratch};
pub use galo_testing::http::{Answer, Connection, request, request_with, transacao};
pub use galo_testing::node::{PATIENCE, TestNode, compile, engine, settings, until, verify};
pub use galo_testing::program::{checkout, command as galo};

/// The program under test.
pub const GALO: &str = env!("CARGO_BIN_EXE_galo");
