//! A node's report as text: a table for people, or JSON. Names, causes and messages may come from guests, so every
//! character that controls a terminal is escaped.

use std::fmt::Write as _;

use crate::log::{escaped, escaped_json};
use crate::report::{AuditEntry, CanaryReport, Counts, HandlerReport, NodeReport, PathCount, Refusal, RolledBack};

/// Digits of a digest in the table, enough to compare; `--json` has all.
pub(super) const DIGEST_SHOWN: usize = 12;

const TITLES: [&str; 8] = ["NAME", "ROUTE", "GENERATION", "DIGEST", "STATE", "SINCE", "CALLS", "FAULTS"];

/// An aligned row for each handler, then what was refused and what was rolled back.
pub(super) fn table(report: &NodeReport) -> String {
    let rows: Vec<_> =
        std::iter::once(TITLES.map(str::to_owned)).chain(report.handlers.iter().flat_map(rows)).collect();
    let widths: [usize; 8] = std::array::from_fn(|column| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    if let Some(refusal) = &report.manifest.refused {
        refused("manifest", refusal, &mut text);
    }
    for handler in &report.handlers {
        let name = escaped(&handler.name);
        if let Some(found) = &handler.canary {
            let _ = writeln!(text, "\n{name}: {}", canary(found));
        }
        if let Some(refusal) = &handler.refused {
            refused(&name, refusal, &mut text);
        }
        if let Some(refusal) = &handler.refused_deployment {
            refused(&format!("{name}: deployment"), refusal, &mut text);
        }
        if let Some(rollback) = &handler.rolled_back {
            rolled_back(&name, rollback, &mut text);
        }
        if let Some(gate) = &handler.gate {
            compared(&format!("{name}: gate: {}", escaped(&gate.summary)), &gate.sha256, &gate.counts, &mut text);
        }
        if let Some(shadow) = &handler.shadow {
            let Counts { compared: of, differ, .. } = &shadow.counts;
            let what = format!("{name}: shadow {:?}: {differ} of {of} differ", shadow.state).to_ascii_lowercase();
            compared(&what, &shadow.sha256, &shadow.counts, &mut text);
        }
    }
    text
}

/// A canary in a line.
pub(super) fn canary(canary: &CanaryReport) -> String {
    let CanaryReport { generation, sha256, percent, by, calls, faults, compared, differed, intended, time, .. } =
        canary;
    let digest: String = sha256.chars().take(DIGEST_SHOWN).collect();
    let time = time.as_deref().map(|times| format!(", guest time {times} ×")).unwrap_or_default();
    let intended = match intended {
        0 => String::new(),
        1 => ", 1 as a changed example states".to_owned(),
        intended => format!(", {intended} as changed examples state"),
    };
    escaped(&format!(
        "canary, generation {generation} {digest}, {percent} by {by}: {calls} calls, {faults} faults, {differed} of \
         {compared} decided otherwise{intended}{time}"
    ))
}

/// A line for each entry of an audit log; further lines of a reason are indented below it.
pub(super) fn audit(entries: &[AuditEntry]) -> String {
    let mut text = String::new();
    for AuditEntry { at, handler, event, generation, sha256, who, why } in entries {
        let digest: String = sha256.iter().flat_map(|digest| digest.chars().take(DIGEST_SHOWN)).collect();
        let number = generation.map(|number| format!("generation {number} ")).unwrap_or_default();
        let (handler, what) = (handler.as_deref().unwrap_or("all handlers"), format!("{event} {number}{digest}"));
        let mut lines = why.lines();
        let first = lines.next().unwrap_or_default();
        let line = escaped(&format!("{at}  {handler}: {}  by {who}: {first}", what.trim_end()));
        let _ = writeln!(text, "{line}");
        lines.for_each(|line| indented(line, &mut text));
    }
    text
}

/// An entry as a line of JSON.
pub(super) fn line(entry: &AuditEntry) -> serde_json::Result<String> {
    Ok(escaped_json(&serde_json::to_string(entry)?) + "\n")
}

/// The node's JSON. Control characters that JSON allows are escaped too; the value stays the same.
pub(super) fn json(report: &NodeReport) -> serde_json::Result<String> {
    Ok(escaped_json(&serde_json::to_string_pretty(report)?) + "\n")
}

/// A handler's row has its first route; each further one has a row of its own.
fn rows(handler: &HandlerReport) -> impl Iterator<Item = [String; 8]> {
    let further = handler.routes.iter().skip(1).map(|route| {
        let mut row = [const { String::new() }; 8];
        row[1] = escaped(route);
        row
    });
    std::iter::once(row(handler)).chain(further)
}

fn row(handler: &HandlerReport) -> [String; 8] {
    let first = handler.routes.first().map_or("-", String::as_str);
    let digest: String = handler.sha256.chars().take(DIGEST_SHOWN).collect();
    [
        escaped(&handler.name),
        escaped(first),
        handler.generation.to_string(),
        escaped(&digest),
        handler.state.to_string(),
        escaped(handler.since.as_deref().unwrap_or("-")),
        handler.calls.to_string(),
        handler.faults.to_string(),
    ]
}

fn refused(what: &str, Refusal { stage, message, sha256, at }: &Refusal, text: &mut String) {
    let digest: String = sha256.iter().flat_map(|digest| digest.chars().take(DIGEST_SHOWN)).collect();
    let digest = if digest.is_empty() { digest } else { format!(" {}", escaped(&digest)) };
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "\n{what}: refused{digest} at {}, {}", escaped(stage), escaped(at));
    indented(message, text);
}

fn rolled_back(name: &str, back: &RolledBack, text: &mut String) {
    let RolledBack { generation, cause, at, .. } = back;
    let passed = back.passed_over().unwrap_or_default();
    let _ = writeln!(text, "\n{name}: generation {generation} rolled back at {}{passed}", escaped(at));
    indented(cause, text);
}

/// What a component decides otherwise, with the paths.
fn compared(what: &str, sha256: &str, counts: &Counts, text: &mut String) {
    let digest: String = sha256.chars().take(DIGEST_SHOWN).collect();
    let _ = writeln!(text, "\n{what} ({})", escaped(&digest));
    for PathCount { path, count } in &counts.paths {
        let _ = writeln!(text, "    {} ({count})", escaped(path));
    }
}

fn indented(message: &str, text: &mut String) {
    for line in message.lines() {
        let _ = writeln!(text, "    {}", escaped(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::controls_a_terminal;
    use crate::report::{ManifestReport, Previous, State};

    fn report() -> NodeReport {
        let at = || "2026-01-02T03:04:05.000006Z".to_owned();
        let refusal = |stage: &str, message: &str| Refusal {
            stage: stage.to_owned(),
            message: message.to_owned(),
            sha256: Some("ef".repeat(32)),
            at: at(),
        };
        let orders = HandlerReport {
            name: "orders".to_owned(),
            routes: vec!["GET /customers/{id}/orders".to_owned(), "DELETE /orders".to_owned()],
            generation: 1,
            sha256: "ab".repeat(32),
            deployment: None,
            state: State::Live,
            since: None,
            calls: 0,
            faults: 0,
            previous: None,
            canary: None,
            rolled_back: None,
            refused: None,
            refused_deployment: None,
            gate: None,
            shadow: None,
        };
        let items = HandlerReport {
            name: "items".to_owned(),
            routes: vec!["POST /x".to_owned()],
            generation: 3,
            state: State::Probation,
            since: Some(at()),
            calls: 123,
            faults: 7,
            previous: Some(Previous { generation: 2, sha256: "cd".repeat(32) }),
            rolled_back: Some(RolledBack {
                generation: 4,
                sha256: "ef".repeat(32),
                cause: "trap in prepare: \u{1b}[2Jboo".to_owned(),
                at: at(),
                passed_over: Some(3),
            }),
            refused: Some(refusal("examples", "first\r\nsecond \u{9b}1m\u{202e}\n")),
            ..orders.clone()
        };
        let manifest = ManifestReport {
            loaded: Some(at()),
            refused: Some(Refusal { sha256: None, ..refusal("manifest", "line 3: no") }),
        };
        NodeReport { manifest, handlers: vec![orders, items] }
    }

    #[test]
    fn a_table_is_aligned_and_has_refusals_and_rollbacks_below() {
        let expected = r"NAME    ROUTE                       GENERATION  DIGEST        STATE      SINCE                        CALLS  FAULTS
orders  GET /customers/{id}/orders  1           abababababab  live       -                            0      0
        DELETE /orders
items   POST /x                     3           abababababab  probation  2026-01-02T03:04:05.000006Z  123    7

manifest: refused at manifest, 2026-01-02T03:04:05.000006Z
    line 3: no

items: refused efefefefefef at examples, 2026-01-02T03:04:05.000006Z
    first
    second \u{9b}1m\u{202e}

items: generation 4 rolled back at 2026-01-02T03:04:05.000006Z; generation 3 had not finished its probation when it was replaced
    trap in prepare: \u{1b}[2Jboo
";
        assert_eq!(table(&report()), expected);
    }

    #[test]
    fn the_lines_of_a_reason_stay_lines() {
        let entry = AuditEntry {
            at: "now".to_owned(),
            handler: Some("orders".to_owned()),
            event: "refused".to_owned(),
            generation: None,
            sha256: Some("ab".repeat(32)),
            who: "ana".to_owned(),
            why: "examples: a.json\n- 1\n+ \u{1b}2".to_owned(),
        };
        let expected = "now  orders: refused abababababab  by ana: examples: a.json\n    - 1\n    + \\u{1b}2\n";
        assert_eq!(audit(&[entry]), expected);
    }

    #[test]
    fn a_starting_node_has_titles_only() {
        let starting = NodeReport { manifest: ManifestReport::default(), handlers: Vec::new() };
        assert_eq!(table(&starting), "NAME  ROUTE  GENERATION  DIGEST  STATE  SINCE  CALLS  FAULTS\n");
    }

    #[test]
    fn json_keeps_its_value_and_no_control_character() {
        let text = json(&report()).unwrap();
        assert!(!text.chars().any(|c| c != '\n' && controls_a_terminal(c)), "{text}");
        assert!(text.contains(r"\u009b1m\u202e"), "{text}");
        assert_eq!(serde_json::from_str::<NodeReport>(&text).unwrap(), report());
    }
}
