//! The registry as a report: what serves, since when, what was refused and what was rolled back.

use jiff::Timestamp;

use crate::registry::{self, Handler, Registry};
use crate::report::{HandlerReport, ManifestReport, NodeReport, Previous, Refusal, RolledBack, State};

/// All handlers of a node.
pub(super) fn node(registry: &Registry) -> NodeReport {
    let table = registry.table();
    NodeReport {
        manifest: ManifestReport {
            loaded: Some(moment(table.loaded)),
            refused: registry.refusal().as_deref().map(refusal),
        },
        handlers: table.handlers.iter().map(|found| handler(found)).collect(),
    }
}

/// One handler.
pub(super) fn handler(handler: &Handler) -> HandlerReport {
    let lineage = handler.lineage();
    let current = &lineage.current;
    HandlerReport {
        name: handler.entry.name.clone(),
        routes: handler.routes.iter().map(|route| route.to_string()).collect(),
        generation: current.number,
        sha256: current.component.compiled.digest.to_string(),
        state: match (&lineage.rolled_back, handler.fallback(&lineage)) {
            (Some(_), _) => State::RolledBack,
            (None, Some(_)) => State::Probation,
            (None, None) => State::Live,
        },
        since: Some(moment(lineage.since)),
        calls: current.calls(),
        faults: current.faults(),
        previous: lineage.previous.as_ref().map(|previous| Previous {
            generation: previous.number,
            sha256: previous.component.compiled.digest.to_string(),
        }),
        rolled_back: lineage.rolled_back.as_ref().map(|back| RolledBack {
            generation: back.number,
            sha256: back.digest.to_string(),
            cause: back.cause.clone(),
            at: moment(back.at),
        }),
        refused: handler.refusal().as_deref().map(refusal),
    }
}

fn refusal(refusal: &registry::Refusal) -> Refusal {
    Refusal {
        stage: refusal.stage.to_string(),
        message: refusal.message.clone(),
        sha256: refusal.digest.map(|digest| digest.to_string()),
        at: moment(refusal.at),
    }
}

pub(super) fn moment(at: Timestamp) -> String {
    format!("{at:.6}")
}
