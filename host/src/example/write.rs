//! Writes an example: a request that was answered, as a file that `read` takes and that `check` passes.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::Example;
use super::cell::Cell;
use super::layout::Layout;
use super::response::Response;
use crate::contract::{self, Outcome, Plan, Request};
use crate::database::Procedure;
use crate::guest::Component;
use crate::manifest::{Claims, Entry, Text};

/// How the body of a request is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// As JSON, if it is JSON: a person reads it. Its spaces and the order of its keys are lost.
    Json,
    /// As a text with every byte.
    Exact,
}

/// The text of an example that expects of a component what it decides now. `outcome` is how the call ends.
///
/// # Errors
/// Why there is no example of it: a fault, or something that an example cannot say.
pub fn write(
    entry: &Entry,
    component: &Component,
    procedures: &[Arc<Procedure>],
    request: &Request,
    outcome: Option<&Outcome>,
) -> Result<String, String> {
    let plan = component.prepare(request).map_err(|fault| format!("prepare: {fault}"))?;
    let response = match (&plan, outcome) {
        (Plan::Call(call), Some(outcome)) => {
            component.respond(&call.carry, outcome).map_err(|fault| format!("respond: {fault}"))?
        }
        _ => None,
    };
    let mut wrong = String::new();
    for spelling in [Spelling::Json, Spelling::Exact] {
        let text = text(entry, request, spelling, &plan, outcome, response.as_ref());
        let example =
            Example::parse(PathBuf::from("the example"), text.as_bytes()).map_err(|error| format!("{error:#}"))?;
        match example.check(entry, component, Some(procedures)) {
            Ok(()) => return Ok(text),
            Err(difference) => wrong = difference,
        }
    }
    Err(format!("an example cannot say what this request depends on: {wrong}"))
}

fn text(
    entry: &Entry,
    request: &Request,
    spelling: Spelling,
    plan: &Plan,
    outcome: Option<&Outcome>,
    response: Option<&contract::Response>,
) -> String {
    let planned = match plan {
        Plan::Reply(reply) => Layout::object(vec![("reply", answered(reply))]),
        Plan::Call(call) => {
            let arguments = json!(cells(&call.arguments)).into();
            let call = vec![("procedure", json!(call.procedure).into()), ("arguments", arguments)];
            Layout::object(vec![("call", Layout::object(call))])
        }
    };
    let mut file = vec![("request", asked(entry, request, spelling)), ("plan", planned)];
    match outcome.filter(|_| matches!(plan, Plan::Call(_))) {
        Some(Outcome::Rows(rows)) => {
            let values: Vec<_> = rows.values.chunks(rows.columns.len().max(1)).map(cells).collect();
            let rows = vec![("columns", json!(rows.columns).into()), ("values", json!(values).into())];
            file.push(("rows", Layout::object(rows)));
        }
        Some(Outcome::Error(error)) => {
            let contract::DatabaseError { sqlstate, message, detail, constraint } = error;
            let mut its = vec![("sqlstate", json!(sqlstate).into()), ("message", json!(message).into())];
            for (name, value) in [("detail", detail), ("constraint", constraint)] {
                its.extend(value.as_ref().map(|value| (name, json!(value).into())));
            }
            file.push(("error", Layout::object(its)));
        }
        None => {}
    }
    file.extend(response.map(|response| ("response", answered(response))));
    Layout::object(file).file()
}

/// A response: its status, its headers and its body, in this order.
fn answered(response: &contract::Response) -> Layout {
    let mut json = json!(Response::like(response, None));
    let parts = ["status", "headers", "body", "body_base64"].map(|name| (name, json.get_mut(name).map(Json::take)));
    Layout::object(parts.into_iter().filter_map(|(name, part)| Some((name, part?.into()))).collect())
}

fn cells(values: &[contract::Value]) -> Vec<Cell> {
    values.iter().map(Cell::of).collect()
}

fn asked(entry: &Entry, request: &Request, spelling: Spelling) -> Layout {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", request.path);
    let mut asked: Vec<(&str, Json)> = vec![("method", json!(request.method)), ("path", json!(path))];
    let fields = |fields: &mut dyn Iterator<Item = &contract::Field>| -> Option<Json> {
        let map: Map<_, _> = fields.map(|field| (field.name.clone(), json!(field.value))).collect();
        (!map.is_empty()).then_some(Json::Object(map))
    };
    asked.extend(fields(&mut request.headers.iter()).map(|headers| ("headers", headers)));
    // A secret has the value that every example has; the others only matter where the manifest has changed.
    let differs = |field: &&contract::Field| {
        let its = entry.config.iter().find(|config| config.name == field.name);
        its.is_some_and(|config| matches!(&config.value, Text::Plain(text) if *text != field.value))
    };
    asked.extend(fields(&mut request.config.iter().filter(differs)).map(|config| ("config", config)));
    let claims = request.claims.as_ref().filter(|_| entry.claims != Claims::Never);
    asked.extend(claims.and_then(|claims| Some(("claims", serde_json::from_str(claims).ok()?))));
    match std::str::from_utf8(&request.body) {
        Ok("") => {}
        Ok(text) => {
            let parsed = serde_json::from_str::<Json>(text).ok().filter(|json| !json.is_string());
            asked.push(("body", parsed.filter(|_| spelling == Spelling::Json).unwrap_or_else(|| json!(text))));
        }
        Err(_) => asked.push(("body_base64", json!(BASE64.encode(&request.body)))),
    }
    asked.push(("id", json!(request.id)));
    asked.extend(Timestamp::from_microsecond(request.now).ok().map(|now| ("now", json!(now))));
    Layout::object(asked.into_iter().map(|(name, value)| (name, value.into())).collect())
}
