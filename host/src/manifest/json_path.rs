//! Paths into JSON, as the manifest names what must not be recorded: a part of JSONPath (RFC 9535), without filters.

use std::fmt;
use std::str::FromStr;

use crate::limits::RECORD_PATH_BYTES_MAX;

/// A path into JSON, such as `$.customer.cards[*].number` or `$..number`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    text: String,
    /// From the outside to the inside.
    pub steps: Vec<Step>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.name` or `['name']`: the member of this name.
    Member(String),
    /// `[2]`: the element at this index.
    Element(usize),
    /// `.*` or `[*]`: every member or element.
    Every,
    /// `..name`: the members of this name, at any depth.
    Anywhere(String),
}

impl JsonPath {
    /// Its text behind the `$`.
    pub fn inside(&self) -> &str {
        &self.text[1..]
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for JsonPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > RECORD_PATH_BYTES_MAX {
            return Err(format!("a path has at most {RECORD_PATH_BYTES_MAX} bytes"));
        }
        let mut left = text.strip_prefix('$').ok_or("a path begins with `$`, such as `$.customer.name`")?;
        let mut steps = Vec::new();
        while !left.is_empty() {
            let (step, rest) = step(left)?;
            steps.push(step);
            left = rest;
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

/// The first step of a text, and what follows it.
fn step(text: &str) -> Result<(Step, &str), String> {
    let wrong = || format!("`{text}`: expected `.name`, `['name']`, `[0]`, `.*`, `[*]` or `..name`");
    if let Some(rest) = text.strip_prefix("..") {
        let (name, rest) = name(rest).ok_or_else(wrong)?;
        return Ok((Step::Anywhere(name.to_owned()), rest));
    }
    if let Some(rest) = text.strip_prefix(".*").or_else(|| text.strip_prefix("[*]")) {
        return Ok((Step::Every, rest));
    }
    if let Some(rest) = text.strip_prefix('.') {
        let (name, rest) = name(rest).ok_or_else(wrong)?;
        return Ok((Step::Member(name.to_owned()), rest));
    }
    let inside = text.strip_prefix('[').ok_or_else(wrong)?;
    for quote in ['\'', '"'] {
        if let Some(quoted) = inside.strip_prefix(quote) {
            let (name, rest) = quoted.split_once(quote).ok_or_else(wrong)?;
            let rest = rest.strip_prefix(']').filter(|_| !name.contains('\\')).ok_or_else(wrong)?;
            return Ok((Step::Member(name.to_owned()), rest));
        }
    }
    let (index, rest) = inside.split_once(']').ok_or_else(wrong)?;
    let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    let index = index.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    Ok((Step::Element(index), rest))
}

/// A name without quotes: letters, digits, `_` and `-`, as JSON often has them, and everything beyond ASCII.
fn name(text: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-') || !c.is_ascii();
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_read_step_by_step() {
        let member = |name: &str| Step::Member(name.to_owned());
        for (text, steps) in [
            ("$", vec![]),
            ("$.a.b-c", vec![member("a"), member("b-c")]),
            ("$['a b'][\"c\"][2]", vec![member("a b"), member("c"), Step::Element(2)]),
            ("$[*].*..größe", vec![Step::Every, Step::Every, Step::Anywhere("größe".to_owned())]),
        ] {
            let path: JsonPath = text.parse().unwrap();
            assert_eq!((path.steps.clone(), path.to_string().as_str()), (steps, text));
            assert_eq!(path.inside(), &text[1..]);
        }
    }

    #[test]
    fn what_is_not_a_path_is_refused_with_what_is_expected() {
        for text in [
            "$a",
            "$.",
            "$..",
            "$[",
            "$[]",
            "$[-1]",
            "$[+1]",
            "$[1",
            "$['a]",
            "$['a\\'']",
            "$[?(@.a)]",
            "$..*",
            "$.a b",
        ] {
            let wrong = text.parse::<JsonPath>().unwrap_err();
            assert!(wrong.contains(": expected `.name`"), "{text}: {wrong}");
        }
        assert_eq!("a.b".parse::<JsonPath>().unwrap_err(), "a path begins with `$`, such as `$.customer.name`");
        assert!(format!("$.{}", "a".repeat(RECORD_PATH_BYTES_MAX)).parse::<JsonPath>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_is_refused(text in "\\$?[\\PC.\\[\\]'*0-9]{0,40}") {
            if let Ok(path) = text.parse::<JsonPath>() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
