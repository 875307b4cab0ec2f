//! What a manifest says about records: the section `[record]` for all handlers, and `record` of one handler, which adds
//! to its lists and replaces its `every`.

use serde::Deserialize;
use toml::Spanned;

use super::json_path::{JsonPath, Step};
use crate::limits::{RECORD_EVERY_MAX, RECORD_NAMES_MAX};
use crate::members::Members;

/// What is recorded of the requests of a handler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordEntry {
    /// One request in so many, unless the operator says otherwise; 0 records nothing.
    pub every: Option<usize>,
    /// What is not.
    pub redact: Redact,
}

/// What must not be recorded, besides claims, credentials and secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redact {
    /// Headers of requests and responses, in lower case.
    pub headers: Vec<String>,
    /// Parameters of the query.
    pub query: Vec<String>,
    /// Parameters of the route.
    pub parameters: Vec<String>,
    /// Of the body of a request.
    pub body: Vec<JsonPath>,
    /// Of the arguments of a call, as an object: by the names of the procedure's parameters.
    pub arguments: Vec<JsonPath>,
    /// Of its rows, as an array of objects.
    pub rows: Vec<JsonPath>,
    /// Of the body of a response.
    pub response: Vec<JsonPath>,
}

impl Redact {
    /// The names of members of JSON in its paths.
    pub fn members(&self) -> Members {
        let mut members = Members::default();
        let lists = [&self.body, &self.arguments, &self.rows, &self.response];
        for step in lists.into_iter().flatten().flat_map(|path| &path.steps) {
            if let Step::Member(name) | Step::Anywhere(name) = step {
                members.add(name);
            }
        }
        members
    }
}

/// The table as serde reads it.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordTable {
    every: Option<Spanned<u64>>,
    #[serde(default)]
    headers: Vec<Spanned<String>>,
    #[serde(default)]
    query: Vec<Spanned<String>>,
    #[serde(default)]
    parameters: Vec<Spanned<String>>,
    #[serde(default)]
    body: Vec<Spanned<String>>,
    #[serde(default)]
    arguments: Vec<Spanned<String>>,
    #[serde(default)]
    rows: Vec<Spanned<String>>,
    #[serde(default)]
    response: Vec<Spanned<String>>,
}

impl RecordTable {
    /// The entry of the table; each mistake is noted with its place in the text.
    pub(super) fn entry(&self, mistake: &mut dyn FnMut(usize, String)) -> RecordEntry {
        let every = self.every.as_ref().and_then(|every| {
            let number = usize::try_from(*every.get_ref()).ok().filter(|number| *number <= RECORD_EVERY_MAX);
            if number.is_none() {
                mistake(every.span().start, format!("record: every: 0 to {RECORD_EVERY_MAX} are allowed"));
            }
            number
        });
        let redact = Redact {
            headers: list("headers", &self.headers, mistake, |name| {
                let name = name.parse::<http::HeaderName>().map_err(|_| "is not a header name".to_owned())?;
                Ok(name.as_str().to_owned())
            }),
            query: list("query", &self.query, mistake, named),
            parameters: list("parameters", &self.parameters, mistake, named),
            body: list("body", &self.body, mistake, str::parse),
            arguments: list("arguments", &self.arguments, mistake, str::parse),
            rows: list("rows", &self.rows, mistake, str::parse),
            response: list("response", &self.response, mistake, str::parse),
        };
        RecordEntry { every, redact }
    }

    /// Parameters that none of a handler's routes has: a misspelled one would be recorded.
    pub(super) fn check_parameters(&self, known: &[&str], mistake: &mut dyn FnMut(usize, String)) {
        for name in self.parameters.iter().filter(|name| !known.contains(&name.get_ref().as_str())) {
            let text = format!("record: parameters: no route of the handler has a parameter `{}`", name.get_ref());
            mistake(name.span().start, text);
        }
    }
}

impl RecordEntry {
    /// What holds for a handler: its own entry on top of that of all handlers.
    pub(super) fn on_top_of(self, all: &Self) -> Self {
        let Redact { headers, query, parameters, body, arguments, rows, response } = self.redact;
        let redact = Redact {
            headers: joined(&all.redact.headers, headers),
            query: joined(&all.redact.query, query),
            parameters: joined(&all.redact.parameters, parameters),
            body: joined(&all.redact.body, body),
            arguments: joined(&all.redact.arguments, arguments),
            rows: joined(&all.redact.rows, rows),
            response: joined(&all.redact.response, response),
        };
        Self { every: self.every.or(all.every), redact }
    }
}

fn joined<T: Clone + PartialEq>(all: &[T], own: Vec<T>) -> Vec<T> {
    let mut joined = all.to_vec();
    let own = own.into_iter().filter(|one| !all.contains(one));
    joined.extend(own);
    joined
}

fn named(name: &str) -> Result<String, String> {
    if name.is_empty() { Err("is empty".to_owned()) } else { Ok(name.to_owned()) }
}

/// The values of a list that can be used.
fn list<T>(
    what: &str,
    texts: &[Spanned<String>],
    mistake: &mut dyn FnMut(usize, String),
    read: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    if let Some(over) = texts.get(RECORD_NAMES_MAX) {
        mistake(over.span().start, format!("record: {what}: at most {RECORD_NAMES_MAX} are allowed"));
    }
    let mut values = Vec::new();
    for text in texts {
        match read(text.get_ref()) {
            Ok(value) => values.push(value),
            Err(wrong) => mistake(text.span().start, format!("record: {what}: `{}`: {wrong}", text.get_ref())),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::manifest::{Manifest, parse};

    fn parsed(section: &str, own: &str) -> Result<Manifest, String> {
        let text = format!(
            "{section}\n[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a/{{id}}\"\n{own}\n\
             [[handler]]\nname = \"b\"\ncomponent = \"b.wasm\"\nroute = \"GET /b\"\n"
        );
        parse(Path::new("h/galo.toml"), &text).map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_handler_adds_to_what_is_taken_out_for_all() {
        let section = "[record]\nevery = 100\nheaders = [\"X-Api-Key\"]\nbody = [\"$.card\"]";
        let own =
            "record = { every = 0, headers = [\"x-api-key\", \"X-Own\"], parameters = [\"id\"], body = [\"$..cvc\"] }";
        let manifest = parsed(section, own).unwrap();
        let [a, b] = [&manifest.handlers[0].record, &manifest.handlers[1].record];
        assert_eq!((a.every, b.every), (Some(0), Some(100)));
        assert_eq!((a.redact.headers.len(), b.redact.headers.as_slice()), (2, &["x-api-key".to_owned()][..]));
        let paths: Vec<_> = a.redact.body.iter().map(ToString::to_string).collect();
        assert_eq!(
            (paths, a.redact.parameters.as_slice()),
            (vec!["$.card".to_owned(), "$..cvc".to_owned()], &["id".to_owned()][..])
        );
        let nothing = parsed("", "").unwrap();
        assert_eq!(nothing.handlers[0].record, super::RecordEntry::default());
    }

    #[test]
    fn a_mistake_is_reported_with_its_line() {
        for (section, own, reported) in [
            ("[record]\nevery = 1000001", "", "h/galo.toml:2: record: every: 0 to 1000000 are allowed"),
            ("[record]\nbodies = []", "", "h/galo.toml:2: unknown field `bodies`"),
            ("[record]\nheaders = [\"a b\"]", "", "h/galo.toml:2: record: headers: `a b`: is not a header name"),
            ("[record]\nrows = [\"cpf\"]", "", "h/galo.toml:2: record: rows: `cpf`: a path begins with `$`"),
            ("[record]\nquery = [\"\"]", "", "h/galo.toml:2: record: query: ``: is empty"),
            ("", "record = { response = [\"$[?@]\"] }", "h/galo.toml:6: record: response: `$[?@]`: `[?@]`: expected"),
            (
                "",
                "record = { parameters = [\"ids\"] }",
                "h/galo.toml:6: record: parameters: no route of the handler has a parameter `ids`",
            ),
        ] {
            let found = parsed(section, own).unwrap_err();
            assert!(found.starts_with(reported), "{found}");
        }
        let many = format!("[record]\nquery = [{}]", "\"a\",".repeat(65));
        assert!(parsed(&many, "").unwrap_err().contains("record: query: at most 64 are allowed"));
    }
}
