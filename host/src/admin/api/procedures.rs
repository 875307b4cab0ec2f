//! The procedures that handlers are granted: what they take and return, who may call them, and how their calls went.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::admin::Admin;
use crate::metrics::ProcedureSummary;

/// One procedure.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Granted {
    pub(in crate::admin) name: String,
    pub(in crate::admin) parameters: Vec<Parameter>,
    pub(in crate::admin) columns: Vec<Column>,
    /// Whether calling it needs a database that accepts writes.
    pub(in crate::admin) writes: bool,
    /// The function that carries out several calls, the parameter that is their key, and what else the manifest states
    /// of it.
    pub(in crate::admin) batch: Option<String>,
    /// The handlers that may call it.
    pub(in crate::admin) handlers: Vec<String>,
    pub(in crate::admin) succeeded: u64,
    pub(in crate::admin) failed: u64,
    /// Calls that were not sent: the database was unavailable, or too many waited.
    pub(in crate::admin) unsent: u64,
    /// Calls that wait on its lanes now.
    pub(in crate::admin) waiting: u64,
    /// Microseconds that half of the calls, and 99 of 100, waited at most, as the buckets of the metrics tell.
    pub(in crate::admin) wait_p50_us: Option<u64>,
    pub(in crate::admin) wait_p99_us: Option<u64>,
    /// The same of their time in the database.
    pub(in crate::admin) database_p50_us: Option<u64>,
    pub(in crate::admin) database_p99_us: Option<u64>,
}

/// A parameter of a procedure.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Parameter {
    pub(in crate::admin) name: String,
    #[serde(rename = "type")]
    pub(in crate::admin) its_type: String,
    /// Whether a call may leave it out.
    pub(in crate::admin) optional: bool,
}

/// A column of its rows.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Column {
    pub(in crate::admin) name: String,
    #[serde(rename = "type")]
    pub(in crate::admin) its_type: String,
}

/// All procedures, by name.
pub(in crate::admin) fn all(admin: &Admin) -> Vec<Granted> {
    let Some(node) = admin.node.get() else { return Vec::new() };
    let mut found: BTreeMap<String, Granted> = BTreeMap::new();
    for handler in &node.registry.table().handlers {
        for procedure in &handler.procedures {
            // With its batch form it is another grant.
            let granted = found.entry(procedure.to_string()).or_insert_with(|| {
                let of = node.metrics.procedures.of(&procedure.name);
                Granted {
                    name: procedure.name.clone(),
                    parameters: procedure.typed_parameters().map(Parameter::of).collect(),
                    columns: procedure.columns().map(Column::of).collect(),
                    writes: procedure.writes(),
                    batch: procedure.batch().map(ToString::to_string),
                    handlers: Vec::new(),
                    ..Granted::counted(of.summary())
                }
            });
            granted.handlers.push(handler.entry.name.clone());
        }
    }
    found.into_values().collect()
}

impl Granted {
    fn counted(summary: ProcedureSummary) -> Self {
        let ProcedureSummary { succeeded, failed, unsent, waiting, wait, database } = summary;
        let us = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        Self {
            name: String::new(),
            parameters: Vec::new(),
            columns: Vec::new(),
            writes: false,
            batch: None,
            handlers: Vec::new(),
            succeeded,
            failed,
            unsent,
            waiting,
            wait_p50_us: us(wait[0]),
            wait_p99_us: us(wait[1]),
            database_p50_us: us(database[0]),
            database_p99_us: us(database[1]),
        }
    }
}

impl Parameter {
    fn of((name, its_type, optional): (&str, &str, bool)) -> Self {
        Self { name: name.to_owned(), its_type: its_type.to_owned(), optional }
    }
}

impl Column {
    fn of((name, its_type): (&str, &str)) -> Self {
        Self { name: name.to_owned(), its_type: its_type.to_owned() }
    }
}
