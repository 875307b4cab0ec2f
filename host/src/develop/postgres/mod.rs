//! A private Postgres cluster for `galo dev`, the tests and the benchmarks: only the server's binaries need to be
//! installed, nothing listens on the network, and nothing is left behind. `galo serve` never uses it.
//!
//! Two processes: [`Cluster`] in ours holds a pipe to a guard (`galo postgres`, see `guard`), which runs Postgres. The
//! pipe closes when we end, however we end, and the guard then stops Postgres. When the guard itself is killed, the
//! kernel signals Postgres (`setpriv --pdeathsig`, on Linux); elsewhere the next start finds the leftover and stops it.
//!
//! Everything here blocks: use `spawn_blocking` on an async runtime.
//!
//! The crate `postgresql_embedded` (0.22.0) does not replace this room. It would lose:
//!
//! | promise | here | `postgresql_embedded` |
//! |---|---|---|
//! | ends with us, also after SIGKILL | `guard`, `setpriv` | stopped by `PostgreSQL::drop`, and by nothing else |
//! | clears up after a killed run | `lock`, `leftover` | `is_running` trusts any `postmaster.pid`; no lock, no sweep |
//! | runs as root | `account`, `place` | `initialize` and `start` run as the current user, and Postgres refuses root |
//! | finds an installed server | `binaries` | `installed_dir` knows its own folder only, or one path that it is given |
//! | shows the progress of a download | `download` | `install` waits for the whole archive without a log line |
//!
//! By default it also listens on TCP, on a port that `start` has closed again, and turns `fsync` off (`-F`). It adds
//! sqlx and an HTTP client with TLS. Both check the digest of a download. Start time is not a reason: existing data
//! starts in 0.14 s with `pg_ctl`, as the crate does it, and in 0.19 s here, search for the binaries included.

mod account;
mod binaries;
mod cluster;
mod download;
mod events;
mod folder;
mod guard;
mod initdb;
mod leftover;
mod lock;
mod place;
mod psql;
mod running;
mod server;
mod stop;

pub use cluster::{Cluster, Data, url};
pub use guard::{GuardOptions, guard};
pub use initdb::SUPERUSER;
pub use psql::psql;
pub use running::running;
