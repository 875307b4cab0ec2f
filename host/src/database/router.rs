//! Whether the database of a node is the router that its manifest expects, and how a statement is sent on to a shard.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::sync::SemaphorePermit;
use tokio_postgres::error::SqlState;

use super::error::Error;
use super::onward::Cluster;
use super::pool::{Client, Database};
use super::procedure::Procedure;
use super::shards::{Place, Shard, Shards};
use super::stubs;
use super::trial::tried;
use super::waiter::Waiter;
use crate::contract::Value;
use crate::failure::Failure;
use crate::metrics::Metrics;

/// The places of a call of a key that is apart: among those of the database, or of its shard.
pub(super) type PlacesApart<'a> = (Option<SemaphorePermit<'a>>, Option<Place>, Option<Place>);

impl Database {
    /// Prepares for the shards of a manifest. Without the stubs of a router, the database is used as one: a developer
    /// has no shards.
    ///
    /// # Errors
    /// When the router has another number of partitions, when the database is a shard itself, or does not answer.
    pub async fn lead_to_shards(&self, partitions: u32, metrics: &Metrics) -> anyhow::Result<()> {
        let target = self.target();
        let client = target.connect().await.with_context(|| format!("cannot connect to the database {target}"))?;
        let sql = format!("SELECT {}.partitions()", stubs::SCHEMA);
        let found = match client.query_typed_one(&sql, &[]).await {
            Ok(row) => row.try_get::<_, i32>(0).ok().and_then(|found| u32::try_from(found).ok()),
            Err(error) if is_missing(error.code()) => None,
            Err(error) => return Err(error).with_context(|| format!("cannot ask {target} for its partitions")),
        };
        match found {
            Some(found) if found == partitions => {}
            Some(found) => bail!(
                "the manifest has {partitions} partitions, and the router {target} {found}: apply the output of `galo \
                 shards stubs` to it, or change `partitions` in [shards]"
            ),
            None => {
                if let Some(shard) = shard_of(&client).await? {
                    bail!("the database {target} is shard {shard} itself: DATABASE_URL must name a router");
                }
                tracing::warn!(
                    database = %target,
                    "the manifest has [shards], and the database no stubs of them (`galo shards stubs`): it is used as one \
                     database"
                );
                return Ok(());
            }
        }
        self.opener().is_of_router();
        let sql = format!("SELECT pg_catalog.to_regprocedure('{}.choose(integer)') IS NOT NULL", stubs::SCHEMA);
        let row = client.query_typed_one(&sql, &[]).await;
        let may_choose = row.and_then(|row| row.try_get(0)).with_context(|| format!("cannot ask {target}"))?;
        self.shards.get_or_init(|| {
            let shards = Shards::new(partitions, self.connections().wanted(), &metrics.shards, &metrics.events);
            if may_choose { shards.with_choice() } else { shards }
        });
        Ok(())
    }

    /// The shards, if the database is a router in front of them.
    pub(super) fn shards(&self) -> Option<&Shards> {
        self.shards.get()
    }

    /// A description of the shards that are unavailable, and why, if any is.
    pub fn missing_shards(&self) -> Option<String> {
        self.shards()?.unavailable()
    }

    /// The shard of a call, if it goes to one.
    pub(super) fn shard(&self, procedure: &Procedure, arguments: &[Value]) -> Option<&Arc<Shard>> {
        self.shards()?.of(procedure, arguments)
    }

    /// Whether a call that waits on a lane may be sent: its shard may have become unavailable while it waited.
    pub(super) fn check_shard(&self, waiter: &Waiter) -> Result<(), Failure> {
        self.shard_of(waiter).map_or(Ok(()), |shard| shard.check())
    }

    /// The shard of a call that waits on a lane.
    pub(super) fn shard_of(&self, waiter: &Waiter) -> Option<&Arc<Shard>> {
        self.shard(waiter.procedure(), waiter.arguments())
    }

    /// Whether a manifest has the partitions that the node started with.
    ///
    /// # Errors
    /// A description of the change, and what to do.
    pub fn check_partitions(&self, partitions: Option<u32>) -> Result<(), String> {
        let now = self.shards().and_then(|shards| u32::try_from(shards.all().len()).ok());
        if now.is_none() || now == partitions {
            return Ok(());
        }
        Err("[shards]: the number of partitions is read at the start of a node; restart the nodes one by one"
            .to_owned())
    }

    /// A connection for a call, and a place among those of its shard, if it goes to one.
    pub(super) async fn acquire_for(&self, shard: Option<&Arc<Shard>>) -> Result<(Client, Option<Place>), Failure> {
        let place = match shard {
            Some(shard) => Some(shard.place().await?),
            None => None,
        };
        Ok((self.acquire().await?, place))
    }

    /// The same for a call of a key that is apart. Those of a shard on which everything waits leave connections to
    /// others.
    pub(super) async fn acquire_apart(&self, shard: Option<&Arc<Shard>>) -> Result<(Client, PlacesApart<'_>), Failure> {
        let places = match shard {
            Some(shard) => (None, shard.turn_apart().await, Some(shard.place().await?)),
            None => (self.place_apart().await, None, None),
        };
        Ok((self.acquire().await?, places))
    }

    /// Records the outcome of a call. That a shard is unavailable is not a failure of the database.
    pub(super) fn note_outcome(&self, shard: Option<&Arc<Shard>>, failure: Option<&Failure>) {
        if shard.is_none_or(|shard| shard.is_available()) {
            self.health().note_outcome(failure);
        }
    }
}

/// Sends a statement, to this shard if there is one, over this cluster.
pub(super) async fn on<T>(
    shard: Option<&Arc<Shard>>,
    connection: &Client,
    cluster: Cluster,
    exchange: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(shard) = shard else { return exchange.await };
    let under_way = shard.begin();
    let outcome = match tried(connection, shard, cluster).await {
        Ok(()) => exchange.await,
        Err(error) => Err(error),
    };
    under_way.end(outcome.as_ref().err().and_then(Error::of_shard).as_deref());
    outcome
}

/// Which shard a database is, if it has the mark of one (`deploy/shards/shard.sql`).
async fn shard_of(client: &tokio_postgres::Client) -> anyhow::Result<Option<String>> {
    let sql = "SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace
               WHERE nspname = 'galo_shard'";
    let marks = client.query_typed(sql, &[]).await.context("cannot look for the mark of a shard")?;
    Ok(marks.first().and_then(|mark| mark.try_get(0).ok().flatten()))
}

/// Whether there is no such function, no such schema, or none that this role may use: no router has made it.
fn is_missing(code: Option<&SqlState>) -> bool {
    let codes = [&SqlState::UNDEFINED_FUNCTION, &SqlState::INVALID_SCHEMA_NAME, &SqlState::INSUFFICIENT_PRIVILEGE];
    code.is_some_and(|code| codes.contains(&code))
}
