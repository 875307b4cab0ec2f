//! Where two decisions differ: the path to each place, as `response.body.total`, with what was there and is there.
//!
//! A path names members of JSON as they are, which may be a client's data. A place has only the names that are known to
//! be a handler's, so that it may be logged and counted.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::Decision;
use crate::members::{Members, UNNAMED};

/// One place where two decisions differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where: `response.body.total`, `call.arguments[2]`.
    pub path: String,
    /// The same, with [`UNNAMED`] for each name of a member that may be a client's data.
    #[serde(skip)]
    pub place: String,
    /// What was there before; `null` if nothing was.
    pub before: Json,
    /// What is there now; `null` if nothing is.
    pub after: Json,
}

/// Where two decisions differ, at most `most` places; `members` are the names that are no client's data. What is the
/// same as JSON for people, spelled or ordered otherwise, differs as it was recorded.
pub fn differences(before: &Decision, after: &Decision, most: usize, members: &[&Members]) -> Vec<Difference> {
    let mut found = Vec::new();
    if before == after {
        return found;
    }
    differ(&At::default(), Naming::Known(members), (&before.json(), &after.json()), &mut found);
    if found.is_empty() {
        let raw = |decision: &Decision| serde_json::to_value(decision).unwrap_or_default();
        differ(&At::default(), Naming::Format, (&raw(before), &raw(after)), &mut found);
    }
    found.truncate(most);
    found
}

/// Where the comparison is.
#[derive(Default)]
struct At {
    path: String,
    place: String,
}

/// Which names of members may be shown.
#[derive(Clone, Copy)]
enum Naming<'a> {
    /// In what a handler or a client wrote, these.
    Known(&'a [&'a Members]),
    /// All: they are those of the format of records.
    Format,
}

/// Names of headers that any handler may set.
const HEADERS: [&str; 12] = [
    "allow",
    "cache-control",
    "content-disposition",
    "content-language",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "vary",
];

/// Within these, names are written by a handler, or by its client.
const FREE: [&str; 3] = ["response.body", "response.headers", "call.arguments"];

impl At {
    fn element(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), place: format!("{}[{index}]", self.place) }
    }

    fn member(&self, name: &str, naming: Naming<'_>) -> Self {
        let is_shown = match naming {
            Naming::Format => true,
            Naming::Known(members) => {
                let is_header = self.path == "response.headers" && HEADERS.contains(&name);
                let is_free = FREE.iter().any(|free| self.path.starts_with(free));
                !is_free || is_header || members.iter().any(|members| members.has(name))
            }
        };
        let inside = |before: &str, name: &str| match before {
            "" => name.to_owned(),
            before => format!("{before}.{name}"),
        };
        let shown = if is_shown { name } else { UNNAMED };
        Self { path: inside(&self.path, name), place: inside(&self.place, shown) }
    }
}

fn differ(at: &At, naming: Naming<'_>, sides: (&Json, &Json), found: &mut Vec<Difference>) {
    match sides {
        (before, after) if before == after => {}
        (Json::Object(before), Json::Object(after)) => {
            let added = after.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(added) {
                let of = |object: &Map<String, Json>| object.get(name).cloned().unwrap_or_default();
                differ(&at.member(name, naming), naming, (&of(before), &of(after)), found);
            }
        }
        (Json::Array(before), Json::Array(after)) => {
            for index in 0..before.len().max(after.len()) {
                let of = |items: &[Json]| items.get(index).cloned().unwrap_or_default();
                differ(&at.element(index), naming, (&of(before), &of(after)), found);
            }
        }
        (before, after) => found.push(Difference {
            path: at.path.clone(),
            place: at.place.clone(),
            before: before.clone(),
            after: after.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::{self, Blob};
    use crate::replay::{Call, by_name};

    fn answered(status: u16, body: &str) -> Decision {
        let body = Blob::Text(body.to_owned());
        let response = record::Response { status, headers: Vec::new(), body, log: Vec::new() };
        Decision { response: Some(response), ..Decision::default() }
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        let before = answered(200, r#"{"total":100,"items":[1,2]}"#);
        let paths = |after| {
            let found = differences(&before, &after, 9, &[]);
            found.into_iter().map(|it| format!("{}: {} {}", it.path, it.before, it.after)).collect::<Vec<_>>()
        };
        assert_eq!(paths(before.clone()), Vec::<String>::new());
        assert_eq!(
            paths(answered(200, r#"{"total":101,"items":[1]}"#)),
            ["response.body.items[1]: 2 null", "response.body.total: 100 101"]
        );
        assert_eq!(paths(answered(404, r#"{"total":100,"items":[1,2]}"#)), ["response.status: 200 404"]);
        assert_eq!(paths(answered(200, r#"{ "total":100,"items":[1,2]}"#)).len(), 1);
        assert_eq!(differences(&before, &answered(200, "{}"), 1, &[]).len(), 1);
    }

    #[test]
    fn a_name_that_may_be_a_clients_is_not_in_a_place() {
        let mut members = Members::default();
        members.add("balances");
        let places = |before: &Decision, after: &Decision| {
            let found = differences(before, after, 9, &[&members]);
            found.into_iter().map(|it| it.place).collect::<Vec<_>>()
        };
        let body = |body| answered(200, body);
        assert_eq!(
            places(&body(r#"{"balances":{"ana":1},"x.y[0]":[1]}"#), &body(r#"{"balances":{"ana":2},"x.y[0]":[2]}"#)),
            ["response.body.balances.*", "response.body.*[0]"]
        );
        // Names of the format are its own; of headers, those that are in use.
        let headed = |value: &str| {
            let mut decision = answered(200, "");
            if let Some(response) = &mut decision.response {
                let header = |name: &str| (name.to_owned(), value.to_owned());
                response.headers = vec![header("location"), header("x-ana")];
            }
            decision
        };
        assert_eq!(places(&headed("a"), &headed("b")), ["response.headers.location", "response.headers.*"]);
        let called = |json: &str| Decision {
            call: Some(Call { procedure: "f".to_owned(), arguments: vec![record::Cell::Json(json.to_owned())] }),
            ..Decision::default()
        };
        assert_eq!(places(&called(r#"{"ana":1}"#), &called(r#"{"ana":2}"#)), ["call.arguments[0].*"]);
        assert_eq!(places(&called(r#"{"ana":1}"#), &called(r#"{"ana": 1}"#)), ["call.arguments[0].json"]);
        assert_eq!(places(&called("1"), &body("{}")), ["call", "response"]);
    }

    #[test]
    fn arguments_are_plain_values_and_headers_have_names() {
        let called = |arguments: Vec<record::Cell>| Decision {
            call: Some(Call { procedure: "f".to_owned(), arguments }),
            ..Decision::default()
        };
        let (one, text) = (record::Cell::Integer(1), record::Cell::Text("1".to_owned()));
        let found = differences(&called(vec![one.clone(), one.clone()]), &called(vec![one, text]), 9, &[]);
        assert_eq!((found.len(), found[0].path.as_str()), (1, "call.arguments[1]"));
        assert_eq!((&found[0].before, &found[0].after), (&json!(1), &json!("1")));
        let json = |text: &str| called(vec![record::Cell::Json(text.to_owned())]);
        let found = differences(&json(r#"{"a":1}"#), &json(r#"{"a":2}"#), 9, &[]);
        assert_eq!(found[0].path, "call.arguments[0].a");
        // The same JSON, spelled otherwise.
        let found = differences(&json(r#"{"a":1}"#), &json(r#"{"a": 1}"#), 9, &[]);
        assert_eq!(found[0].path, "call.arguments[0].json");

        let headed = |headers: &[(&str, &str)]| {
            let mut decision = answered(200, "");
            if let Some(response) = &mut decision.response {
                response.headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            }
            decision
        };
        let found = differences(&headed(&[("a", "1"), ("b", "2")]), &headed(&[("a", "1"), ("b", "3")]), 9, &[]);
        assert_eq!(found[0].path, "response.headers.b");
        let found = differences(&headed(&[("a", "1"), ("b", "2")]), &headed(&[("b", "2"), ("a", "1")]), 9, &[]);
        assert!(found[0].path.starts_with("response.headers["), "{found:?}");
        assert_eq!(by_name(&[("a".into(), "1".into()), ("a".into(), "2".into())]), json!({ "a": ["1", "2"] }));
    }
}
