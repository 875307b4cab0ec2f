//! Runs a recorded request again, on any component, and says what is decided otherwise: without a database, without a
//! network, because handlers are pure. `galo replay`, the gate, the shadow and the page all compare here.
//!
//! Two decisions are the same if what leaves the node is: the call with its arguments, the response, and the lines for
//! the log. A carry is the component's own affair.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::contract::{Plan, VERSION, Version};
use crate::database::Procedure;
use crate::failure::{Fault, Phase};
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

/// One place where two decisions differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where: `response.body.total`, `call.arguments[2]`.
    pub path: String,
    /// What was there before; `null` if nothing was.
    pub before: Json,
    /// What is there now; `null` if nothing is.
    pub after: Json,
}

/// Why a record cannot be run again here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// It is of a contract that this host does not serve.
    Contract(String),
    /// Its procedure has another signature now.
    Signature(String),
    /// A value in it is malformed.
    Malformed(String),
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Contract(version) => write!(f, "recorded under contract {version}, this host has {VERSION}"),
            Self::Signature(procedure) => write!(f, "the procedure `{procedure}` has another signature now"),
            Self::Malformed(cause) => f.write_str(cause),
        }
    }
}

/// What was decided when the request was recorded.
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
    let mut decision = Decision::default();
    let call = match component.prepare(&request) {
        Ok(Plan::Reply(response)) => {
            decision.answer(wire::respond(response, Phase::Prepare));
            return Ok(decision);
        }
        Ok(Plan::Call(call)) => call,
        Err(fault) => return Ok(decision.faulted(&fault)),
    };
    let called = record::Called::of(call.procedure, call.arguments, Vec::new());
    let its = Call { procedure: called.procedure, arguments: called.arguments };
    // The outcome answers this call only if it is the one that was made.
    let same = matches!(&record.plan, Some(record::Plan::Call(made)) if Call::of(made) == its);
    decision.call = Some(its);
    let Some(outcome) = outcome.filter(|_| same) else { return Ok(decision) };
    match component.respond(&call.carry, &outcome) {
        Ok(Some(response)) => decision.answer(wire::respond(response, Phase::Respond)),
        Ok(None) => decision.left_to_host = true,
        Err(fault) => return Ok(decision.faulted(&fault)),
    }
    Ok(decision)
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

    /// As JSON, with a body that is JSON as JSON, so that a path leads into it.
    pub fn json(&self) -> Json {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let (Some(body), Some(response)) = (json.pointer_mut("/response/body"), &self.response)
            && let Blob::Text(text) = &response.body
            && let Ok(inside) = serde_json::from_str::<Json>(text)
        {
            *body = inside;
        }
        json
    }
}

/// Where two decisions differ, at most `most` places. Bodies that are the same JSON, spelled otherwise, differ as text.
pub fn differences(before: &Decision, after: &Decision, most: usize) -> Vec<Difference> {
    let mut found = Vec::new();
    if before == after {
        return found;
    }
    compare("", &before.json(), &after.json(), &mut found);
    if found.is_empty() {
        let text = |decision: &Decision| serde_json::to_value(decision.response.as_ref().map(|it| &it.body));
        let (before, after) = (text(before).unwrap_or_default(), text(after).unwrap_or_default());
        found.push(Difference { path: "response.body".to_owned(), before, after });
    }
    found.truncate(most);
    found
}

fn compare(path: &str, before: &Json, after: &Json, found: &mut Vec<Difference>) {
    match (before, after) {
        _ if before == after => {}
        (Json::Object(before), Json::Object(after)) => compare_objects(path, before, after, found),
        (Json::Array(before), Json::Array(after)) => {
            for index in 0..before.len().max(after.len()) {
                let at = |items: &[Json]| items.get(index).cloned().unwrap_or_default();
                compare(&format!("{path}[{index}]"), &at(before), &at(after), found);
            }
        }
        _ => found.push(Difference { path: path.to_owned(), before: before.clone(), after: after.clone() }),
    }
}

fn compare_objects(path: &str, before: &Map<String, Json>, after: &Map<String, Json>, found: &mut Vec<Difference>) {
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        let at = |object: &Map<String, Json>| object.get(name).cloned().unwrap_or_default();
        let inside = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        compare(&inside, &at(before), &at(after), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Decision {
        let body = Blob::Text(body.to_owned());
        let response = record::Response { status, headers: Vec::new(), body, log: Vec::new() };
        Decision { response: Some(response), ..Decision::default() }
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        let before = answered(200, r#"{"total":100,"items":[1,2]}"#);
        let paths = |after| {
            let found = differences(&before, &after, 9);
            found.into_iter().map(|it| format!("{}: {} {}", it.path, it.before, it.after)).collect::<Vec<_>>()
        };
        assert_eq!(paths(before.clone()), Vec::<String>::new());
        assert_eq!(
            paths(answered(200, r#"{"total":101,"items":[1]}"#)),
            ["response.body.items[1]: 2 null", "response.body.total: 100 101"]
        );
        assert_eq!(paths(answered(404, r#"{"total":100,"items":[1,2]}"#)), ["response.status: 200 404"]);
        assert_eq!(paths(answered(200, r#"{ "total":100,"items":[1,2]}"#)).len(), 1);
        assert_eq!(differences(&before, &answered(200, "{}"), 1).len(), 1);
    }
}
