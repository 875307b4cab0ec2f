//! Tries a connection of PL/Proxy before a call is sent over it, if its shard was unavailable since it was made. PL/Proxy
//! 2.10 finds out that a connection is dead from the statement that it sends over it, unless it was not used for two
//! seconds; whether a call that fails so is recorded, nobody knows. So a question goes first, which can be repeated.
//!
//! It does so only in sessions of the router itself: behind a pooler the call could be sent in another one.

use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::connect::pooler::Way;
use super::error::Error;
use super::onward::Cluster;
use super::pool::Client;
use super::shards::Shard;
use super::stubs;
use crate::limits;

/// Returns when a call may be sent to a shard in this session of the router.
///
/// # Errors
/// Why the shard does not answer; the call must not be sent.
pub(super) async fn tried(connection: &Client, shard: &Shard, cluster: Cluster) -> Result<(), Error> {
    let (partition, returns) = (shard.partition(), shard.returns());
    let may_be_dead = connection.onward().may_be_dead(partition, cluster, returns);
    if !may_be_dead || *connection.way() != Way::Direct {
        return Ok(());
    }
    match ask(connection, partition, cluster).await {
        // PL/Proxy has closed the dead connection, and makes another one.
        Err(error) if error.of_shard().is_some() => ask(connection, partition, cluster).await?,
        asked => asked?,
    }
    connection.onward().is_good(partition, cluster, returns);
    Ok(())
}

async fn ask(connection: &Client, partition: u32, cluster: Cluster) -> Result<(), Error> {
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    let sql = stubs::question(cluster);
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&partition, Type::INT4)];
    match timeout(limits::SHARD_PROBE_TIMEOUT, connection.query_typed(&sql, &parameters)).await {
        Ok(Ok(_)) => Ok(()),
        // Stubs of an earlier version.
        Ok(Err(error)) if error.code() == Some(&SqlState::UNDEFINED_FUNCTION) => Ok(()),
        Ok(Err(error)) => Err(Error::Postgres(error)),
        Err(_) => Err(Error::NoAnswer),
    }
}
