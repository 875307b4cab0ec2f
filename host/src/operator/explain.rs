//! `galo explain`: what nodes know of a request, as a text for people or as JSON.

use std::fmt::Write as _;

use anyhow::bail;
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use super::line::took;
use super::table::DIGEST_SHOWN;
use super::{Access, Listing, ask, nothing};
use crate::admin::{Explained, Found, Looked, Standing};
use crate::log::{escaped, escaped_json};
use crate::record::{Blob, Called, Outcome, Plan, Record, Rows};

/// Asks each node for a request. Returns what those know that have it, and which could not be asked, with the reason.
///
/// # Errors
/// When none has a record of it.
pub async fn explain(nodes: &[Access], id: &str, listing: Listing) -> anyhow::Result<(String, Vec<String>)> {
    let path = format!("/api/explain?id={}", utf8_percent_encode(id, NON_ALPHANUMERIC));
    let (mut text, mut reasons, mut failed) = (String::new(), Vec::new(), Vec::new());
    for access in nodes {
        // What another node knows is worth reading without this one.
        let explained = async {
            let answer = ask(access, Method::GET, &path).await?;
            match answer.status {
                StatusCode::NOT_FOUND => anyhow::Ok(None),
                _ => Ok(Some(answer.json(StatusCode::OK)?)),
            }
        };
        let explained: Explained = match explained.await {
            Ok(Some(explained)) => explained,
            Ok(None) => {
                reasons.push(unknown(access, id).await);
                continue;
            }
            Err(error) => {
                failed.push(format!("{error:#}"));
                continue;
            }
        };
        match listing {
            Listing::Json => text += &(escaped_json(&serde_json::to_string_pretty(&explained)?) + "\n"),
            Listing::Table => {
                for found in &explained.requests {
                    if nodes.len() > 1 {
                        part(&mut text, "node", &access.admin.to_string());
                    }
                    shown(found, &mut text);
                }
            }
        }
    }
    if text.is_empty() {
        reasons.append(&mut failed);
        bail!("{}", reasons.join("\n"));
    }
    Ok((text, failed))
}

/// Why a node has no record of a request.
async fn unknown(access: &Access, id: &str) -> String {
    match ask(access, Method::GET, "/api/records?last=1").await {
        Ok(last) if last.header("galo-recording") == "0" => nothing(&access.admin, "0"),
        Ok(_) => format!(
            "{} has no record of {}: it was not recorded, or newer ones took its place",
            access.admin,
            escaped(id)
        ),
        Err(error) => format!("{error:#}"),
    }
}

/// One line: what it is about, and the text.
fn part(text: &mut String, name: &str, value: &str) {
    // Writing to a text does not fail.
    let _ = writeln!(text, "{name:<11} {}", escaped(value));
}

fn shown(Found { at, record, generation, explain }: &Found, text: &mut String) {
    let Record { request, response, .. } = record;
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    part(text, "request", &format!("{} {}{query}  id {}  {at}", request.method, request.path, request.id));
    let standing = match generation {
        Standing::Serves => "serves".to_owned(),
        Standing::Canary => "is a canary, which answers a share of the requests".to_owned(),
        Standing::Previous => "replaced, kept for a rollback".to_owned(),
        Standing::RolledBack(cause) => format!("rolled back: {cause}"),
        Standing::Replaced => "replaced".to_owned(),
    };
    let digest: String = record.sha256.chars().take(DIGEST_SHOWN).collect();
    part(text, "handler", &format!("{} generation {}, {digest}, {standing}", record.handler, record.generation));
    part(text, "trace", record.trace.as_deref().unwrap_or("-"));
    let batch = record.batch.map(|calls| format!(", batch of {calls}")).unwrap_or_default();
    part(text, "time", &format!("{}{batch}", took(record.times)));
    if !record.redacted.is_empty() {
        part(text, "redacted", &record.redacted.join(", "));
    }
    if !blob(&request.body).is_empty() {
        part(text, "body", &blob(&request.body));
    }
    match &record.plan {
        Some(Plan::Call(called)) => part(text, "call", &call(called)),
        Some(Plan::Reply) => part(text, "call", "none: it replied"),
        None => {}
    }
    match &record.outcome {
        Some(Outcome::Rows(rows)) => tabled(text, "rows", &rows.columns, &rows_of(rows)),
        Some(Outcome::Error(error)) => part(text, "error", &format!("{}: {}", error.sqlstate, error.message)),
        None => {}
    }
    if let Some(fault) = &record.fault {
        part(text, "fault", fault);
    }
    let failure = record.failure.as_ref().map(|code| format!("  {code}")).unwrap_or_default();
    part(text, "response", &format!("{}{failure}  {}", response.status, blob(&response.body)));
    for (level, line) in &response.log {
        part(text, "log", &format!("{level}: {line}"));
    }
    if let Some(looked) = explain {
        looked_up(looked, text);
    }
}

fn looked_up(Looked { procedure, arguments, columns, rows, failure }: &Looked, text: &mut String) {
    let arguments: Vec<_> = arguments.iter().map(|(name, value)| format!("{name} => {value}")).collect();
    part(text, "explain", &format!("{procedure}({})", arguments.join(", ")));
    match failure {
        Some(failure) => part(text, "", failure),
        None => tabled(text, "", columns, rows),
    }
}

/// Each row in a line: `column value, ...`.
fn tabled(text: &mut String, name: &str, columns: &[String], rows: &[Vec<Json>]) {
    if rows.is_empty() {
        part(text, name, "no row");
    }
    for row in rows {
        let cells: Vec<_> = columns.iter().zip(row).map(|(column, value)| format!("{column} {value}")).collect();
        part(text, name, &cells.join(", "));
    }
}

fn rows_of(Rows { columns, values }: &Rows) -> Vec<Vec<Json>> {
    let plain: Vec<_> = values.iter().map(crate::record::Cell::plain).collect();
    plain.chunks(columns.len().max(1)).map(<[_]>::to_vec).collect()
}

fn call(Called { procedure, arguments, .. }: &Called) -> String {
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.plain().to_string()).collect();
    format!("{procedure}({})", arguments.join(", "))
}

fn blob(blob: &Blob) -> String {
    match blob {
        Blob::Text(text) => text.clone(),
        Blob::Base64 { base64 } => format!("base64 {base64}"),
    }
}
