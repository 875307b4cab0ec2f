//! Blanks values of JSON and of the contract, at a path or whole. What stands for a value has its type, so that a
//! component can still read it: a text becomes `(redacted)`, a number 0, and a list keeps its length. In an object that
//! is blanked whole, members keep the names that are known to be a handler's; any other is numbered.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::cell::{Blob, Cell};
use crate::manifest::Step;
use crate::members::{Members, UNNAMED};

/// What stands for a text that was taken out.
pub const REDACTED: &str = "(redacted)";

/// The texts that were taken out, which may be repeated elsewhere.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) all: Vec<String>,
    /// The names that members keep inside of what is blanked whole; `None` lets them keep all.
    pub(super) members: Option<Arc<Members>>,
}

/// Blanks what the steps lead to. Returns whether there was anything.
pub(super) fn json(value: &mut Json, steps: &[Step], texts: &mut Texts) -> bool {
    let Some((step, rest)) = steps.split_first() else { return whole(value, texts) };
    let mut found = false;
    match (step, value) {
        (Step::Member(name), Json::Object(members)) => {
            found = members.get_mut(name).is_some_and(|member| json(member, rest, texts));
        }
        (Step::Element(index), Json::Array(elements)) => {
            found = elements.get_mut(*index).is_some_and(|element| json(element, rest, texts));
        }
        (Step::Every, Json::Object(members)) => members.values_mut().for_each(|one| found |= json(one, rest, texts)),
        (Step::Every, Json::Array(elements)) => elements.iter_mut().for_each(|one| found |= json(one, rest, texts)),
        (Step::Anywhere(name), Json::Object(members)) => {
            for (its, member) in members {
                found |= its == name && json(member, rest, texts);
                found |= json(member, steps, texts);
            }
        }
        (Step::Anywhere(_), Json::Array(elements)) => {
            elements.iter_mut().for_each(|one| found |= json(one, steps, texts));
        }
        _ => {}
    }
    found
}

/// Blanks every value inside. A `null` stays, as nothing was there.
fn whole(value: &mut Json, texts: &mut Texts) -> bool {
    match value {
        Json::Null => return false,
        Json::Bool(is) => *is = false,
        Json::Number(number) => *number = 0.into(),
        Json::String(text) => text_of(text, texts),
        Json::Array(elements) => return elements.iter_mut().fold(false, |found, one| whole(one, texts) | found),
        Json::Object(members) => {
            let found = members.values_mut().fold(false, |found, one| whole(one, texts) | found);
            return number(members, texts) | found;
        }
    }
    true
}

/// Numbers the members whose names may be a client's data: `*1`, `*2`. Returns whether there were any.
fn number(members: &mut Map<String, Json>, texts: &mut Texts) -> bool {
    let Some(known) = texts.members.clone() else { return false };
    if members.keys().all(|name| known.has(name)) {
        return false;
    }
    let mut count = 0;
    let named = std::mem::take(members).into_iter().map(|(name, member)| {
        if known.has(&name) {
            return (name, member);
        }
        count += 1;
        texts.all.push(name);
        (format!("{UNNAMED}{count}"), member)
    });
    *members = named.collect();
    true
}

fn text_of(text: &mut String, texts: &mut Texts) {
    // At two paths: it was taken out already.
    if text != REDACTED {
        texts.all.push(std::mem::replace(text, REDACTED.to_owned()));
    }
}

/// Blanks what the steps lead to in a body. One that is not JSON is blanked whole: what is to be taken out may be
/// anywhere in it.
pub(super) fn blob(blob: &mut Blob, steps: &[Step], texts: &mut Texts) -> bool {
    match blob {
        Blob::Text(text) if text.is_empty() => false,
        Blob::Text(text) => json_text(text, steps, texts).unwrap_or_else(|| {
            text_of(text, texts);
            true
        }),
        Blob::Base64 { .. } => {
            *blob = Blob::Text(REDACTED.to_owned());
            true
        }
    }
}

/// The same in a text that is JSON; `None` if it is not.
fn json_text(text: &mut String, steps: &[Step], texts: &mut Texts) -> Option<bool> {
    let mut value = serde_json::from_str::<Json>(text).ok()?;
    let found = json(&mut value, steps, texts);
    if found {
        *text = value.to_string();
    }
    Some(found)
}

/// Blanks what the steps lead to in a value of the contract.
pub(super) fn cell(cell: &mut Cell, steps: &[Step], texts: &mut Texts) -> bool {
    match cell {
        Cell::Json(text) => json_text(text, steps, texts).unwrap_or_else(|| {
            texts.all.push(std::mem::replace(text, format!("\"{REDACTED}\"")));
            true
        }),
        // A text may be JSON; one that is not has nothing inside, unless a path leads into it.
        Cell::Text(text) if !steps.is_empty() => json_text(text, steps, texts).unwrap_or_else(|| {
            let leads_into_it = !matches!(steps[0], Step::Anywhere(_));
            if leads_into_it {
                text_of(text, texts);
            }
            leads_into_it
        }),
        Cell::Null => false,
        _ if !steps.is_empty() => false,
        Cell::Text(text) => {
            text_of(text, texts);
            true
        }
        Cell::Boolean(_) => replaced(cell, Cell::Boolean(false)),
        Cell::Integer(_) => replaced(cell, Cell::Integer(0)),
        Cell::Float(_) => replaced(cell, Cell::Float("0".to_owned())),
        Cell::Timestamp(_) => replaced(cell, Cell::Timestamp(0)),
        Cell::Bytes(_) => replaced(cell, Cell::Bytes(Blob::Text(REDACTED.to_owned()))),
    }
}

fn replaced(cell: &mut Cell, by: Cell) -> bool {
    *cell = by;
    true
}

/// Blanks what the steps lead to in values with names, as if they were the members of an object.
pub(super) fn named(names: &[String], cells: &mut [Cell], steps: &[Step], texts: &mut Texts) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return cells.iter_mut().fold(false, |found, one| cell(one, &[], texts) | found);
    };
    let mut found = false;
    for (index, one) in cells.iter_mut().enumerate() {
        let name = names.get(index).map_or("", String::as_str);
        match step {
            Step::Member(wanted) => found |= wanted == name && cell(one, rest, texts),
            Step::Element(place) => found |= *place == index && cell(one, rest, texts),
            Step::Every => found |= cell(one, rest, texts),
            Step::Anywhere(wanted) if wanted == name => found |= cell(one, rest, texts),
            Step::Anywhere(_) => found |= cell(one, steps, texts),
        }
    }
    found
}

/// Blanks what the steps lead to in rows, as if they were an array of objects.
pub(super) fn rows(columns: &[String], cells: &mut [Cell], steps: &[Step], texts: &mut Texts) -> bool {
    let mut found = false;
    for (index, row) in cells.chunks_mut(columns.len().max(1)).enumerate() {
        found |= match steps.split_first() {
            None | Some((Step::Anywhere(_), _)) => named(columns, row, steps, texts),
            Some((Step::Every, rest)) => named(columns, row, rest, texts),
            Some((Step::Element(place), rest)) => *place == index && named(columns, row, rest, texts),
            Some((Step::Member(_), _)) => false,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::JsonPath;

    fn steps(path: &str) -> Vec<Step> {
        path.parse::<JsonPath>().unwrap().steps
    }

    fn body(text: &str, path: &str) -> (String, bool) {
        let mut body = Blob::Text(text.to_owned());
        let found = blob(&mut body, &steps(path), &mut Texts::default());
        let Blob::Text(text) = body else { panic!("{body:?}") };
        (text, found)
    }

    #[test]
    fn a_path_takes_out_what_it_leads_to_and_keeps_its_type() {
        let text = r#"{"a":"x","b":{"a":12,"c":[true,"y",null]}}"#;
        for (path, left) in [
            ("$.a", r#"{"a":"(redacted)","b":{"a":12,"c":[true,"y",null]}}"#),
            ("$..a", r#"{"a":"(redacted)","b":{"a":0,"c":[true,"y",null]}}"#),
            ("$.b.c[1]", r#"{"a":"x","b":{"a":12,"c":[true,"(redacted)",null]}}"#),
            ("$.*.c[*]", r#"{"a":"x","b":{"a":12,"c":[false,"(redacted)",null]}}"#),
            ("$", r#"{"a":"(redacted)","b":{"a":0,"c":[false,"(redacted)",null]}}"#),
        ] {
            assert_eq!(body(text, path), (left.to_owned(), true), "{path}");
        }
        for path in ["$.z", "$.b.c[3]", "$.b.c[2]", "$[0]", "$.a.b", "$..z"] {
            assert_eq!(body(text, path), (text.to_owned(), false), "{path}");
        }
    }

    #[test]
    fn a_body_that_is_not_json_is_taken_out_whole() {
        assert_eq!(body("card=4111", "$.card"), (REDACTED.to_owned(), true));
        assert_eq!(body(r#"{"card":"4111"#, "$.other"), (REDACTED.to_owned(), true));
        assert_eq!(body("", "$.card"), (String::new(), false));
        let mut binary = Blob::of(vec![0xff]);
        assert!(blob(&mut binary, &steps("$.a"), &mut Texts::default()));
        assert_eq!(binary, Blob::Text(REDACTED.to_owned()));
    }

    #[test]
    fn arguments_are_found_by_name_or_place_and_inside_of_json() {
        let names = ["id", "payload", "", "note"].map(str::to_owned);
        let text = |text: &str| Cell::Text(text.to_owned());
        let given = || [Cell::Integer(7), Cell::Json(r#"{"id":"a","b":1}"#.to_owned()), text("x"), text(r#"{"id":3}"#)];
        let blanked = |path: &str| {
            let (mut cells, mut texts) = (given(), Texts::default());
            let found = named(&names, &mut cells, &steps(path), &mut texts);
            (cells.to_vec(), found, texts.all)
        };
        let json = |text: &str| Cell::Json(text.to_owned());
        let [id, payload, third, note] = given();
        for (path, left) in [
            ("$.id", [Cell::Integer(0), payload.clone(), third.clone(), note.clone()]),
            ("$[2]", [id.clone(), payload.clone(), text(REDACTED), note.clone()]),
            ("$.payload.id", [id.clone(), json(r#"{"b":1,"id":"(redacted)"}"#), third.clone(), note.clone()]),
            ("$..id", [Cell::Integer(0), json(r#"{"b":1,"id":"(redacted)"}"#), third.clone(), text(r#"{"id":0}"#)]),
        ] {
            let (cells, found, _) = blanked(path);
            let spelled = |cells: &[Cell]| cells.iter().map(normal).collect::<Vec<_>>();
            assert_eq!((spelled(&cells), found), (spelled(&left), true), "{path}");
        }
        assert_eq!(blanked("$.payload.id").2, ["a"]);
        assert_eq!(blanked("$.none"), (given().to_vec(), false, vec![]));
    }

    /// Whatever the order of members.
    fn normal(cell: &Cell) -> String {
        match cell {
            Cell::Json(text) => serde_json::from_str::<Json>(text).unwrap().to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn rows_are_an_array_of_objects() {
        let columns = ["id", "name"].map(str::to_owned);
        let text = |text: &str| Cell::Text(text.to_owned());
        let given = || [Cell::Integer(1), text("a"), Cell::Null, text("b")];
        let blanked = |path: &str| {
            let mut cells = given();
            rows(&columns, &mut cells, &steps(path), &mut Texts::default()).then_some(cells)
        };
        assert_eq!(blanked("$[*].name").unwrap(), [Cell::Integer(1), text(REDACTED), Cell::Null, text(REDACTED)]);
        assert_eq!(blanked("$[1].name").unwrap(), [Cell::Integer(1), text("a"), Cell::Null, text(REDACTED)]);
        assert_eq!(blanked("$..id").unwrap(), [Cell::Integer(0), text("a"), Cell::Null, text("b")]);
        assert_eq!(blanked("$").unwrap(), [Cell::Integer(0), text(REDACTED), Cell::Null, text(REDACTED)]);
        for path in ["$.name", "$[2].name", "$[1].id"] {
            assert_eq!(blanked(path), None, "{path}");
        }
    }
}
