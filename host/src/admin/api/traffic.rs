//! The requests to each route in the last minute: a task samples the counters once a second, and what is shown is the
//! difference of two samples. Requests themselves only count.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::limits;
use crate::metrics::Answered;
use crate::registry::{Generation, Handler, Table};

/// The samples of all routes.
#[derive(Debug, Default)]
pub(in crate::admin) struct Traffic(BTreeMap<Key, Samples>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    handler: String,
    generation: u64,
    route: String,
}

#[derive(Debug)]
struct Samples {
    /// How many answers and errors there were in each interval, the newest last.
    intervals: VecDeque<[u64; 2]>,
    last: Answered,
    /// Where the window begins, and how many samples ago.
    begin: (Answered, usize),
    /// Where the next window begins, likewise.
    next: (Answered, usize),
}

/// The requests to one route, answered by one generation.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct RouteTraffic {
    pub(in crate::admin) handler: String,
    pub(in crate::admin) route: String,
    pub(in crate::admin) generation: u64,
    pub(in crate::admin) sha256: String,
    /// Whether this generation serves.
    pub(in crate::admin) serves: bool,
    /// Since the generation serves under the manifest of now.
    pub(in crate::admin) requests: u64,
    /// Of how many seconds the following figures are.
    pub(in crate::admin) window_seconds: u64,
    pub(in crate::admin) requests_per_second: f64,
    pub(in crate::admin) client_errors: u64,
    pub(in crate::admin) server_errors: u64,
    /// Microseconds within which 50, 90 and 99 of 100 requests were answered.
    pub(in crate::admin) p50_us: Option<u64>,
    pub(in crate::admin) p90_us: Option<u64>,
    pub(in crate::admin) p99_us: Option<u64>,
    /// Answers and errors in each second, the newest last.
    pub(in crate::admin) per_second: Vec<[u64; 2]>,
}

impl Traffic {
    /// Takes a sample. Routes that are gone are forgotten.
    pub(in crate::admin) fn sample(&mut self, table: &Table) {
        let mut sampled = BTreeMap::new();
        for (handler, generation, place) in counted(table) {
            let Some(traffic) = generation.traffic.of(place) else { continue };
            if sampled.len() >= limits::TRAFFIC_ROUTES_MAX {
                break;
            }
            let key = Key::of(handler, &generation, place);
            let mut samples = self.0.remove(&key).unwrap_or_else(|| Samples::begin(&traffic.read()));
            samples.take(traffic.read());
            sampled.insert(key, samples);
        }
        self.0 = sampled;
    }

    /// All routes of the generations that serve, and those of earlier ones that were sampled.
    pub(in crate::admin) fn report(&self, table: &Table) -> Vec<RouteTraffic> {
        let shown = counted(table).filter_map(|(handler, generation, place)| {
            let samples = self.0.get(&Key::of(handler, &generation, place));
            let serves = generation.number == handler.lineage().current.number;
            (serves || samples.is_some()).then(|| report(handler, &generation, place, samples))
        });
        shown.collect()
    }
}

/// Every route of every generation that may answer requests.
fn counted(table: &Table) -> impl Iterator<Item = (&Handler, Arc<Generation>, usize)> {
    table.handlers.iter().flat_map(|handler| {
        let lineage = handler.lineage();
        let generations: Vec<_> = std::iter::once(&lineage.current).chain(&lineage.previous).cloned().collect();
        let of = move |generation: Arc<Generation>| {
            (0..handler.routes.len()).map(move |place| (&**handler, Arc::clone(&generation), place))
        };
        generations.into_iter().flat_map(of)
    })
}

fn report(handler: &Handler, generation: &Generation, place: usize, samples: Option<&Samples>) -> RouteTraffic {
    let window = samples.map(|samples| samples.last.since(&samples.begin.0));
    let seconds = samples.map_or(0, |samples| samples.begin.1 as u64 * limits::TRAFFIC_INTERVAL.as_secs());
    let within = |per_mille| window.as_ref().and_then(|window| window.within(per_mille));
    RouteTraffic {
        handler: handler.entry.name.clone(),
        route: handler.routes[place].to_string(),
        generation: generation.number,
        sha256: generation.component.compiled.digest.to_string(),
        serves: generation.number == handler.lineage().current.number,
        requests: generation.traffic.of(place).map_or(0, |traffic| traffic.read().count()),
        window_seconds: seconds,
        requests_per_second: rate(window.as_ref().map_or(0, Answered::count), seconds),
        client_errors: window.as_ref().map_or(0, |window| window.client_errors),
        server_errors: window.as_ref().map_or(0, |window| window.server_errors),
        p50_us: within(500),
        p90_us: within(900),
        p99_us: within(990),
        per_second: samples.map(|samples| samples.intervals.iter().copied().collect()).unwrap_or_default(),
    }
}

/// With one digit behind the point.
#[expect(clippy::cast_precision_loss, reason = "what is over 2^53 is shown to 16 digits")]
fn rate(count: u64, seconds: u64) -> f64 {
    (count as f64 * 10.0 / seconds.max(1) as f64).round() / 10.0
}

impl Key {
    fn of(handler: &Handler, generation: &Generation, place: usize) -> Self {
        let (name, route) = (handler.entry.name.clone(), handler.routes[place].to_string());
        Self { handler: name, generation: generation.number, route }
    }
}

impl Samples {
    /// Before the first sample of counters that have just begun.
    fn begin(now: &Answered) -> Self {
        let zero = now.since(now);
        Self { intervals: VecDeque::new(), last: zero.clone(), begin: (zero.clone(), 0), next: (zero, 0) }
    }

    fn take(&mut self, now: Answered) {
        let since = now.since(&self.last);
        self.intervals.push_back([since.count(), since.client_errors + since.server_errors]);
        if self.intervals.len() > limits::TRAFFIC_SAMPLES {
            self.intervals.pop_front();
        }
        self.last = now;
        self.begin.1 += 1;
        self.next.1 += 1;
        // A window is from half of the samples to all of them long, so that only two are kept.
        if self.begin.1 >= limits::TRAFFIC_SAMPLES {
            self.begin = std::mem::replace(&mut self.next, (self.last.clone(), 0));
        } else if self.begin.1 == self.next.1 && self.next.1 == limits::TRAFFIC_SAMPLES / 2 {
            self.next = (self.last.clone(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::metrics::RouteTraffic;

    #[test]
    fn a_window_is_at_most_a_minute_and_at_least_half_of_one() {
        let routes = RouteTraffic::default();
        let answer = || routes.answered(0, 1, StatusCode::OK, Duration::from_micros(100));
        answer();
        let mut samples = Samples::begin(&routes.of(0).unwrap().read());
        for second in 1..=500 {
            if second > 1 {
                answer();
            }
            samples.take(routes.of(0).unwrap().read());
            let window = samples.last.since(&samples.begin.0).count();
            assert_eq!(window, samples.begin.1 as u64, "{second}");
            let (least, most) = (limits::TRAFFIC_SAMPLES / 2, limits::TRAFFIC_SAMPLES);
            assert!(samples.begin.1 < most && (second < most || samples.begin.1 >= least), "{second}: {window}");
        }
        assert_eq!(samples.intervals.len(), limits::TRAFFIC_SAMPLES);
        assert!(samples.intervals.iter().all(|interval| *interval == [1, 0]));
    }

    #[test]
    fn a_rate_has_one_digit_and_needs_no_second() {
        assert_eq!((rate(0, 0), rate(7, 0), rate(100, 3)), (0.0, 7.0, 33.3));
    }
}
