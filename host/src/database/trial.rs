//! Tries a connection of PL/Proxy before a call is sent over it, if its shard was unavailable since it was made.
//! PL/Proxy 2.10 finds out that a connection is dead from the statement that it sends over it, unless it was not used
//! for two seconds; whether a call that fails so is recorded, nobody knows. So a question goes first, which can be
//! repeated.
//!
//! It does so only in sessions of the router itself: behind a pooler the call could be sent in another one. The same
//! holds for the choice of a shard for what any of them can answer.

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

/// Makes this session run what any shard can answer on this one.
///
/// # Errors
/// The router does not answer, or refuses; the call must not be sent.
pub(super) async fn chosen(connection: &Client, shard: &Shard) -> Result<(), Error> {
    let partition = shard.partition();
    if !connection.onward().has_chosen(partition) {
        send(connection, &format!("SELECT {}.choose($1)", stubs::SCHEMA), partition).await?;
        connection.onward().choose(partition);
    }
    Ok(())
}

async fn ask(connection: &Client, partition: u32, cluster: Cluster) -> Result<(), Error> {
    match send(connection, &stubs::question(cluster), partition).await {
        // Stubs of an earlier version.
        Err(Error::Postgres(error)) if error.code() == Some(&SqlState::UNDEFINED_FUNCTION) => Ok(()),
        asked => asked,
    }
}

async fn send(connection: &Client, sql: &str, partition: u32) -> Result<(), Error> {
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&partition, Type::INT4)];
    let answer = timeout(limits::SHARD_PROBE_TIMEOUT, connection.query_typed(sql, &parameters));
    answer.await.map_err(|_| Error::NoAnswer)?.map(drop).map_err(Error::Postgres)
}
