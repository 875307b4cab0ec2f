//! The metrics of each handler, and how they are shown.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::codes::Codes;
use super::histogram::{Histogram, PHASES, REQUESTS};
use super::series::Series;
use crate::events::{Events, Kind};
use crate::failure::FaultKind;

/// The counters of one handler.
#[derive(Debug)]
pub struct HandlerMetrics {
    codes: Codes,
    faults: [(FaultKind, Counter); FAULT_KINDS.len()],
    /// From the head of a request to its response.
    pub duration: Histogram,
    /// From the head of a request to the end of its body.
    pub read: Histogram,
    /// From there to the plan.
    pub prepare: Histogram,
    /// From the rows of a call to the response.
    pub respond: Histogram,
    /// Generations that came into service after the first.
    pub swaps: Counter,
    /// Generations that were rolled back.
    pub rollbacks: Counter,
    /// Candidates that were rejected.
    pub refusals: Counter,
    /// Requests that were recorded.
    pub records: Counter,
    /// Where it is asked, as the manifest has it.
    routes: Mutex<Vec<String>>,
    /// Its name, and where its events are noted.
    events: OnceLock<(String, Arc<Events>)>,
}

const FAULT_KINDS: [FaultKind; 6] = [
    FaultKind::Trap,
    FaultKind::Deadline,
    FaultKind::Memory,
    FaultKind::Oversized,
    FaultKind::Malformed,
    FaultKind::Worse,
];

impl Default for HandlerMetrics {
    fn default() -> Self {
        let phase = || Histogram::new(&PHASES);
        Self {
            codes: Codes::default(),
            faults: FAULT_KINDS.map(|kind| (kind, Counter::default())),
            duration: Histogram::new(&REQUESTS),
            read: phase(),
            prepare: phase(),
            respond: phase(),
            swaps: Counter::default(),
            rollbacks: Counter::default(),
            refusals: Counter::default(),
            records: Counter::default(),
            routes: Mutex::default(),
            events: OnceLock::new(),
        }
    }
}

impl HandlerMetrics {
    /// Counts an answer.
    pub fn answered(&self, status: StatusCode) {
        self.codes.count(status);
    }

    /// Counts a fault.
    pub fn faulted(&self, kind: FaultKind) {
        self.faults.iter().filter(|(counted, _)| *counted == kind).for_each(|(_, counter)| {
            counter.inc();
        });
    }

    /// Counts a generation that came into service after the first.
    pub fn swapped(&self, generation: u64, how: &str) {
        self.swaps.inc();
        self.noted(Kind::Swap, generation, how);
    }

    /// Counts a generation that was rolled back to the given one.
    pub fn rolled_back(&self, generation: u64, why: &str) {
        self.rollbacks.inc();
        self.noted(Kind::Rollback, generation, why);
    }

    /// Counts a candidate that was refused; the given generation still serves.
    pub fn refused(&self, generation: u64, stage: &str, message: &str) {
        self.refusals.inc();
        self.noted(Kind::Refusal, generation, &format!("{stage}: {message}"));
    }

    /// Notes what happened to it; the given generation serves afterwards.
    pub fn noted(&self, kind: Kind, generation: u64, text: &str) {
        if let Some((handler, events)) = self.events.get() {
            events.note(kind, Some(handler), Some(generation), text);
        }
    }

    /// Notes its events here.
    pub(super) fn notes(&self, handler: &str, events: &Arc<Events>) {
        self.events.get_or_init(|| (handler.to_owned(), Arc::clone(events)));
    }

    /// Notes the routes on which it serves.
    pub(super) fn is_on(&self, routes: Vec<String>) {
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = routes;
    }
}

/// Shows them all.
#[derive(Debug)]
pub(super) struct Handlers(pub Arc<Series<HandlerMetrics>>);

/// A time by handler: its name, what it is, which it is, and the phase when there are several.
type Times = (&'static str, &'static str, &'static [(&'static str, fn(&HandlerMetrics) -> &Histogram)]);

const TIMES: [Times; 3] = [
    ("request_duration", "From the head of a request to its response", &[("", |of| &of.duration)]),
    ("request_read_duration", "From the head of a request to the end of its body", &[("", |of| &of.read)]),
    (
        "guest_duration",
        "Time of a request in each function of its handler",
        &[("prepare", |of| &of.prepare), ("respond", |of| &of.respond)],
    ),
];

type Count = (&'static str, &'static str, fn(&HandlerMetrics) -> &Counter);

const COUNTS: [Count; 4] = [
    ("swaps", "Generations that came into service after the first", |of| &of.swaps),
    ("rollbacks", "Generations that were rolled back", |of| &of.rollbacks),
    ("refusals", "Candidates that were not taken", |of| &of.refusals),
    ("records_kept", "Requests that were recorded", |of| &of.records),
];

impl Collector for Handlers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let all = self.0.shown();
        let help = "The routes of a handler";
        let mut info = encoder.encode_descriptor("handler_info", help, None, MetricType::Gauge)?;
        for (name, of) in &all {
            let routes = of.routes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for route in routes {
                ConstGauge::new(1_i64).encode(info.encode_family(&[("handler", name.clone()), ("route", route)])?)?;
            }
        }
        let help = "Requests answered for a handler, by their status";
        let mut requests = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (name, of) in &all {
            of.codes.encode(&mut requests, &[("handler", name)])?;
        }
        let help = "Guest calls that trapped, overran or violated the contract";
        let mut faults = encoder.encode_descriptor("faults", help, None, MetricType::Counter)?;
        for (name, of) in &all {
            for (kind, count) in &of.faults {
                let labels = [("handler", name.as_str()), ("kind", kind.as_str())];
                faults.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count.get(), None)?;
            }
        }
        for (what, help, counter) in COUNTS {
            let mut counts = encoder.encode_descriptor(what, help, None, MetricType::Counter)?;
            for (name, of) in &all {
                let count = counter(of).get();
                counts.encode_family(&[("handler", name)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        for (what, help, phases) in TIMES {
            let mut times = encoder.encode_descriptor(what, help, Some(&Unit::Seconds), MetricType::Histogram)?;
            for (name, of) in &all {
                for (phase, histogram) in phases {
                    let labels = [("handler", name.as_str()), ("phase", phase)];
                    let labels = if phase.is_empty() { &labels[..1] } else { &labels[..] };
                    histogram(of).encode(times.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
