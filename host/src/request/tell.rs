//! What the log says of a request that failed: the first failure of a kind at once, those that follow as a number.
//! Called by the parent and by `rescue`.

use crate::failure::{self, Failure, Fault};
use crate::limits;
use crate::registry::{Generation, Handler};

/// A guest that went wrong.
pub(super) fn fault(handler: &Handler, generation: &Generation, fault: &Fault) {
    let (name, number) = (handler.entry.name.clone(), generation.number);
    let Fault { phase, kind, detail, backtrace } = fault;
    let again = move |what: &str, times| {
        tracing::error!(handler = name, generation = number, what, times, "guest faulted again");
    };
    if generation.repeats.is_first(&format!("{kind} in {phase}"), again) {
        let (name, backtrace) = (handler.entry.name.as_str(), backtrace.as_deref());
        tracing::error!(handler = name, generation = number, %phase, %kind, detail, backtrace, "guest faulted");
    }
}

/// Any other failure. An outage is logged by `database`, once, not by every request.
pub(super) fn failure(handler: &Handler, generation: &Generation, failure: &Failure) {
    let (name, number) = (handler.entry.name.as_str(), generation.number);
    match failure {
        // Logged by `rescue`, which knows whose it was.
        Failure::Fault(_) => {}
        Failure::Procedure { procedure, cause, sqlstate } => {
            let sqlstate = sqlstate.as_deref().unwrap_or_default();
            let handler = handler.entry.name.clone();
            let again = move |what: &str, times| {
                tracing::error!(handler, generation = number, what, times, "procedure failed again");
            };
            if generation.repeats.is_first(&format!("{procedure} {sqlstate}"), again) {
                // It may quote an argument.
                let cause = failure::cut(cause, limits::FAULT_BYTES_MAX);
                tracing::error!(handler = name, generation = number, procedure, cause, "procedure failed");
            }
        }
        Failure::Repeatable { cause } => {
            let handler = handler.entry.name.clone();
            let again = move |what: &str, times| {
                tracing::error!(handler, what, times, "request of a proxy that may repeat it refused again");
            };
            if generation.repeats.is_first(cause, again) {
                let remedy = "write the proxy's configuration again, from this manifest: galo proxy nginx";
                tracing::error!(handler = name, cause, remedy, "request of a proxy that may repeat it refused");
            }
        }
        _ => tracing::debug!(handler = name, generation = number, %failure, "request failed"),
    }
}
