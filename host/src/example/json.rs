//! The JSON format of an example file, and its conversion to and from the contract.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderName, Method};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::contract::{self, Field};

/// A file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "about")]
    _about: Option<String>,
    pub(super) request: Option<Request>,
    pub(super) plan: Option<Plan>,
    pub(super) rows: Option<Rows>,
    pub(super) carry: Option<String>,
    pub(super) response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    method: Option<String>,
    path: String,
    /// The route that the host must find, as the manifest writes it.
    pub(super) route: Option<String>,
    pub(super) id: Option<String>,
    pub(super) now: Option<Timestamp>,
    /// Values instead of those of the manifest.
    #[serde(default)]
    pub(super) config: BTreeMap<String, Json>,
    pub(super) claims: Option<BTreeMap<String, Json>>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Json>,
    body_base64: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Plan {
    Reply(Response),
    Call(Call),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    procedure: String,
    #[serde(default)]
    arguments: Vec<Cell>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carry: Option<String>,
}

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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rows {
    pub(super) columns: Vec<String>,
    values: Vec<Vec<Cell>>,
}

/// One value of the contract.
#[derive(Serialize, Deserialize, Clone)]
#[serde(untagged)]
enum Cell {
    Null(()),
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Timestamp { timestamp: Timestamp },
    Bytes { base64: String },
    Json { json: Json },
}

impl File {
    /// What belongs together must be there together.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match (self.request.is_some(), self.plan.is_some(), self.rows.is_some(), self.response.is_some()) {
            (false, _, false, _) => Err("an example has a `request` with a `plan`, or `rows` with a `response`"),
            (request, plan, _, _) if request != plan => Err("`request` and `plan` go together"),
            (_, _, rows, response) if rows != response => Err("`rows` and `response` go together"),
            (true, ..) if self.carry.is_some() => Err("`carry` is what `prepare` gives when there is a `request`"),
            (_, _, true, _) if matches!(self.plan, Some(Plan::Reply(_))) => Err("after a reply there are no rows"),
            (_, _, false, _) if self.carry.is_some() => Err("`carry` goes with `rows`"),
            _ => Ok(()),
        }
    }
}

impl Request {
    /// Its method, if it names one.
    pub(super) fn method(&self) -> Result<Option<Method>, String> {
        let parsed = self.method.as_ref().map(|method| method.parse().map_err(|_| format!("`{method}` is no method")));
        parsed.transpose()
    }

    /// Without the query.
    pub(super) fn path(&self) -> &str {
        self.path.split_once('?').map_or(self.path.as_str(), |(path, _)| path)
    }

    /// As the host would pass it to the handler, with only the headers that the manifest names, and without what the
    /// host adds.
    pub(super) fn to_contract(
        &self,
        method: &Method,
        parameters: Vec<Field>,
        headers: &[HeaderName],
    ) -> Result<contract::Request, String> {
        let sent = |name: &HeaderName| self.headers.iter().find(|(sent, _)| sent.eq_ignore_ascii_case(name.as_str()));
        let seen = headers.iter().filter_map(|name| {
            sent(name).map(|(_, value)| Field { name: name.as_str().to_owned(), value: value.clone() })
        });
        let body = match (&self.body, &self.body_base64) {
            (None, None) => Vec::new(),
            (Some(Json::String(text)), None) => text.clone().into_bytes(),
            (Some(json), None) => json.to_string().into_bytes(),
            (None, Some(text)) => decode(text)?,
            (Some(_), Some(_)) => return Err("`body` or `body_base64`, not both".to_owned()),
        };
        Ok(contract::Request {
            method: method.as_str().to_owned(),
            path: self.path().to_owned(),
            parameters,
            query: self.path.split_once('?').map(|(_, query)| query.to_owned()),
            headers: seen.collect(),
            body,
            route: "".into(),
            id: String::new(),
            now: 0,
            config: [].into(),
            claims: None,
        })
    }
}

impl Plan {
    /// What came, written as the expectation is.
    pub(super) fn of(plan: &contract::Plan, expected: &Self) -> Self {
        match plan {
            contract::Plan::Reply(response) => {
                let like = match expected {
                    Self::Reply(like) => Some(like),
                    Self::Call(_) => None,
                };
                Self::Reply(Response::like(response, like))
            }
            contract::Plan::Call(call) => {
                let compared = !matches!(expected, Self::Call(Call { carry: None, .. }));
                Self::Call(Call {
                    procedure: call.procedure.clone(),
                    arguments: call.arguments.iter().map(Cell::of).collect(),
                    carry: compared.then(|| String::from_utf8_lossy(&call.carry).into_owned()),
                })
            }
        }
    }

    pub(super) fn as_json(&self) -> String {
        pretty(self)
    }
}

impl Response {
    /// What came, written as the expectation is.
    pub(super) fn of(response: &contract::Response, expected: &Self) -> Self {
        Self::like(response, Some(expected))
    }

    fn like(response: &contract::Response, expected: Option<&Self>) -> Self {
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
        }
    }

    pub(super) fn as_json(&self) -> String {
        pretty(self)
    }
}

impl Rows {
    pub(super) fn to_contract(&self) -> Result<contract::Rows, String> {
        let columns = self.columns.len();
        if let Some(row) = self.values.iter().position(|row| row.len() != columns) {
            return Err(format!("row {} of `values` has {} of {columns} columns", row + 1, self.values[row].len()));
        }
        let values = self.values.iter().flatten().map(Cell::to_contract).collect::<Result<_, _>>()?;
        Ok(contract::Rows { columns: self.columns.clone(), values })
    }
}

impl Cell {
    fn of(value: &contract::Value) -> Self {
        match value {
            contract::Value::Null => Self::Null(()),
            contract::Value::Boolean(value) => Self::Boolean(*value),
            contract::Value::Integer(value) => Self::Integer(*value),
            contract::Value::Float(value) => Self::Float(*value),
            contract::Value::Text(value) => Self::Text(value.clone()),
            // A text that is not JSON is shown as it is.
            contract::Value::Json(text) => match serde_json::from_str(text) {
                Ok(json) => Self::Json { json },
                Err(_) => Self::Text(format!("json {text}")),
            },
            contract::Value::Bytes(value) => Self::Bytes { base64: BASE64.encode(value) },
            // A timestamp outside the calendar is shown as a number.
            contract::Value::Timestamp(micros) => match Timestamp::from_microsecond(*micros) {
                Ok(timestamp) => Self::Timestamp { timestamp },
                Err(_) => Self::Text(format!("timestamp {micros}")),
            },
        }
    }

    fn to_contract(&self) -> Result<contract::Value, String> {
        Ok(match self {
            Self::Null(()) => contract::Value::Null,
            Self::Boolean(value) => contract::Value::Boolean(*value),
            Self::Integer(value) => contract::Value::Integer(*value),
            Self::Float(value) => contract::Value::Float(*value),
            Self::Text(value) => contract::Value::Text(value.clone()),
            Self::Timestamp { timestamp } => contract::Value::Timestamp(timestamp.as_microsecond()),
            Self::Bytes { base64 } => contract::Value::Bytes(decode(base64)?),
            Self::Json { json } => contract::Value::Json(json.to_string()),
        })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| format!("`{text}` is no base64: {error}"))
}

/// Sorted by key, with one item per line, so that two texts can be compared line by line.
fn pretty(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).and_then(|value| serde_json::to_string_pretty(&value));
    json.unwrap_or_else(|error| error.to_string()) + "\n"
}
