//! What a comparison counts: for each handler the records that were compared, where they differ, and what the
//! components execute; and the records that were skipped, with the reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value as Json;

use super::Difference;
use crate::failure::cut;
use crate::limits;
use crate::log::escaped;

/// What was counted of each handler, and what was skipped.
#[derive(Debug, Default, Serialize)]
pub struct Tallies {
    /// The handlers, by their names.
    pub handlers: BTreeMap<String, Tally>,
    /// How many records were skipped, by the reason.
    pub skipped: BTreeMap<String, u64>,
}

/// What was counted of a handler.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// Records that were compared.
    pub compared: u64,
    /// Those of them that are decided otherwise.
    pub differing: u64,
    /// Where, by a path in which `[*]` is any place of a list.
    pub paths: BTreeMap<String, Group>,
    /// What was executed, where both components were run and it was counted.
    #[serde(skip_serializing_if = "Instructions::is_empty")]
    pub instructions: Instructions,
}

/// The differences at one path.
#[derive(Debug, Serialize)]
pub struct Group {
    /// How many there are.
    pub count: u64,
    /// The line of the first one in the corpus.
    pub line: u64,
    /// The id of its request.
    pub id: String,
    /// The first one.
    #[serde(flatten)]
    pub first: Difference,
}

/// Instructions that were executed by two components, of all records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Instructions {
    /// By the one that is compared with; nothing where that is what was stored.
    #[serde(skip_serializing_if = "is_zero")]
    pub before: u64,
    /// By the one that is compared.
    pub after: u64,
}

/// Where differences are counted whose paths are too many.
const FURTHER: &str = "(further paths)";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Instructions {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Tally {
    /// Counts a record that was compared.
    pub(super) fn add(&mut self, (line, id): (u64, &str), differences: Vec<Difference>, (before, after): (u64, u64)) {
        self.compared += 1;
        self.differing += u64::from(!differences.is_empty());
        self.instructions.before += before;
        self.instructions.after += after;
        for first in differences {
            let mut path = grouped(&first.path);
            if self.paths.len() >= limits::DIFFERENCE_PATHS_MAX && !self.paths.contains_key(&path) {
                FURTHER.clone_into(&mut path);
            }
            let new = || Group { count: 0, line, id: id.to_owned(), first };
            self.paths.entry(path).or_insert_with(new).count += 1;
        }
    }
}

impl Tallies {
    /// Records that were compared.
    pub fn compared(&self) -> u64 {
        self.handlers.values().map(|tally| tally.compared).sum()
    }

    /// Those of them that are decided otherwise.
    pub fn differing(&self) -> u64 {
        self.handlers.values().map(|tally| tally.differing).sum()
    }

    /// Records that were skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Counts a record that was skipped.
    pub(super) fn skip(&mut self, reason: String) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    /// For people: a part for each handler, and what was skipped.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, tally) in &self.handlers {
            // Writing to a text does not fail.
            let _ = writeln!(text, "{}: {} of {} differ", escaped(name), tally.differing, tally.compared);
            paths(&tally.paths, &mut text);
            let Instructions { before, after } = tally.instructions;
            let each = |sum: u64| sum / tally.compared.max(1);
            let (was, is) = (each(before), each(after));
            let _ = match (before, after) {
                (_, 0) => Ok(()),
                (0, _) => writeln!(text, "    instructions a request: {is}"),
                _ => writeln!(text, "    instructions a request: {was} -> {is} ({:+.2} %)", change(before, after)),
            };
        }
        for (reason, count) in &self.skipped {
            let _ = writeln!(text, "skipped: {count} {}", escaped(reason));
        }
        text
    }
}

/// The paths with most differences first, each with its first example.
fn paths(groups: &BTreeMap<String, Group>, text: &mut String) {
    let mut groups: Vec<_> = groups.iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    for (path, Group { count, line, id, first }) in groups.iter().take(limits::DIFFERENCE_PATHS_SHOWN) {
        let (before, after) = (shown(&first.before), shown(&first.after));
        let _ = writeln!(text, "    {}  {count} x", escaped(path));
        let _ = writeln!(text, "        {before} -> {after}  (line {line}, id {})", escaped(id));
    }
    if let Some(further) = groups.len().checked_sub(limits::DIFFERENCE_PATHS_SHOWN).filter(|further| *further > 0) {
        let _ = writeln!(text, "    and {further} further paths; --json prints them");
    }
}

/// Of how many percent something has changed.
#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn change(before: u64, after: u64) -> f64 {
    (after as f64 / before as f64 - 1.0) * 100.0
}

fn shown(value: &Json) -> String {
    cut(escaped(&value.to_string()), limits::FAULT_BYTES_MAX)
}

/// A path under which the same differences of many records are counted: places in lists do not matter, except that of
/// an argument.
pub fn grouped(path: &str) -> String {
    const ARGUMENTS: &str = "call.arguments[";
    let (mut text, mut rest) = (String::with_capacity(path.len()), path);
    if let Some((argument, after)) = rest.strip_prefix(ARGUMENTS).and_then(|rest| rest.split_once(']')) {
        text.extend([ARGUMENTS, argument, "]"]);
        rest = after;
    }
    while let Some((before, after)) = rest.split_once('[') {
        match after.split_once(']') {
            Some((place, after)) if !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.extend([before, "[*]"]);
                rest = after;
            }
            _ => {
                text.extend([before, "["]);
                rest = after;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(path: &str) -> Difference {
        Difference { path: path.to_owned(), place: path.to_owned(), before: json!(1), after: json!("\u{9b}2") }
    }

    #[test]
    fn places_in_lists_are_counted_together_and_arguments_apart() {
        for (path, expected) in [
            ("response.body.items[10].prices[2].net", "response.body.items[*].prices[*].net"),
            ("call.arguments[2]", "call.arguments[2]"),
            ("call.arguments[2].lines[7]", "call.arguments[2].lines[*]"),
            ("response.body.a[b].c[", "response.body.a[b].c["),
            ("", ""),
        ] {
            assert_eq!(grouped(path), expected);
        }
    }

    #[test]
    fn a_text_has_counts_the_first_example_and_no_control_character() {
        let mut tallies = Tallies::default();
        let tally = tallies.handlers.entry("a".to_owned()).or_default();
        tally.add((1, "x"), Vec::new(), (100, 100));
        tally.add((2, "y"), vec![difference("response.body[0]"), difference("response.body[1]")], (100, 110));
        tallies.skip("of another handler".to_owned());
        let expected = "a: 1 of 2 differ\n    response.body[*]  2 x\n        1 -> \"\\u{9b}2\"  (line 2, id y)\n    \
                        instructions a request: 100 -> 105 (+5.00 %)\nskipped: 1 of another handler\n";
        assert_eq!(tallies.text(), expected);
        assert_eq!((tallies.compared(), tallies.differing(), tallies.skipped()), (2, 1, 1));
    }

    #[test]
    fn the_paths_of_a_handler_are_bounded() {
        let mut tally = Tally::default();
        for number in 0..limits::DIFFERENCE_PATHS_MAX + 10 {
            tally.add((1, "x"), vec![difference(&format!("response.body.{number}"))], (0, 0));
        }
        assert_eq!(tally.paths.len(), limits::DIFFERENCE_PATHS_MAX + 1);
        assert_eq!(tally.paths[FURTHER].count, 10);
    }
}
