//! The registry as a report: what serves, since when, what was refused and what was rolled back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::gate::{Gates, Phase, Run, Tally, Verdict};
use crate::manifest;
use crate::node::Node;
use crate::registry::{self, Compared, Handler};
use crate::report::{
    self, CanaryReport, Counts, HandlerReport, ManifestReport, NodeReport, PathCount, Previous, Refusal, RolledBack,
    ShadowState, State,
};

/// All handlers of a node.
pub(super) fn node(node: &Node) -> NodeReport {
    let registry = &node.registry;
    let table = registry.table();
    NodeReport {
        manifest: ManifestReport {
            loaded: Some(moment(table.loaded)),
            refused: registry.refusal().as_deref().map(refusal),
        },
        handlers: table.handlers.iter().map(|found| handler(found, &node.gates)).collect(),
    }
}

/// One handler.
pub(super) fn handler(handler: &Handler, gates: &Gates) -> HandlerReport {
    let lineage = handler.lineage();
    let current = &lineage.current;
    HandlerReport {
        name: handler.entry.name.clone(),
        routes: handler.routes.iter().map(|route| route.to_string()).collect(),
        generation: current.number,
        sha256: current.component.compiled.digest.to_string(),
        deployment: current.deployment().map(Arc::unwrap_or_clone),
        state: match handler.fallback(&lineage) {
            Some(_) => State::Probation,
            None => State::Live,
        },
        since: Some(moment(lineage.since)),
        calls: current.calls(),
        faults: current.faults(),
        previous: lineage.previous.as_ref().map(|previous| Previous {
            generation: previous.number,
            sha256: previous.component.compiled.digest.to_string(),
        }),
        canary: lineage.canary.as_deref().map(canary),
        rolled_back: lineage.rolled_back.as_ref().map(|back| RolledBack {
            generation: back.number,
            sha256: back.digest.to_string(),
            cause: back.cause.clone(),
            at: moment(back.at),
            passed_over: back.passed_over,
        }),
        refused: handler.refusal().as_deref().map(refusal),
        refused_deployment: handler.refused_deployment().as_deref().map(refusal),
        gate: gates.verdict(&handler.entry.name).as_deref().map(gate),
        shadow: gates.shadows.of(&handler.entry.name).as_deref().map(shadow),
    }
}

fn canary(canary: &registry::Canary) -> CanaryReport {
    let (generation, Compared { all: compared, differed, intended }) = (&canary.generation, canary.counts());
    CanaryReport {
        generation: generation.number,
        sha256: generation.component.compiled.digest.to_string(),
        deployment: generation.deployment().map(Arc::unwrap_or_clone),
        percent: canary.share.percent.to_string(),
        by: canary.share.by.to_string(),
        differences: canary.differences.to_string(),
        since: moment(canary.since),
        calls: generation.calls(),
        faults: generation.faults(),
        compared,
        differed,
        intended,
        time: canary.ratio().map(|ratio| format!("{ratio:.2}")),
    }
}

fn gate(verdict: &Verdict) -> report::Gate {
    report::Gate {
        sha256: verdict.digest.to_string(),
        policy: match verdict.policy {
            manifest::Gate::Report => "report".to_owned(),
            manifest::Gate::Refuse => "refuse".to_owned(),
        },
        summary: verdict.to_string(),
        counts: counts(&verdict.tally),
        intended: verdict.intended,
        accepted: verdict.accepted,
    }
}

fn shadow(run: &Run) -> report::Shadow {
    let (state, message, left) = match run.phase() {
        Phase::Verifying => (ShadowState::Verifying, None, run.span),
        Phase::Running(until) => (ShadowState::Running, None, until.saturating_duration_since(Instant::now())),
        Phase::Refused(message) => (ShadowState::Refused, Some(message), Duration::ZERO),
        Phase::Ended => (ShadowState::Ended, None, Duration::ZERO),
    };
    report::Shadow {
        sha256: run.digest.to_string(),
        state,
        message,
        every: run.every,
        seconds_left: left.as_secs(),
        counts: counts(&run.tally()),
        dropped: run.dropped.load(Ordering::Relaxed),
    }
}

fn counts(tally: &Tally) -> Counts {
    let paths = tally.paths().into_iter().map(|(path, count)| PathCount { path, count });
    Counts { compared: tally.compared, differ: tally.differ, skipped: tally.skipped(), paths: paths.collect() }
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
