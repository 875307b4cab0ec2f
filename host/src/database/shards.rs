//! What a node knows of the shards behind a router: which partition a call is of, and whether the shard of a partition
//! is available. A statement that fails because of its shard makes it unavailable (`note`), and so does `shard_watch`
//! when nothing is answered; calls of the partition are then refused at once, until `shard_watch` finds the shard back.
//!
//! It sends nothing, and the other partitions are not affected: a partition never has more than half of the pool.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::procedure::Procedure;
use crate::contract::Value;
use crate::events::{Events, Kind};
use crate::failure::Failure;
use crate::limits;
use crate::metrics::{ShardCounters, ShardMetrics};

/// The shards behind a router.
pub(super) struct Shards {
    partitions: Vec<Arc<Shard>>,
    /// Since when they take turns with calls that any can answer; `None` if the router does not let a node choose.
    turns: Option<Instant>,
    /// A shard has become unavailable.
    failed: Arc<Notify>,
}

/// The shard of a partition.
pub(super) struct Shard {
    partition: u32,
    of: usize,
    available: AtomicBool,
    /// How often it became available again.
    returns: AtomicU64,
    /// Why it is not available.
    cause: Mutex<String>,
    /// Statements that were sent and not answered yet.
    under_way: AtomicUsize,
    /// Statements that were answered.
    answered: AtomicU64,
    /// For calls that are not batched.
    places: Arc<Semaphore>,
    /// For those of them whose key is apart: two at least, so that one that waits for its row does not keep another key
    /// from being served, and one fewer than there are places if possible, so that one is free for other calls.
    apart: Arc<Semaphore>,
    counted: ShardCounters,
    events: Arc<Events>,
    failed: Arc<Notify>,
}

/// A place of a call that is not batched.
pub(super) type Place = OwnedSemaphorePermit;

/// A statement that is under way on a shard.
pub(super) struct UnderWay<'a> {
    shard: &'a Shard,
    /// How often the shard had returned when it was sent.
    returns: u64,
}

impl Shards {
    /// So many partitions, for a pool with so many connections for calls.
    pub(super) fn new(partitions: u32, connections: usize, metrics: &ShardMetrics, events: &Arc<Events>) -> Self {
        let failed = Arc::new(Notify::new());
        let places = (connections / 2).max(1);
        let shard = |partition| Shard {
            partition,
            of: partitions as usize,
            available: AtomicBool::new(true),
            returns: AtomicU64::new(0),
            cause: Mutex::default(),
            under_way: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(places)),
            apart: Arc::new(Semaphore::new(places.saturating_sub(1).max(2).min(places))),
            counted: metrics.of(partition),
            events: Arc::clone(events),
            failed: Arc::clone(&failed),
        };
        Self { partitions: (0..partitions).map(|partition| Arc::new(shard(partition))).collect(), turns: None, failed }
    }

    /// The router lets a node choose where it runs calls that any shard can answer.
    #[must_use]
    pub(super) fn with_choice(mut self) -> Self {
        self.turns = Some(Instant::now());
        self
    }

    /// All of them, by their partitions.
    pub(super) fn all(&self) -> &[Arc<Shard>] {
        &self.partitions
    }

    /// The shard of a call; `None` for one that runs on the router itself, or where the router chooses.
    pub(super) fn of(&self, procedure: &Procedure, arguments: &[Value]) -> Option<&Arc<Shard>> {
        if procedure.is_anywhere() {
            return self.in_turn();
        }
        let key = procedure.shard?;
        self.partitions.get(key.lane(arguments, self.partitions.len()))
    }

    /// The one whose turn it is, or the next one that is available. A turn is long enough that few sessions have to
    /// change.
    fn in_turn(&self) -> Option<&Arc<Shard>> {
        let turn = self.turns?.elapsed().as_secs() / limits::SHARD_TURN.as_secs();
        let (before, from) = self.partitions.split_at(usize::try_from(turn).ok()? % self.partitions.len());
        from.iter().chain(before).find(|shard| shard.is_available()).or(from.first())
    }

    /// Whether another one can answer a call that this shard did not.
    pub(super) fn may_replace(&self, shard: &Shard) -> bool {
        !shard.is_available() && self.partitions.iter().any(|other| other.is_available())
    }

    /// Waits until a shard becomes unavailable.
    pub(super) async fn failed(&self) {
        self.failed.notified().await;
    }

    /// A description of the shards that are unavailable, if any is.
    pub(super) fn unavailable(&self) -> Option<String> {
        let down = self.partitions.iter().filter(|shard| !shard.is_available());
        let down: Vec<_> = down.map(|shard| format!("{} unavailable: {}", shard.name(), *shard.cause())).collect();
        (!down.is_empty()).then(|| down.join("; "))
    }
}

impl Shard {
    /// Its partition.
    pub(super) fn partition(&self) -> u32 {
        self.partition
    }

    /// As the router names it: `shard p1 of 4`.
    pub(super) fn name(&self) -> String {
        format!("shard p{} of {}", self.partition, self.of)
    }

    /// Whether calls are sent to it.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Acquire)
    }

    /// How often it became available again. A call that finds it available finds this count as well.
    pub(super) fn returns(&self) -> u64 {
        self.returns.load(Ordering::Acquire)
    }

    /// Whether a call may be sent to it. One that may not is counted.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.is_available() {
            return Ok(());
        }
        self.counted.refused.inc();
        Err(Failure::Unavailable { cause: format!("{} is unavailable: {}", self.name(), *self.cause()) })
    }

    /// A place for a call that is not batched: calls of a shard that hangs must leave connections to the others.
    pub(super) async fn place(&self) -> Result<Place, Failure> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let waited = timeout(limits::ACQUIRE_TIMEOUT, Arc::clone(&self.places).acquire_owned()).await;
        self.check()?;
        let busy = || Failure::Unavailable { cause: format!("{}: too many calls under way", self.name()) };
        waited.ok().and_then(Result::ok).ok_or_else(busy)
    }

    /// Waits until a call of a key that is apart may take a place.
    pub(super) async fn turn_apart(&self) -> Option<Place> {
        Arc::clone(&self.apart).acquire_owned().await.ok()
    }

    /// A statement is sent to it.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay { shard: self, returns: self.returns() }
    }

    /// How many statements were answered, unless none is under way.
    pub(super) fn progress(&self) -> Option<u64> {
        (self.under_way.load(Ordering::Relaxed) > 0).then(|| self.answered.load(Ordering::Relaxed))
    }

    /// Calls are refused from now on.
    pub(super) fn fail(&self, cause: &str) {
        cause.clone_into(&mut self.cause());
        if self.available.swap(false, Ordering::AcqRel) {
            self.counted.up.set(0);
            let shard = self.name();
            tracing::error!(%shard, cause, "shard unavailable");
            self.events.note(Kind::Outage, None, None, format!("{shard} unavailable: {cause}"));
        }
        self.failed.notify_one();
    }

    /// Calls are sent again.
    pub(super) fn recover(&self) {
        if !self.is_available() {
            self.returns.fetch_add(1, Ordering::Release);
            self.available.store(true, Ordering::Release);
            self.counted.up.set(1);
            let shard = self.name();
            tracing::info!(%shard, "shard available again");
            self.events.note(Kind::Recovery, None, None, format!("{shard} available again"));
        }
    }

    fn cause(&self) -> MutexGuard<'_, String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay<'_> {
    /// It ended, and why the shard was unavailable, if that is how it ended. One that was sent before the shard last
    /// returned proves nothing of now.
    pub(super) fn end(self, unavailable: Option<&str>) {
        let shard = self.shard;
        shard.counted.calls.inc();
        let Some(cause) = unavailable else { return };
        shard.counted.failed.inc();
        if self.returns == shard.returns() {
            shard.fail(cause);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.shard.answered.fetch_add(1, Ordering::Relaxed);
        self.shard.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_of_a_shard_are_apart_side_by_side_and_leave_a_place_if_there_is_one() {
        for (connections, expected) in [(1, (1, 1)), (2, (1, 1)), (4, (2, 2)), (8, (4, 3)), (16, (8, 7))] {
            let shards = Shards::new(2, connections, &ShardMetrics::default(), &Arc::default());
            let shard = &shards.all()[0];
            let places = (shard.places.available_permits(), shard.apart.available_permits());
            assert_eq!(places, expected, "{connections} connections");
        }
    }
}
