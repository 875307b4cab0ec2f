//! Compares what two generations decided on the same request, and names where they differ, as `replay` does.

use super::decision::{Decision, Planned};
use crate::failure::Failure;
use crate::registry::Lineage;
use crate::wire::{self, Outgoing};
use crate::{limits, record, replay};

/// Whether both decided on the same call, or on responses that clients read alike.
pub(super) fn is_same_decision(one: &Decision, other: &Decision) -> bool {
    match (one, other) {
        (Decision::Call(one), Decision::Call(other)) => one.is_same_call_as(other),
        (Decision::Reply(one), Decision::Reply(other)) => is_same_response(one, other),
        _ => false,
    }
}

/// Whether both answer alike, or leave the same error to the host.
pub(super) fn is_same_answer(one: &Result<Outgoing, Failure>, other: &Result<Outgoing, Failure>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => is_same_response(one, other),
        // Both leave the same error to the host.
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// Whether clients read the same. Lines for the log may differ.
fn is_same_response(one: &Outgoing, other: &Outgoing) -> bool {
    one.status() == other.status()
        && one.headers() == other.headers()
        && wire::bytes(one) == wire::bytes(other)
        && wire::sent(one).body == wire::sent(other).body
}

/// A decision as it is compared everywhere.
pub(super) fn shown(decision: &Decision) -> replay::Decision {
    match decision {
        Decision::Reply(outgoing) => response(outgoing),
        Decision::Call(Planned { procedure, arguments, .. }) => {
            let called = record::Called::of(procedure.name.clone(), arguments.clone(), Vec::new());
            let call = replay::Call { procedure: called.procedure, arguments: called.arguments };
            replay::Decision { call: Some(call), ..replay::Decision::default() }
        }
    }
}

/// An answer to an outcome as it is compared everywhere.
pub(super) fn answered(answer: &Result<Outgoing, Failure>) -> replay::Decision {
    match answer {
        Ok(outgoing) => response(outgoing),
        Err(_) => replay::Decision { left_to_host: true, ..replay::Decision::default() },
    }
}

fn response(outgoing: &Outgoing) -> replay::Decision {
    let mut response = record::Response::of(wire::sent(outgoing));
    response.log.clear();
    replay::Decision { response: Some(response), ..replay::Decision::default() }
}

/// Where two decisions differ. The values are clients' data and are left out, as are names of members that may be.
pub(super) fn differs(lineage: &Lineage, old: &replay::Decision, new: &replay::Decision) -> String {
    let generations = [Some(&lineage.current), lineage.canary.as_ref().map(|canary| &canary.generation)];
    let members: Vec<_> = generations.into_iter().flatten().map(|generation| &*generation.component.members).collect();
    let differences = replay::differences(old, new, limits::CANARY_PATHS_MAX, &members);
    let places: Vec<_> = differences.iter().map(|difference| difference.place.as_str()).collect();
    format!("it decides otherwise than generation {}: {}", lineage.current.number, places.join(", "))
}
