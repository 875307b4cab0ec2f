//! What may vary in the response of an end-to-end example: ids that a sequence gives, moments, generated keys.
//!
//! In a text, `{any}`, `{text}`, `{integer}`, `{number}`, `{boolean}`, `{uuid}`, `{date}` and `{timestamp}` stand for a
//! value of that kind. A field named `...` permits further fields, and `...` as the last element of a list further
//! elements. Whatever else is in braces stands for itself.
//!
//! What matches takes the form of the expectation, so that a comparison shows only what differs.

use regex_automata::meta::Regex;
use serde_json::Value as Json;

/// Permits further fields of an object, or further elements of a list.
const MORE: &str = "...";

/// The placeholders, and what each matches as a part of a text.
const PLACEHOLDERS: [(&str, &str); 8] = [
    ("{any}", r"(?s:.*)"),
    ("{text}", r"(?s:.+)"),
    ("{integer}", r"-?[0-9]+"),
    ("{number}", r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"),
    ("{boolean}", r"(?:true|false)"),
    ("{uuid}", r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"),
    ("{date}", r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    (
        "{timestamp}",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    ),
];

/// The value that came, with each part that matches the expectation replaced by it.
pub(super) fn matched(expected: &Json, actual: Json) -> Json {
    match (expected, actual) {
        (Json::String(pattern), actual) if is_of_kind(pattern, &actual) => Json::String(pattern.clone()),
        // As values of their own these are numbers or truth values, and not texts that look like them.
        (Json::String(pattern), actual) if ["{integer}", "{number}", "{boolean}"].contains(&pattern.as_str()) => actual,
        (Json::String(pattern), Json::String(actual)) => Json::String(matched_text(pattern, actual)),
        (Json::Object(expected), Json::Object(actual)) => {
            let more = expected.get(MORE);
            let known = |(name, value): (String, Json)| match expected.get(&name) {
                Some(like) => Some((name, matched(like, value))),
                None => more.is_none().then_some((name, value)),
            };
            let fields = actual.into_iter().filter_map(known);
            Json::Object(fields.chain(more.map(|like| (MORE.to_owned(), like.clone()))).collect())
        }
        (Json::Array(expected), Json::Array(mut actual)) => {
            let more = expected.last().filter(|last| *last == MORE);
            let named = expected.len() - usize::from(more.is_some());
            if more.is_some() && actual.len() >= named {
                actual.truncate(named);
                actual.extend(more.cloned());
            }
            let like = expected.iter().map(Some).chain(std::iter::repeat(None));
            let elements = actual.into_iter().zip(like);
            Json::Array(elements.map(|(value, like)| like.map_or(value.clone(), |like| matched(like, value))).collect())
        }
        (_, actual) => actual,
    }
}

/// The same for a text: a header's value, or a body that is not JSON.
pub(super) fn matched_text(pattern: &str, actual: String) -> String {
    match regex(pattern) {
        Some(regex) if regex.is_match(&actual) => pattern.to_owned(),
        _ => actual,
    }
}

/// Whether a placeholder that stands alone stands for this value.
fn is_of_kind(pattern: &str, value: &Json) -> bool {
    match pattern {
        "{any}" => true,
        "{integer}" => value.is_i64() || value.is_u64(),
        "{number}" => value.is_number(),
        "{boolean}" => value.is_boolean(),
        _ => false,
    }
}

/// The expression for a text with placeholders; `None` for one without.
fn regex(pattern: &str) -> Option<Regex> {
    let (mut expression, mut rest, mut found) = (r"\A".to_owned(), pattern, false);
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        expression += &regex_syntax::escape(before);
        rest = match PLACEHOLDERS.iter().find_map(|(name, kind)| Some((after.strip_prefix(name)?, kind))) {
            Some((rest, kind)) => {
                found = true;
                expression += kind;
                rest
            }
            None => {
                expression += r"\{";
                &after[1..]
            }
        };
    }
    expression += &regex_syntax::escape(rest);
    expression += r"\z";
    // Each piece is a valid expression; one that grows too large matches nothing.
    found.then(|| Regex::new(&expression).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(expected: &Json, actual: &Json) -> bool {
        matched(expected, actual.clone()) == *expected
    }

    #[test]
    fn a_placeholder_stands_for_values_of_its_kind() {
        for (expected, same, other) in [
            ("{any}", json!(null), None),
            ("{any}", json!([1]), None),
            ("{integer}", json!(7), Some(json!("7"))),
            ("{integer}", json!(-7), Some(json!(7.5))),
            ("{number}", json!(7.5), Some(json!("7.5"))),
            ("{boolean}", json!(false), Some(json!("false"))),
            ("{text}", json!("x\ny"), Some(json!(""))),
            ("{uuid}", json!("8e03978e-40d5-43dd-bc93-6894a57f9324"), Some(json!("8e03978e"))),
            ("{date}", json!("2024-02-29"), Some(json!("29.2.2024"))),
            ("{timestamp}", json!("2024-01-17T02:34:41.217753Z"), Some(json!("2024-01-17"))),
            ("{timestamp}", json!("2024-01-17 02:34:41+00"), None),
            ("/orders/{integer}?x=[1]", json!("/orders/12?x=[1]"), Some(json!("/orders/12?x=1"))),
            ("{id} is {integer}", json!("{id} is 3"), Some(json!("id is 3"))),
            ("{id}", json!("{id}"), Some(json!("3"))),
        ] {
            assert!(matches(&json!(expected), &same), "{expected} {same}");
            assert!(other.as_ref().is_none_or(|other| !matches(&json!(expected), other)), "{expected} {other:?}");
        }
    }

    #[test]
    fn more_is_permitted_only_where_it_says_so() {
        let object = json!({"id": "{integer}", "...": "{any}"});
        assert!(matches(&object, &json!({"id": 1, "at": "now"})) && matches(&object, &json!({"id": 1})));
        assert!(!matches(&object, &json!({"at": "now"})) && !matches(&json!({"id": 1}), &json!({"id": 1, "at": 2})));
        let list = json!([1, "{integer}", "..."]);
        assert!(matches(&list, &json!([1, 2])) && matches(&list, &json!([1, 2, 3, 4])));
        assert!(!matches(&list, &json!([1])) && !matches(&list, &json!([1, "x", 3])));
        assert!(!matches(&json!([1]), &json!([1, 2])) && !matches(&json!([1, 2]), &json!([1])));
    }

    #[test]
    fn what_differs_is_all_that_differs() {
        let expected = json!({"id": "{integer}", "lines": [{"n": "{integer}", "sku": "a"}]});
        let actual = json!({"id": 7, "lines": [{"n": 1, "sku": "b"}]});
        let shown = json!({"id": "{integer}", "lines": [{"n": "{integer}", "sku": "b"}]});
        assert_eq!(matched(&expected, actual), shown);
    }
}
