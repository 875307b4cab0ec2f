//! Metrics for Prometheus. The counters of a handler are looked up when it is loaded, not for every request. `request`
//! and `database` count, `admin` shows the metrics.
//!
//! The number of series with external names (handlers, procedures, SQLSTATEs) is bounded (`series`, `codes`), so that
//! neither swaps nor refused manifests make the text grow.

mod build;
mod classic;
mod codes;
mod handlers;
mod histogram;
mod laps;
mod procedures;
mod process;
mod series;
mod shards;
mod spans;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use self::build::Build;
use self::codes::Codes;
pub use self::handlers::HandlerMetrics;
use self::handlers::Handlers;
use self::histogram::CALLS;
pub use self::histogram::Histogram;
pub use self::laps::Laps;
use self::procedures::Procedures;
pub use self::procedures::{NO_SQLSTATE, ProcedureMetrics, ProcedureSummary, SUCCEEDED};
use self::process::Process;
pub use self::series::Series;
pub use self::shards::{ShardCounters, ShardMetrics};
pub use self::spans::SpanMetrics;
pub use self::traffic::{Answered, RouteTraffic};
use crate::events::Events;

/// Everything a node counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    handlers: Arc<Series<HandlerMetrics>>,
    /// Of the procedures that handlers are granted; `database` says which.
    pub procedures: Arc<Series<ProcedureMetrics>>,
    /// Requests between their head and the end of their answer.
    pub in_flight: Gauge,
    /// Requests answered 503 because too many were in flight, too many calls waited for their lane, or too many of
    /// their generation were slow.
    pub shed: Counter,
    /// Requests that no handler answered: 404, 405.
    pub unrouted: Arc<Codes>,
    /// Open client connections.
    pub connections: Gauge,
    /// Client connections that were closed for a new one.
    pub made_room: Counter,
    /// Of calls that go in batches.
    pub batches: BatchMetrics,
    /// Of the database and its connections.
    pub pool: PoolMetrics,
    /// Of the shards behind a router.
    pub shards: ShardMetrics,
    /// Log lines that could not be written; `log` counts.
    pub log_lines_dropped: Counter,
    /// Records that were dropped because the recorder's queue was full.
    pub records_dropped: Counter,
    /// Records that were not kept: they are larger than a handler's may be, or writing them failed.
    pub records_skipped: Counter,
    /// Shed requests that were not recorded, because enough others of them are.
    pub records_shed: Counter,
    /// Bytes of the records that are kept.
    pub records_bytes: Gauge,
    /// Of the spans of traces.
    pub spans: SpanMetrics,
    /// Tasks that ended unexpectedly and were restarted. `supervise` counts them.
    pub task_restarts: Counter,
    /// What happened, for the page.
    pub events: Arc<Events>,
}

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The classic text format, version 0.0.4, which everything reads.
    Classic,
    /// OpenMetrics 1.0.0, on request.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of the text.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The database and the connections to it. `database` sets them on each scrape.
#[derive(Debug, Clone, Default)]
pub struct PoolMetrics {
    /// Whether it answers, and takes writes where a procedure may write.
    pub up: Gauge,
    wanted: Family<PoolLabels, Gauge>,
    open: Family<PoolLabels, Gauge>,
    in_use: Family<PoolLabels, Gauge>,
    waiting: Family<PoolLabels, Gauge>,
}

/// How many connections one pool has, and how many calls wait for one.
#[derive(Debug, Clone, Copy)]
pub struct PoolCount {
    /// How many there should be.
    pub wanted: usize,
    /// How many there are, those in use too.
    pub open: usize,
    /// How many are in use.
    pub in_use: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}

impl PoolMetrics {
    /// Sets the figures of one pool.
    pub fn set(&self, pool: &'static str, count: PoolCount) {
        let PoolCount { wanted, open, in_use, waiting } = count;
        let all = [(&self.wanted, wanted), (&self.open, open), (&self.in_use, in_use), (&self.waiting, waiting)];
        for (family, number) in all {
            family.get_or_create(&PoolLabels { pool }).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}

/// The counters of batches; `database` counts.
#[derive(Debug, Clone)]
pub struct BatchMetrics {
    /// Calls that went in one statement.
    pub calls: Arc<Histogram>,
    /// Batches that failed, and whose calls were sent again one by one, or failed too.
    pub broken: Counter,
    /// Batches that gave up on a locked or slow row, and whose calls went by keys.
    pub given_up: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: &'static str,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            handlers: Arc::default(),
            procedures: Arc::default(),
            in_flight: Gauge::default(),
            shed: Counter::default(),
            unrouted: Arc::default(),
            connections: Gauge::default(),
            made_room: Counter::default(),
            batches: BatchMetrics {
                calls: Arc::new(Histogram::new(&CALLS)),
                broken: Counter::default(),
                given_up: Counter::default(),
            },
            pool: PoolMetrics::default(),
            shards: ShardMetrics::default(),
            log_lines_dropped: Counter::default(),
            records_dropped: Counter::default(),
            records_skipped: Counter::default(),
            records_shed: Counter::default(),
            records_bytes: Gauge::default(),
            spans: SpanMetrics::default(),
            task_restarts: Counter::default(),
            events: Arc::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        self.registry.register_collector(Box::new(Process));
        let galo = self.registry.sub_registry_with_prefix("galo");
        galo.register_collector(Box::new(Build));
        galo.register_collector(Box::new(Handlers(Arc::clone(&self.handlers))));
        galo.register_collector(Box::new(Procedures(Arc::clone(&self.procedures))));
        galo.register_collector(Box::new(Shared {
            unrouted: Arc::clone(&self.unrouted),
            batches: self.batches.clone(),
        }));
        galo.register("in_flight", "Requests being answered", self.in_flight.clone());
        let shed = "Requests refused because too many were under way, waiting or slow";
        galo.register("shed", shed, self.shed.clone());
        galo.register("connections", "Open client connections", self.connections.clone());
        galo.register("made_room", "Connections that were closed for a newcomer", self.made_room.clone());
        galo.register(
            "batches_broken",
            "Batches that failed and whose calls went one by one, or failed too",
            self.batches.broken.clone(),
        );
        galo.register("batches_given_up", "Batches that gave up on a row", self.batches.given_up.clone());
        let pool = &self.pool;
        galo.register("database_up", "Whether the database answers and takes what is asked of it", pool.up.clone());
        galo.register("pool_connections_wanted", "Database connections there should be", pool.wanted.clone());
        galo.register("pool_connections_open", "Database connections there are", pool.open.clone());
        galo.register("pool_connections_in_use", "Database connections that carry a call", pool.in_use.clone());
        galo.register("pool_calls_waiting", "Calls that wait for a database connection", pool.waiting.clone());
        self.shards.register(galo);
        let dropped = "Log lines dropped because stderr was full, closed or too slow";
        galo.register("log_lines_dropped", dropped, self.log_lines_dropped.clone());
        let records = "Records dropped because the queue of the recorder was full";
        galo.register("records_dropped", records, self.records_dropped.clone());
        let skipped = "Records that were not kept: too large, or writing them failed";
        galo.register("records_skipped", skipped, self.records_skipped.clone());
        let shed = "Shed requests that were not recorded, because enough others are";
        galo.register("records_shed", shed, self.records_shed.clone());
        galo.register("records_bytes", "Bytes of the records that are kept", self.records_bytes.clone());
        self.spans.register(galo);
        let restarts = "Tasks that ended unasked and were restarted";
        galo.register("task_restarts", restarts, self.task_restarts.clone());
    }

    /// The counters of a handler: those that are shown, or new ones, which are not shown before it serves.
    pub fn handler(&self, name: &str) -> Arc<HandlerMetrics> {
        let of = self.handlers.of(name);
        of.notes(name, &self.events);
        of
    }

    /// Shows the counters of the handlers that serve, each with its name and its routes. Those of other handlers are
    /// shown a while longer, so that their last counts are read.
    pub fn serve(&self, handlers: impl Iterator<Item = (String, Vec<String>, Arc<HandlerMetrics>)>) {
        self.handlers.serve(handlers.map(|(name, routes, metrics)| {
            metrics.is_on(routes);
            (name, metrics)
        }));
    }

    /// Counts a request that no handler answered.
    pub fn unrouted(&self, status: StatusCode) {
        self.unrouted.count(status);
    }

    /// Takes over what is counted where there are no metrics.
    pub fn counted_elsewhere(&self, log_lines_dropped: u64, task_restarts: u64) {
        let set = |counter: &Counter, to| counter.inner().store(to, Ordering::Relaxed);
        set(&self.log_lines_dropped, log_lines_dropped);
        set(&self.task_restarts, task_restarts);
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self, format: Format) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        match format {
            Format::OpenMetrics => text,
            Format::Classic => classic::from(&text),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What a node has one of and the library has no type for.
#[derive(Debug)]
struct Shared {
    unrouted: Arc<Codes>,
    batches: BatchMetrics,
}

impl Collector for Shared {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let help = "Requests that no handler answered, by their status";
        let mut family = encoder.encode_descriptor("unrouted", help, None, MetricType::Counter)?;
        self.unrouted.encode(&mut family, &[])?;
        let help = "Calls that went in one statement";
        let family = encoder.encode_descriptor("batch_calls", help, None, MetricType::Histogram)?;
        self.batches.calls.encode(family)
    }
}
