//! Writes an example: a request that was answered, as a file that `read` takes and that `check` passes.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::Example;
use super::cell::Cell;
use super::response::{Response, pretty};
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
        let example = Example::parse(PathBuf::from("the example"), text.as_bytes()).map_err(|error| format!("{error:#}"))?;
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
    let mut file = Map::new();
    file.insert("request".to_owned(), asked(entry, request, spelling));
    let planned = match plan {
        Plan::Reply(reply) => json!({"reply": Response::like(reply, None)}),
        Plan::Call(call) => json!({"call": {"procedure": call.procedure, "arguments": cells(&call.arguments)}}),
    };
    file.insert("plan".to_owned(), planned);
    match outcome.filter(|_| matches!(plan, Plan::Call(_))) {
        Some(Outcome::Rows(rows)) => {
            let values: Vec<_> = rows.values.chunks(rows.columns.len().max(1)).map(cells).collect();
            file.insert("rows".to_owned(), json!({"columns": rows.columns, "values": values}));
        }
        Some(Outcome::Error(error)) => {
            let contract::DatabaseError { sqlstate, message, detail, constraint } = error;
            let mut error = json!({"sqlstate": sqlstate, "message": message});
            for (name, value) in [("detail", detail), ("constraint", constraint)] {
                if let Some(value) = value {
                    error[name] = json!(value);
                }
            }
            file.insert("error".to_owned(), error);
        }
        None => {}
    }
    if let Some(response) = response {
        file.insert("response".to_owned(), json!(Response::like(response, None)));
    }
    pretty(&file)
}

fn cells(values: &[contract::Value]) -> Vec<Cell> {
    values.iter().map(Cell::of).collect()
}

fn asked(entry: &Entry, request: &Request, spelling: Spelling) -> Json {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let mut asked = json!({"method": request.method, "path": format!("{}{query}", request.path), "id": request.id});
    if let Ok(now) = Timestamp::from_microsecond(request.now) {
        asked["now"] = json!(now);
    }
    let headers: Map<_, _> =
        request.headers.iter().map(|field| (field.name.clone(), Json::from(field.value.as_str()))).collect();
    if !headers.is_empty() {
        asked["headers"] = Json::Object(headers);
    }
    // A secret has the value that every example has; the others only matter where the manifest has changed.
    let is_plain = |name: &str, value: &str| {
        let its = entry.config.iter().find(|config| config.name == name);
        its.is_some_and(|config| matches!(&config.value, Text::Plain(text) if text != value))
    };
    let config: Map<_, _> = (request.config.iter().filter(|field| is_plain(&field.name, &field.value)))
        .map(|field| (field.name.clone(), Json::from(field.value.as_str())))
        .collect();
    if !config.is_empty() {
        asked["config"] = Json::Object(config);
    }
    let claims = request.claims.as_ref().filter(|_| entry.claims != Claims::Never);
    if let Some(claims) = claims.and_then(|claims| serde_json::from_str::<Json>(claims).ok()) {
        asked["claims"] = claims;
    }
    match std::str::from_utf8(&request.body) {
        Ok("") => {}
        Ok(text) => {
            let parsed = serde_json::from_str::<Json>(text).ok().filter(|json| !json.is_string());
            asked["body"] = parsed.filter(|_| spelling == Spelling::Json).unwrap_or_else(|| json!(text));
        }
        Err(_) => asked["body_base64"] = json!(BASE64.encode(&request.body)),
    }
    asked
}
