//! The state that a node holds between requests. `serve` creates it once everything is loaded, `request` answers with
//! it, `reload` keeps its registry up to date, and `admin` reports it.

use std::sync::Arc;

use crate::admission::Admission;
use crate::config::{AccessLog, Proxy};
use crate::database::Database;
use crate::gate::Gates;
use crate::metrics::Metrics;
use crate::record::Recorder;
use crate::registry::{Event, Registry, Subject, Who};

/// The registry, the pool, the admission control and the settings that requests need.
pub struct Node {
    /// Its handlers.
    pub registry: Registry,
    /// Its database.
    pub database: Arc<Database>,
    /// The kind of proxy in front of the node.
    pub proxy: Proxy,
    /// Limits the requests in flight.
    pub admission: Admission,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// Records what became of requests.
    pub recorder: Arc<Recorder>,
    /// What candidates were found to decide otherwise, and what runs beside the live requests.
    pub gates: Arc<Gates>,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// Whether responses have the header that names the generation that answered.
    pub generation_header: bool,
}

impl Node {
    /// Notes what an operator did with something else than a generation: in the audit log, and among the events.
    pub fn operated(&self, subject: Subject<'_>, event: Event, who: &Who, why: &str) {
        let text = if event == Event::Manifest { why.to_owned() } else { format!("{event}, by {who}: {why}") };
        self.metrics.events.note(event.kind(), subject.handler, None, text);
        self.registry.audit.operated(subject, event, who, why);
    }
}
