//! The differences between two tables, for the log and for the reloader.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::node::Node;
use crate::registry::{Event, Handler, Subject, Table, Who};

/// How a new manifest changed a handler.
pub(super) enum Change {
    /// With its routes and the number of its generation, which is not 1 if the handler existed before.
    Added(String, String, u64),
    /// With the number of its generation when that is a new one.
    Changed(String, Option<u64>),
    Removed(String),
}

/// The handlers that differ in a new table.
pub(super) fn changes(old: &Table, new: &Table) -> Vec<Change> {
    let by_name = |table: &Table| -> HashMap<String, Arc<Handler>> {
        table.handlers.iter().map(|handler| (handler.entry.name.clone(), Arc::clone(handler))).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    let changed = new.handlers.iter().filter_map(|handler| {
        let name = handler.entry.name.clone();
        match before.get(&name) {
            None => {
                let number = handler.lineage().current.number;
                Some(Change::Added(name, handler.entry.routes_shown(), number))
            }
            Some(old) if !Arc::ptr_eq(old, handler) => {
                let (was, is) = (old.lineage().current.number, handler.lineage().current.number);
                Some(Change::Changed(name, (was != is).then_some(is)))
            }
            Some(_) => None,
        }
    });
    let gone = old.handlers.iter().filter(|handler| !after.contains_key(&handler.entry.name));
    changed.chain(gone.map(|handler| Change::Removed(handler.entry.name.clone()))).collect()
}

impl Change {
    /// The handler.
    pub(super) fn name(&self) -> &str {
        let (Self::Added(name, ..) | Self::Changed(name, _) | Self::Removed(name)) = self;
        name
    }

    /// Tells of it in the log and in the audit log.
    pub(super) fn note(&self, node: &Node) {
        tracing::info!("{self}");
        let subject = Subject { handler: Some(self.name()), digest: None };
        node.operated(subject, Event::Manifest, &Who::folder(), &self.to_string());
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(name, route, number) => {
                write!(f, "{name}: generation {number} live — added to the manifest, {route}")
            }
            Self::Changed(name, None) => write!(f, "{name}: reloaded with the current manifest and database"),
            Self::Changed(name, Some(number)) => write!(f, "{name}: generation {number} live — with its new manifest"),
            Self::Removed(name) => write!(f, "{name}: removed from the manifest"),
        }
    }
}
