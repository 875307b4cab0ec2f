//! The expected response of an example, and a response that came, written as the expectation is.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::pattern;
use crate::contract::{self, Field};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Response {
    status: u16,
    /// Only those that are named are compared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// Compared only if it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Vec<Line>>,
}

/// A line for the log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    level: Level,
    text: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Response {
    /// What came, written as the expectation is.
    pub(super) fn of(response: &contract::Response, expected: &Self) -> Self {
        Self::like(response, Some(expected))
    }

    /// The same, where the expectation says what may vary.
    pub(super) fn matched(response: &contract::Response, expected: &Self) -> Self {
        let Self { status, mut headers, body, body_base64, mut log } = Self::of(response, expected);
        let lines = log.iter_mut().flatten().zip(expected.log.iter().flatten());
        lines.for_each(|(line, like)| line.text = pattern::matched_text(&like.text, std::mem::take(&mut line.text)));
        for (name, value) in &mut headers {
            if let Some(like) = expected.headers.get(name) {
                *value = pattern::matched_text(like, std::mem::take(value));
            }
        }
        let body = match (&expected.body, body) {
            (Some(Json::String(like)), None) if body_base64.is_none() => {
                Some(Json::String(pattern::matched_text(like, String::new()))).filter(|body| body != "")
            }
            (Some(Json::String(like)), Some(Json::String(body))) => {
                Some(Json::String(pattern::matched_text(like, body)))
            }
            (Some(like), Some(body)) => Some(pattern::matched(like, body)),
            (_, body) => body,
        };
        Self { status, headers, body, body_base64, log }
    }

    pub(super) fn like(response: &contract::Response, expected: Option<&Self>) -> Self {
        let named = |field: &&Field| {
            expected.is_none_or(|like| like.headers.keys().any(|name| name.eq_ignore_ascii_case(&field.name)))
        };
        let headers = response.headers.iter().filter(named);
        let spelled = |name: &str| {
            let names = expected.into_iter().flat_map(|like| like.headers.keys());
            names.into_iter().find(|like| like.eq_ignore_ascii_case(name)).map_or(name, String::as_str).to_owned()
        };
        let base64 = expected.is_some_and(|like| like.body_base64.is_some());
        let text = expected.is_some_and(|like| matches!(like.body, Some(Json::String(_))));
        let body = match std::str::from_utf8(&response.body) {
            _ if base64 || response.body.is_empty() => None,
            Ok(body) if text => Some(Json::String(body.to_owned())),
            Ok(body) => Some(serde_json::from_str(body).unwrap_or_else(|_| Json::String(body.to_owned()))),
            Err(_) => None,
        };
        let raw = body.is_none() && !response.body.is_empty();
        Self {
            status: response.status,
            headers: headers.map(|field| (spelled(&field.name), field.value.clone())).collect(),
            body,
            body_base64: raw.then(|| BASE64.encode(&response.body)),
            log: expected.and_then(|like| like.log.as_ref()).map(|_| response.log.iter().map(Line::of).collect()),
        }
    }

    pub(super) fn as_json(&self) -> String {
        pretty(self)
    }
}

impl Line {
    fn of(line: &contract::Line) -> Self {
        let level = match line.level {
            contract::Level::Debug => Level::Debug,
            contract::Level::Info => Level::Info,
            contract::Level::Warning => Level::Warning,
            contract::Level::Error => Level::Error,
        };
        Self { level, text: line.text.clone() }
    }
}

/// The lines that the handler logs, for a person who looks for the cause of a difference.
pub(super) fn logged(response: &contract::Response) -> String {
    let line = |line: &contract::Line| {
        let level = match line.level {
            contract::Level::Debug => "debug",
            contract::Level::Info => "info",
            contract::Level::Warning => "warning",
            contract::Level::Error => "error",
        };
        format!("\nlogged, {level}: {}", line.text)
    };
    response.log.iter().map(line).collect()
}

/// Sorted by key, with one item per line, so that two texts can be compared line by line.
pub(super) fn pretty(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).and_then(|value| serde_json::to_string_pretty(&value));
    json.unwrap_or_else(|error| error.to_string()) + "\n"
}
