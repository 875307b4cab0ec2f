//! What happened to the node.

use jiff::Timestamp;
use serde::Serialize;

use crate::admin::Admin;
use crate::admin::show::moment;

/// One event.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Happened {
    pub(in crate::admin) number: u64,
    pub(in crate::admin) at: String,
    /// `swap`, `refusal`, `rollback`, `canary`, `shadow`, `accepted`, `recording`, `manifest`, `outage` or `recovery`.
    pub(in crate::admin) kind: &'static str,
    pub(in crate::admin) handler: Option<String>,
    /// The generation that serves afterwards.
    pub(in crate::admin) generation: Option<u64>,
    pub(in crate::admin) text: String,
}

/// The events after a number, the newest first.
pub(in crate::admin) fn after(admin: &Admin, number: u64) -> Vec<Happened> {
    let happened = |event: crate::events::Event| Happened {
        number: event.number,
        at: Timestamp::try_from(event.at).map(moment).unwrap_or_default(),
        kind: event.kind.as_str(),
        handler: event.handler,
        generation: event.generation,
        text: event.text,
    };
    admin.metrics.events.after(number).into_iter().rev().map(happened).collect()
}
