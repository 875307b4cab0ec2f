//! A private Postgres cluster, for `galo dev` and for the tests: nothing to install but the server's binaries, nothing
//! listening on the network, nothing left behind. Service nodes never use it; they are given a DATABASE_URL.
//!
//! Two processes: [`Cluster`] in ours holds a pipe to a guard (`galo postgres`, see [`guard`]), which holds postgres.
//! The pipe closes when we end, however we end, and the guard then stops postgres. When the guard is the one that is
//! killed, the kernel tells postgres (`setpriv --pdeathsig`, Linux); where that is not to be had, the next start finds
//! the leftover and stops it first.
//!
//! Everything here blocks: callers on an async runtime use `spawn_blocking`.

mod account;
mod binaries;
mod cluster;
mod download;
mod events;
mod folder;
mod guard;
mod leftover;
mod place;
mod server;

pub use cluster::{Cluster, Data};
pub use guard::{GuardOptions, guard};
pub use server::SUPERUSER;
