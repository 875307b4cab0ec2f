//! The advisory lock that lets one migration run at a time on a database. It belongs to the connection: it is released
//! when that ends, in whatever way.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::limits;

/// The key of the lock: `galomigr` in ASCII.
const KEY: i64 = 0x6761_6c6f_6d69_6772;

/// The process that holds the lock, and since when it is connected.
const HOLDER: &str = "
    SELECT l.pid, a.backend_start::text
    FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND (l.classid::bigint << 32) | l.objid::bigint = $1
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";

/// Takes the lock; waits for whoever holds it, and logs that.
///
/// The lock is polled: a statement that waits for it would have a snapshot, which `CREATE INDEX CONCURRENTLY` of the
/// migration that it waits for would wait for.
///
/// # Errors
/// When it is not free in time.
pub(super) async fn take(client: &Client, patience: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut logged = false;
    loop {
        if client.query_one("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&KEY]).await?.get(0) {
            return Ok(());
        }
        let holder = client.query_opt(HOLDER, &[&KEY]).await?;
        let holder = holder.map(|row| (row.get::<_, i32>(0), row.get::<_, Option<String>>(1)));
        if let Some((pid, since)) = holder {
            let since = since.map(|since| format!(", connected since {since}")).unwrap_or_default();
            if begun.elapsed() >= patience {
                bail!(
                    "another migration is running on this database (process {pid} of Postgres{since}) and did not end \
                     within {} s; wait for it, or end it with `SELECT pg_terminate_backend({pid})`",
                    patience.as_secs()
                );
            }
            if !logged {
                tracing::info!("another migration is running (process {pid} of Postgres{since}); waiting for it");
                logged = true;
            }
        }
        sleep(limits::MIGRATION_TURN_POLL).await;
    }
}
