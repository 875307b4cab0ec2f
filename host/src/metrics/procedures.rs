//! The metrics of each procedure that handlers are granted: how long its calls wait and run, and how they end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::histogram::{Histogram, PHASES};
use super::series::Series;
use crate::limits;

/// The class of SQLSTATE of a call that succeeded.
pub const SUCCEEDED: &str = "00";
/// The class of calls without a SQLSTATE: no answer arrived, or an unusable one.
pub const NO_SQLSTATE: &str = "none";
/// What stands for those classes that are too many, or none that Postgres has.
const OTHER: &str = "other";

/// The counters of one procedure.
#[derive(Debug)]
pub struct ProcedureMetrics {
    /// From the plan until the call is sent: for its lane and for a connection.
    pub wait: Histogram,
    /// From there to its outcome.
    database: Histogram,
    succeeded: AtomicU64,
    /// By class of SQLSTATE. Its lock is taken for a call that fails.
    failed: Mutex<BTreeMap<String, u64>>,
    unsent: AtomicU64,
    waiting: AtomicU64,
}

/// The calls of a procedure since the node started, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcedureSummary {
    /// Calls that succeeded.
    pub succeeded: u64,
    /// Calls that ended with an error or without an answer.
    pub failed: u64,
    /// Calls that were not sent.
    pub unsent: u64,
    /// Calls that wait on its lanes.
    pub waiting: u64,
    /// How long half of the calls waited at most, and 99 of 100.
    pub wait: [Option<Duration>; 2],
    /// How long they took in the database, likewise.
    pub database: [Option<Duration>; 2],
}

impl Default for ProcedureMetrics {
    fn default() -> Self {
        Self {
            wait: Histogram::new(&PHASES),
            database: Histogram::new(&PHASES),
            succeeded: AtomicU64::new(0),
            failed: Mutex::default(),
            unsent: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }
}

impl ProcedureMetrics {
    /// Counts a call that was sent, with its time and the class of its SQLSTATE: [`SUCCEEDED`], [`NO_SQLSTATE`], or the
    /// first two characters of what Postgres gave.
    pub fn ended(&self, took: Duration, class: &str) {
        self.database.took(took);
        if class == SUCCEEDED {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_one = class == NO_SQLSTATE || class.len() == 2 && class.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let mut failed = self.failed();
        let full = failed.len() >= limits::SQLSTATE_CLASSES_MAX && !failed.contains_key(class);
        *failed.entry(if is_one && !full { class } else { OTHER }.to_owned()).or_default() += 1;
    }

    /// Counts a call that was not sent: the database was unavailable, or too many waited.
    pub fn unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets how many calls wait on its lanes.
    pub fn set_waiting(&self, calls: usize) {
        self.waiting.store(calls as u64, Ordering::Relaxed);
    }

    /// Its figures.
    pub fn summary(&self) -> ProcedureSummary {
        let quantiles = |of: &Histogram| [500, 990].map(|per_mille| of.within(per_mille));
        ProcedureSummary {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed().values().sum(),
            unsent: self.unsent.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            wait: quantiles(&self.wait),
            database: quantiles(&self.database),
        }
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows them all.
#[derive(Debug)]
pub(super) struct Procedures(pub Arc<Series<ProcedureMetrics>>);

type Time = (&'static str, &'static str, fn(&ProcedureMetrics) -> &Histogram);

const TIMES: [Time; 2] = [
    ("call_wait_duration", "From the plan of a call until it is sent", |of| &of.wait),
    ("call_database_duration", "From there to its outcome", |of| &of.database),
];

impl Collector for Procedures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let all = self.0.shown();
        let help = "Calls of a procedure that were sent, by the class of their SQLSTATE";
        let mut calls = encoder.encode_descriptor("calls", help, None, MetricType::Counter)?;
        for (name, of) in &all {
            let succeeded = (SUCCEEDED.to_owned(), of.succeeded.load(Ordering::Relaxed));
            for (class, count) in of.failed().clone().into_iter().chain([succeeded]) {
                let labels = [("procedure", name.as_str()), ("sqlstate_class", class.as_str())];
                calls.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let help = "Calls that were not sent: the database was unavailable, or too many waited";
        let mut unsent = encoder.encode_descriptor("calls_unsent", help, None, MetricType::Counter)?;
        for (name, of) in &all {
            let count = of.unsent.load(Ordering::Relaxed);
            unsent.encode_family(&[("procedure", name)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let help = "Calls that wait on the lanes of their procedure";
        let mut waiting = encoder.encode_descriptor("lane_calls_waiting", help, None, MetricType::Gauge)?;
        for (name, of) in &all {
            waiting.encode_family(&[("procedure", name)])?.encode_gauge(&of.waiting.load(Ordering::Relaxed))?;
        }
        for (what, help, histogram) in TIMES {
            let mut times = encoder.encode_descriptor(what, help, Some(&Unit::Seconds), MetricType::Histogram)?;
            for (name, of) in &all {
                histogram(of).encode(times.encode_family(&[("procedure", name)])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procedure_that_raises_every_sqlstate_does_not_make_a_series_of_each() {
        let counted = ProcedureMetrics::default();
        for class in ('A'..='Z').flat_map(|letter| (0..10).map(move |digit| format!("{letter}{digit}"))) {
            counted.ended(Duration::ZERO, &class);
        }
        for class in ["", "\"\n", "für", "123", NO_SQLSTATE] {
            counted.ended(Duration::ZERO, class);
        }
        let failed = counted.failed();
        assert!(failed.len() <= limits::SQLSTATE_CLASSES_MAX + 1, "{failed:?}");
        assert_eq!(failed.values().sum::<u64>(), 265);
        assert!(failed[OTHER] > 5 && !failed.contains_key("\"\n"), "{failed:?}");
        assert_eq!(counted.database.count(), 265);
    }
}
