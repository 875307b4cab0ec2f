//! The JSON format of an example file, and its conversion to and from the contract.

use std::collections::BTreeMap;

use http::{HeaderName, Method};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::cell::{Cell, decode};
use super::outcome::{Error, Rows};
use super::response::{Response, pretty};
use crate::contract::{self, Field};

/// A file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "about")]
    _about: Option<String>,
    pub(super) before: Option<Before>,
    pub(super) request: Option<Request>,
    pub(super) plan: Option<Plan>,
    pub(super) rows: Option<Rows>,
    pub(super) error: Option<Error>,
    pub(super) carry: Option<String>,
    pub(super) response: Option<Response>,
}

/// SQL that runs before the request.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`before` is SQL: a text, or a list of its lines")]
pub(super) enum Before {
    Text(String),
    Lines(Vec<String>),
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

impl File {
    /// What belongs together must be there together.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let is_reply = matches!(self.plan, Some(Plan::Reply(_)));
        let has_outcome = self.rows.is_some() || self.error.is_some();
        match (self.request.is_some(), self.plan.is_some(), has_outcome, self.response.is_some()) {
            (false, _, false, _) => Err("an example has a `request` with a `plan` or a `response`, or `rows` with a \
                                         `response`"),
            (false, true, ..) => Err("`plan` goes with a `request`"),
            (true, false, false, false) => Err("`request` goes with a `plan`, a `response` or both"),
            (true, false, true, _) => Err("a `request` with `rows` or `error` has the `plan` that leads to them"),
            (_, _, true, false) if self.rows.is_some() => Err("`rows` and `response` go together"),
            _ if self.rows.is_some() && self.error.is_some() => Err("a call ends with `rows` or with an `error`"),
            (true, ..) if self.carry.is_some() => Err("`carry` is what `prepare` gives when there is a `request`"),
            (_, _, true, _) if is_reply => Err("after a reply there are no rows"),
            (_, _, _, true) if is_reply => Err("a reply is the response: write it once, in `plan` or in `response`"),
            _ if self.before.is_some() && !self.is_end_to_end() => {
                Err("`before` goes with a `request` and a `response` without `rows`: only then is the database asked")
            }
            _ => Ok(()),
        }
    }

    /// Whether the rows come from the database.
    pub(super) fn is_end_to_end(&self) -> bool {
        self.request.is_some() && self.rows.is_none() && self.error.is_none() && self.response.is_some()
    }

    /// How the call ends, if the example says it.
    pub(super) fn outcome(&self) -> Result<Option<contract::Outcome>, String> {
        let rows = self.rows.as_ref().map(|rows| rows.to_contract().map(contract::Outcome::Rows)).transpose()?;
        Ok(rows.or_else(|| self.error.as_ref().map(|error| contract::Outcome::Error(error.to_contract()))))
    }
}

impl Before {
    /// The SQL, with one line for each text.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Lines(lines) => lines.join("\n"),
        }
    }
}

impl Request {
    /// Its method, if it names one.
    pub(super) fn method(&self) -> Result<Option<Method>, String> {
        let parsed =
            self.method.as_ref().map(|method| method.parse().map_err(|_| format!("`{method}` is not a method")));
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
