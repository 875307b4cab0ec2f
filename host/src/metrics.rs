//! What is counted, in the Prometheus text format. Counters of a handler are looked up once, when it is loaded, not
//! for every request. `request` counts, `admin` shows.

use std::sync::atomic::Ordering;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::failure::FaultKind;

/// Everything a node counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    faults: Family<FaultLabels, Counter>,
    seconds: Family<HandlerLabels, Histogram, fn() -> Histogram>,
    swaps: Family<HandlerLabels, Counter>,
    rollbacks: Family<HandlerLabels, Counter>,
    refusals: Family<HandlerLabels, Counter>,
    /// Requests between their head and the end of their answer.
    pub in_flight: Gauge,
    /// Requests answered 503 because too many were in flight, too many calls waited for their lane, or too many of
    /// their generation were slow.
    pub shed: Counter,
    /// Requests that no handler answered: 404, 405.
    pub unrouted: Counter,
    /// Open client connections.
    pub connections: Gauge,
    /// Client connections that were closed for a newcomer.
    pub made_room: Counter,
    /// Of calls that go in batches.
    pub batches: BatchMetrics,
    /// Of the database connections.
    pub pool: PoolMetrics,
    /// Log lines that could not be written; `log` counts.
    pub log_lines_dropped: Counter,
    /// Tasks that ended unasked and were begun again; `supervise` counts.
    pub task_restarts: Counter,
}

/// The connections of the pool; `database` counts when somebody looks.
#[derive(Debug, Clone, Default)]
pub struct PoolMetrics(Family<PoolLabels, Gauge>);

impl PoolMetrics {
    /// Sets how many are idle, in use, and missing of those that there should be.
    pub fn set(&self, idle: usize, busy: usize, missing: usize) {
        for (state, connections) in [("idle", idle), ("busy", busy), ("missing", missing)] {
            let gauge = self.0.get_or_create_owned(&PoolLabels { state });
            gauge.set(i64::try_from(connections).unwrap_or(i64::MAX));
        }
    }
}

/// The counters of batches; `database` counts.
#[derive(Debug, Clone)]
pub struct BatchMetrics {
    /// Calls that went in one statement.
    pub calls: Histogram,
    /// Batches that failed and whose calls went one by one.
    pub broken: Counter,
    /// Batches that gave up on a locked or slow row, and whose calls went by keys.
    pub given_up: Counter,
}

/// The counters of one handler.
#[derive(Debug)]
pub struct HandlerMetrics {
    /// By the status's first digit, 2 to 5.
    by_class: [Counter; 4],
    faults: [(FaultKind, Counter); 6],
    /// From the head of a request to its response.
    pub seconds: Histogram,
    /// Generations that came into service after the first.
    pub swaps: Counter,
    /// Generations that were taken back.
    pub rollbacks: Counter,
    /// Candidates that were not taken.
    pub refusals: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    handler: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    handler: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: String,
}

/// Upper bounds in seconds: an answer usually takes half a millisecond, the contest asks for 250 ms.
const SECONDS: [f64; 10] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Upper bounds of the calls of a batch, up to the most there may be.
const BATCH_CALLS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The classes of status a handler answers with.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

const FAULT_KINDS: [FaultKind; 6] = [
    FaultKind::Trap,
    FaultKind::Deadline,
    FaultKind::Memory,
    FaultKind::Oversized,
    FaultKind::Malformed,
    FaultKind::Worse,
];

fn of(name: &str) -> HandlerLabels {
    HandlerLabels { handler: name.to_owned() }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let mut metrics = Self {
            registry: Registry::with_prefix("galo"),
            requests: Family::default(),
            faults: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            swaps: Family::default(),
            rollbacks: Family::default(),
            refusals: Family::default(),
            in_flight: Gauge::default(),
            shed: Counter::default(),
            unrouted: Counter::default(),
            connections: Gauge::default(),
            made_room: Counter::default(),
            batches: BatchMetrics {
                calls: Histogram::new(BATCH_CALLS),
                broken: Counter::default(),
                given_up: Counter::default(),
            },
            pool: PoolMetrics::default(),
            log_lines_dropped: Counter::default(),
            task_restarts: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests answered for a handler", metrics.requests.clone());
        registry.register("faults", "Guest calls that trapped, overran or lied", metrics.faults.clone());
        registry.register("request_seconds", "From head to response", metrics.seconds.clone());
        registry.register("swaps", "Generations that came into service after the first", metrics.swaps.clone());
        registry.register("rollbacks", "Generations that were taken back", metrics.rollbacks.clone());
        registry.register("refusals", "Candidates that were not taken", metrics.refusals.clone());
        registry.register("in_flight", "Requests being answered", metrics.in_flight.clone());
        registry.register(
            "shed",
            "Requests refused because too many were under way, waiting or slow",
            metrics.shed.clone(),
        );
        registry.register("unrouted", "Requests that no route takes", metrics.unrouted.clone());
        registry.register("connections", "Open client connections", metrics.connections.clone());
        registry.register("made_room", "Connections that were closed for a newcomer", metrics.made_room.clone());
        registry.register("batch_calls", "Calls that went in one statement", metrics.batches.calls.clone());
        registry.register("batches_broken", "Batches whose calls went one by one", metrics.batches.broken.clone());
        registry.register("batches_given_up", "Batches that gave up on a row", metrics.batches.given_up.clone());
        registry.register("pool_connections", "Connections to the database, by their state", metrics.pool.0.clone());
        let dropped = "Log lines dropped because stderr was full, closed or too slow";
        registry.register("log_lines_dropped", dropped, metrics.log_lines_dropped.clone());
        registry.register(
            "task_restarts",
            "Tasks that ended unasked and were begun again",
            metrics.task_restarts.clone(),
        );
        metrics
    }

    /// The counters of a handler.
    pub fn handler(&self, name: &str) -> HandlerMetrics {
        let requests = |status| self.requests.get_or_create_owned(&RequestLabels { handler: name.to_owned(), status });
        let faults = |kind: FaultKind| {
            let labels = FaultLabels { handler: name.to_owned(), kind: kind.as_str() };
            (kind, self.faults.get_or_create_owned(&labels))
        };
        HandlerMetrics {
            by_class: CLASSES.map(requests),
            faults: FAULT_KINDS.map(faults),
            seconds: self.seconds.get_or_create_owned(&of(name)),
            swaps: self.swaps.get_or_create_owned(&of(name)),
            rollbacks: self.rollbacks.get_or_create_owned(&of(name)),
            refusals: self.refusals.get_or_create_owned(&of(name)),
        }
    }

    /// Shows the counters of a handler no longer: it is gone, and names must not pile up.
    pub fn forget(&self, name: &str) {
        for status in CLASSES {
            self.requests.remove(&RequestLabels { handler: name.to_owned(), status });
        }
        for kind in FAULT_KINDS {
            self.faults.remove(&FaultLabels { handler: name.to_owned(), kind: kind.as_str() });
        }
        self.seconds.remove(&of(name));
        for family in [&self.swaps, &self.rollbacks, &self.refusals] {
            family.remove(&of(name));
        }
    }

    /// Takes over what is counted where there are no metrics.
    pub fn counted_elsewhere(&self, log_lines_dropped: u64, task_restarts: u64) {
        let set = |counter: &Counter, to| counter.inner().store(to, Ordering::Relaxed);
        set(&self.log_lines_dropped, log_lines_dropped);
        set(&self.task_restarts, task_restarts);
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl HandlerMetrics {
    /// Counts an answer.
    pub fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        self.by_class[class].inc();
    }

    /// Counts a fault.
    pub fn faulted(&self, kind: FaultKind) {
        self.faults.iter().filter(|(counted, _)| *counted == kind).for_each(|(_, counter)| {
            counter.inc();
        });
    }
}
