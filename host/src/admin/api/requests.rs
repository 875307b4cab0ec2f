//! The requests that were recorded: the last ones in a line each, and one of them whole.

use serde::Serialize;

use super::denied::Denied;
use crate::admin::Admin;
use crate::admin::show::moment;
use crate::limits;
use crate::record::{Outcome, Plan, Record, Times, Why};

/// Which requests are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::admin) struct Wanted {
    /// Of this handler only.
    pub(in crate::admin) handler: Option<String>,
    /// Only those whose status is 400 or higher, or whose handler faulted.
    pub(in crate::admin) errors: bool,
    /// The most.
    pub(in crate::admin) last: usize,
}

/// One request.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Summary {
    pub(in crate::admin) handler: String,
    /// Names it together with the handler.
    pub(in crate::admin) number: u64,
    pub(in crate::admin) id: String,
    pub(in crate::admin) trace: Option<String>,
    pub(in crate::admin) at: String,
    pub(in crate::admin) method: String,
    pub(in crate::admin) path: String,
    pub(in crate::admin) route: String,
    pub(in crate::admin) generation: u64,
    pub(in crate::admin) status: u16,
    /// The procedure that was called.
    pub(in crate::admin) procedure: Option<String>,
    /// The SQLSTATE that it raised.
    pub(in crate::admin) sqlstate: Option<String>,
    pub(in crate::admin) fault: Option<String>,
    /// The code of the failure that the host answered.
    pub(in crate::admin) failure: Option<String>,
    pub(in crate::admin) why: Why,
    pub(in crate::admin) times: Times,
    #[serde(skip)]
    now: i64,
}

/// The last requests, the newest first.
pub(in crate::admin) fn last(admin: &Admin, wanted: &Wanted) -> Result<Vec<Summary>, Denied> {
    if !admin.gate.may_read_records() {
        return Err(Denied::records());
    }
    let (mut found, table) = (Vec::new(), admin.started()?.registry.table());
    if let Some(name) = wanted.handler.as_ref().filter(|name| table.handler(name).is_none()) {
        return Err(Denied::no_handler(name));
    }
    for handler in &table.handlers {
        let name = &handler.entry.name;
        if wanted.handler.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        // Errors may be rare: all records are looked at.
        let most = if wanted.errors { usize::MAX } else { wanted.last };
        for kept in handler.ring.get().map(|ring| ring.last(most, 0)).unwrap_or_default() {
            if let Ok(record) = Record::parse(&kept.line) {
                found.push(Summary::of(record, kept.number));
            }
        }
        found.retain(|summary| !wanted.errors || summary.is_error());
        found.sort_by_key(|summary| (std::cmp::Reverse(summary.now), std::cmp::Reverse(summary.number)));
        found.truncate(wanted.last);
    }
    Ok(found)
}

/// One record.
pub(in crate::admin) fn one(admin: &Admin, handler: &str, number: u64) -> Result<Record, Denied> {
    if !admin.gate.may_read_records() {
        return Err(Denied::records());
    }
    let table = admin.started()?.registry.table();
    let ring = table.handler(handler).and_then(|handler| handler.ring.get());
    let after = number.saturating_sub(1);
    let kept = ring.map(|ring| ring.last(usize::MAX, after)).unwrap_or_default();
    let line = kept.iter().find(|kept| kept.number == number).map(|kept| &kept.line);
    let gone = || {
        Denied::missing(format!(
            "no record {handler}/{number}: at most {} of a handler are kept",
            limits::RECORDS_DEFAULT
        ))
    };
    let record = Record::parse(line.ok_or_else(gone)?);
    record.map_err(|error| Denied::conflict(error.to_string()))
}

impl Summary {
    fn of(record: Record, number: u64) -> Self {
        let Record { handler, generation, why, trace, request, plan, outcome, fault, response, failure, times, .. } =
            record;
        let at = jiff::Timestamp::from_microsecond(request.now).map(moment).unwrap_or_default();
        Self {
            handler,
            number,
            id: request.id,
            trace,
            at,
            path: request.query.map_or_else(|| request.path.clone(), |query| format!("{}?{query}", request.path)),
            method: request.method,
            route: request.route,
            generation,
            status: response.status,
            procedure: plan.and_then(|plan| match plan {
                Plan::Call(called) => Some(called.procedure),
                Plan::Reply => None,
            }),
            sqlstate: outcome.and_then(|outcome| match outcome {
                Outcome::Error(error) => Some(error.sqlstate),
                Outcome::Rows(_) => None,
            }),
            fault,
            failure,
            why,
            times,
            now: request.now,
        }
    }

    fn is_error(&self) -> bool {
        self.status >= 400 || self.fault.is_some()
    }
}
