//! Runs a recorded request again, on any component, and says what is decided otherwise: without a database, without a
//! network, because handlers are pure. `galo replay`, the gate, the shadow and the page all compare here.
//!
//! Two decisions are the same if what leaves the node is: the call with its arguments, the response, and the lines for
//! the log. A carry is the component's own affair.
//!
//! `whole` does it for a corpus, which `survey` has looked through before, and `tally` counts.

mod budget;
mod differences;
mod survey;
mod tally;
mod whole;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

pub use self::budget::Budget;
pub use self::differences::{Difference, differences};
pub use self::survey::Survey;
pub use self::tally::{Group, Instructions, Tallies, Tally, grouped};
pub use self::whole::{Comparison, Contender, File, compare};
use crate::contract::{Outcome, Plan, Request, VERSION, Version};
use crate::database::Procedure;
use crate::failure::{Fault, FaultKind, Phase};
use crate::guest::Component;
use crate::record::{self, Blob, Record};
use crate::wire;

/// What a component decided on a request.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Decision {
    /// The call it planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// The response it built. `None` after a call whose outcome is not known, or which another component planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<record::Response>,
    /// It left an error of the procedure to the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_to_host: bool,
    /// Its fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A planned call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// The procedure.
    pub procedure: String,
    /// Its arguments.
    pub arguments: Vec<record::Cell>,
}

/// Why a record cannot be run again here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// It is of a contract that this host does not serve.
    Contract(String),
    /// Its procedure has another signature now.
    Signature(String),
    /// Something was taken out of it: components can be compared with each other on it, not with what was stored.
    Redacted,
    /// The host answered before the handler decided anything.
    Undecided,
    /// A value in it is malformed.
    Malformed(String),
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Contract(version) => write!(f, "recorded under contract {version}, this host has {VERSION}"),
            Self::Signature(procedure) => write!(f, "the procedure `{procedure}` has another signature now"),
            Self::Redacted => f.write_str("redacted: only two components can be compared on it"),
            Self::Undecided => f.write_str("answered by the host before the handler decided"),
            Self::Malformed(cause) => f.write_str(cause),
        }
    }
}

/// What was decided when the request was recorded.
///
/// # Errors
/// Why that cannot be compared with what a component decides now.
pub fn stored(record: &Record) -> Result<Decision, Skipped> {
    if is_redacted(record) {
        return Err(Skipped::Redacted);
    }
    if is_undecided(record) {
        return Err(Skipped::Undecided);
    }
    Ok(recorded(record))
}

/// The same, whether or not it can be compared.
pub fn recorded(record: &Record) -> Decision {
    let call = match &record.plan {
        Some(record::Plan::Call(called)) => Some(Call::of(called)),
        _ => None,
    };
    let unknown = call.is_some() && record.outcome.is_none();
    let by_host = record.failure.is_some();
    Decision {
        call,
        response: (!by_host && !unknown).then(|| record.response.clone()),
        left_to_host: by_host && matches!(record.outcome, Some(record::Outcome::Error(_))) && record.fault.is_none(),
        fault: record.fault.clone().filter(|_| by_host),
    }
}

/// Whether the procedure that was called has the signature that it was recorded with, where the granted procedures are
/// known: an outcome of another one is not what a component would get now.
///
/// # Errors
/// That it has another one, or is no longer granted.
pub fn check_signature(granted: &[Arc<Procedure>], record: &Record) -> Result<(), Skipped> {
    let (Some(record::Plan::Call(called)), Some(signature)) = (&record.plan, &record.signature) else { return Ok(()) };
    let now = granted.iter().find(|procedure| procedure.name == called.procedure);
    match now.is_some_and(|procedure| procedure.digest() == signature) {
        true => Ok(()),
        false => Err(Skipped::Signature(called.procedure.clone())),
    }
}

/// Runs a recorded request on a component.
///
/// # Errors
/// Why it cannot be run here.
pub fn run(component: &Component, record: &Record) -> Result<Decision, Skipped> {
    if !Version::parse(&format!("{}.0", record.contract)).is_some_and(Version::is_served) {
        return Err(Skipped::Contract(record.contract.clone()));
    }
    let request = record.request.to_contract().map_err(Skipped::Malformed)?;
    let outcome = record.outcome.as_ref().map(record::Outcome::to_contract).transpose().map_err(Skipped::Malformed)?;
    // The outcome answers a call only if it is the one that was made. What was taken out of the request is not in the
    // arguments either.
    let fits = |its: &Call, made: &record::Called| {
        Call::of(made) == *its || is_redacted(record) && made.procedure == its.procedure
    };
    let same = |its: &Call| matches!(&record.plan, Some(record::Plan::Call(made)) if fits(its, made));
    Ok(decide(component, &request, |its| outcome.as_ref().filter(|_| same(its))))
}

/// What a component decides on a request. `outcome_of` is how the call that it plans ends, where that is known.
pub fn decide<'a>(
    component: &Component,
    request: &Request,
    outcome_of: impl FnOnce(&Call) -> Option<&'a Outcome>,
) -> Decision {
    let mut decision = Decision::default();
    let call = match punctual(|| component.prepare(request)) {
        Ok(Plan::Reply(response)) => {
            decision.answer(wire::respond(response, Phase::Prepare));
            return decision;
        }
        Ok(Plan::Call(call)) => call,
        Err(fault) => return decision.faulted(&fault),
    };
    let its = Call { procedure: call.procedure, arguments: call.arguments.into_iter().map(record::Cell::of).collect() };
    let outcome = outcome_of(&its);
    decision.call = Some(its);
    match outcome {
        Some(outcome) => Decision { call: decision.call, ..respond(component, &call.carry, outcome) },
        None => decision,
    }
}

/// What a component makes of the outcome of a call.
pub fn respond(component: &Component, carry: &[u8], outcome: &Outcome) -> Decision {
    let mut decision = Decision::default();
    match punctual(|| component.respond(carry, outcome)) {
        Ok(Some(response)) => decision.answer(wire::respond(response, Phase::Respond)),
        Ok(None) => decision.left_to_host = true,
        Err(fault) => return decision.faulted(&fault),
    }
    decision
}

/// Whether no handler has decided on a request: the host has answered it, or its client has left.
pub fn is_undecided(record: &Record) -> bool {
    record.plan.is_none() && record.fault.is_none()
}

/// Whether something was taken out of a record.
pub fn is_redacted(record: &Record) -> bool {
    !record.redacted.is_empty()
}

/// Runs a guest again if it overran its deadline, which a busy machine may be the cause of. It is pure.
fn punctual<T>(run: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    match run() {
        Err(fault) if fault.kind == FaultKind::Deadline => run(),
        ended => ended,
    }
}

impl Call {
    fn of(called: &record::Called) -> Self {
        Self { procedure: called.procedure.clone(), arguments: called.arguments.clone() }
    }
}

impl Decision {
    fn answer(&mut self, answer: Result<wire::Outgoing, Fault>) {
        match answer {
            Ok(outgoing) => self.response = Some(record::Response::of(wire::sent(&outgoing))),
            Err(fault) => self.fault = Some(record::fault_text(&fault)),
        }
    }

    fn faulted(mut self, fault: &Fault) -> Self {
        self.fault = Some(record::fault_text(fault));
        self
    }

    /// As JSON for people: arguments as plain values, headers by their names, and a body that is JSON as JSON, so that
    /// a path leads into it.
    pub fn json(&self) -> Json {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let (Some(arguments), Some(call)) = (json.pointer_mut("/call/arguments"), &self.call) {
            *arguments = call.arguments.iter().map(record::Cell::plain).collect();
        }
        let Some(response) = &self.response else { return json };
        if let Some(Json::Object(shown)) = json.get_mut("response") {
            if !response.headers.is_empty() {
                shown.insert("headers".to_owned(), by_name(&response.headers));
            }
            if !response.log.is_empty() {
                let lines = response.log.iter().map(|(level, text)| json!({ "level": level, "text": text }));
                shown.insert("log".to_owned(), lines.collect());
            }
            if let Blob::Text(text) = &response.body
                && let Ok(inside) = serde_json::from_str::<Json>(text)
            {
                shown.insert("body".to_owned(), inside);
            }
        }
        json
    }
}

/// Headers as an object; one that is there several times has a list of its values.
fn by_name(headers: &[(String, String)]) -> Json {
    let mut object = Map::new();
    for (name, value) in headers {
        match object.get_mut(name) {
            None => drop(object.insert(name.clone(), json!(value))),
            Some(Json::Array(values)) => values.push(json!(value)),
            Some(one) => *one = json!([one.take(), value]),
        }
    }
    Json::Object(object)
}
