//! Turns a URL into an open connection.
//!
//! - What to connect to: `target`, which reads the URL (`conninfo`, `keyword`, `parameters`) and finds user and
//!   password (`credentials`, `passfile`).
//! - How: `open` picks an address, `handshake` does TLS (`tls`, `verifier`, `encryption`) and watches the login
//!   (`authentication`).
//! - Whether it goes through a pooler: `pooler`. The settings of its session: `session`.
//! - Why it failed: `cause`.

mod authentication;
mod cause;
mod conninfo;
pub(super) mod credentials;
mod encryption;
mod handshake;
pub(super) mod keyword;
pub(super) mod open;
pub(super) mod parameters;
mod passfile;
pub(super) mod pooler;
pub(super) mod session;
pub(super) mod target;
mod tls;
mod verifier;
