//! The node as a whole.

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::admin::Admin;
use crate::admin::show::moment;
use crate::config::Readers;
use crate::record::FORMAT;

/// A node, in a few figures.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Status {
    pub(in crate::admin) version: &'static str,
    /// The revision that the program was made of, where that is known.
    pub(in crate::admin) revision: Option<&'static str>,
    /// `ready`, or why it is not.
    pub(in crate::admin) state: String,
    pub(in crate::admin) ready: bool,
    /// Where it answers requests.
    pub(in crate::admin) listen: Option<String>,
    /// Whether it is a developer's: `galo dev`.
    pub(in crate::admin) dev: bool,
    pub(in crate::admin) began: String,
    /// One request in so many is recorded, of the handler that is recorded most; 0 if nothing is.
    pub(in crate::admin) recording: usize,
    pub(in crate::admin) record_format: u32,
    /// Whether whoever asks may read records.
    pub(in crate::admin) records_readable: bool,
    pub(in crate::admin) in_flight: i64,
    pub(in crate::admin) connections: i64,
    /// Requests answered 503 because there were too many.
    pub(in crate::admin) shed: u64,
    /// Records that the recorder had no time for.
    pub(in crate::admin) records_dropped: u64,
    /// Tasks that ended unasked and were restarted.
    pub(in crate::admin) task_restarts: u64,
}

/// The most frequent sample of a handler: one request in so many; 0 if nothing is recorded.
pub(super) fn recorded(admin: &Admin) -> usize {
    let Some(node) = admin.node.get() else { return 0 };
    let table = node.registry.table();
    let rings = table.handlers.iter().filter_map(|handler| handler.ring.get());
    rings.map(|ring| ring.every()).filter(|every| *every > 0).min().unwrap_or(0)
}

/// The node at this moment.
pub(in crate::admin) fn status(admin: &Admin) -> Status {
    let (metrics, unready) = (&admin.metrics, admin.unready());
    Status {
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("GALO_REVISION"),
        ready: unready.is_none(),
        state: unready.map_or_else(|| admin.ready(), str::to_owned).trim_end().to_owned(),
        listen: admin.console.listen.get().map(ToString::to_string),
        dev: admin.gate.readers == Readers::Loopback,
        began: moment(admin.console.began),
        recording: recorded(admin),
        record_format: FORMAT,
        records_readable: admin.gate.may_read_records(),
        in_flight: metrics.in_flight.get(),
        connections: metrics.connections.get(),
        shed: metrics.shed.inner().load(Ordering::Relaxed),
        records_dropped: metrics.records_dropped.inner().load(Ordering::Relaxed),
        task_restarts: admin.supervisor.restarts(),
    }
}
