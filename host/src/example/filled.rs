//! The request of an example as a client would send it: what fills a form.

use serde::Serialize;

use super::{Example, ask, json};
use crate::manifest::Entry;

/// A request that can be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filled {
    /// The name of the example's file, without its ending.
    pub example: Option<String>,
    /// The route that it is for.
    #[serde(skip)]
    pub route: String,
    /// Whether it is expected to lead to a call: such a one shows more.
    #[serde(skip)]
    pub calls: bool,
    /// Its method.
    pub method: String,
    /// Its path, with the query.
    pub path: String,
    /// The headers that the handler sees of it.
    pub headers: Vec<(String, String)>,
    /// Its body; empty if it is not a text.
    pub body: String,
}

impl Example {
    /// Its request, if it has one.
    pub fn filled(&self, entry: &Entry) -> Option<Filled> {
        let request = ask::request(self.file.request.as_ref()?, entry).ok()?;
        let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
        Some(Filled {
            example: self.path.file_stem().map(|name| name.to_string_lossy().into_owned()),
            route: request.route.to_string(),
            calls: matches!(self.file.plan, Some(json::Plan::Call(_))) || self.is_end_to_end(),
            method: request.method,
            path: request.path + &query,
            headers: request.headers.into_iter().map(|field| (field.name, field.value)).collect(),
            body: String::from_utf8(request.body).unwrap_or_default(),
        })
    }
}
