//! What a node holds between requests. Made by `serve` once everything is loaded; `request` answers with it, `reload`
//! keeps its registry up to date, `admin` reports it.

use std::sync::Arc;

use crate::admission::Admission;
use crate::config::{AccessLog, Proxy};
use crate::database::Database;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// The registry and the pool, and how many requests are admitted.
pub struct Node {
    /// Its handlers.
    pub registry: Registry,
    /// Its database.
    pub database: Arc<Database>,
    /// What stands in front.
    pub proxy: Proxy,
    /// How many requests may be in flight.
    pub admission: Admission,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// Which requests have a line of the log.
    pub access_log: AccessLog,
}
