//! Visits every text of a record that can hold what a client or a handler wrote.

use super::cell::{Blob, Cell};
use super::format::{Called, DatabaseError, Outcome, Pairs, Plan, Record, Request, Response, Rows};

/// Changes each text, given its place in the record.
pub(super) fn texts(record: &mut Record, change: &mut dyn FnMut(&str, &mut String)) {
    let Record { request, plan, outcome, fault, response, .. } = record;
    let Request { path, query, parameters, headers, body, config, claims, .. } = request;
    change("request.path", path);
    optional("request.query", query, change);
    optional("request.claims", claims, change);
    pairs("request.parameters", parameters, change);
    pairs("request.headers", headers, change);
    pairs("request.config", config, change);
    blob("request.body", body, change);
    if let Some(Plan::Call(Called { arguments, .. })) = plan {
        cells("call.arguments", arguments, change);
    }
    match outcome {
        Some(Outcome::Rows(Rows { values, .. })) => cells("outcome.rows", values, change),
        Some(Outcome::Error(DatabaseError { message, detail, constraint, .. })) => {
            change("outcome.error.message", message);
            optional("outcome.error.detail", detail, change);
            optional("outcome.error.constraint", constraint, change);
        }
        None => {}
    }
    optional("fault", fault, change);
    let Response { headers, body, log, .. } = response;
    pairs("response.headers", headers, change);
    blob("response.body", body, change);
    log.iter_mut().for_each(|(_, text)| change("response.log", text));
}

fn optional(place: &str, text: &mut Option<String>, change: &mut dyn FnMut(&str, &mut String)) {
    if let Some(text) = text {
        change(place, text);
    }
}

fn pairs(place: &str, pairs: &mut Pairs, change: &mut dyn FnMut(&str, &mut String)) {
    pairs.iter_mut().for_each(|(name, value)| change(&format!("{place}.{name}"), value));
}

fn cells(place: &str, cells: &mut [Cell], change: &mut dyn FnMut(&str, &mut String)) {
    for cell in cells {
        match cell {
            Cell::Text(text) | Cell::Json(text) => change(place, text),
            Cell::Bytes(bytes) => blob(place, bytes, change),
            Cell::Null | Cell::Boolean(_) | Cell::Integer(_) | Cell::Float(_) | Cell::Timestamp(_) => {}
        }
    }
}

/// Bytes that are not a text are searched as one, and replaced by it if there was something to change.
fn blob(place: &str, blob: &mut Blob, change: &mut dyn FnMut(&str, &mut String)) {
    match blob {
        Blob::Text(text) => change(place, text),
        Blob::Base64 { .. } => {
            let bytes = blob.bytes().unwrap_or_default();
            let lossy = String::from_utf8_lossy(&bytes).into_owned();
            let mut changed = lossy.clone();
            change(place, &mut changed);
            if changed != lossy {
                *blob = Blob::Text(changed);
            }
        }
    }
}
