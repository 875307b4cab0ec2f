//! How the page writes numbers, times and texts.

use maud::{Markup, html};

use crate::limits;
use crate::record::{Blob, Cell};

/// `640 µs`, `12.3 ms`, `1.25 s`.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{:02} ms", micros / 1_000, micros % 1_000 / 10),
        10_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

/// The same, or a dash.
pub(super) fn maybe_micros(time: Option<u64>) -> String {
    time.map_or_else(|| "–".to_owned(), micros)
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 request`, `2 requests`.
pub(super) fn plural(number: usize, one: &str) -> String {
    format!("{} {one}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// A text as it begins a sentence.
pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A moment as RFC 3339: the time of day, and the whole of it for who points at it.
pub(super) fn moment(at: &str) -> Markup {
    let of_day = at.split_once('T').map_or(at, |(_, time)| time.trim_end_matches('Z'));
    let shown = of_day.get(..12).unwrap_or(of_day);
    html! { time datetime=(at) title=(at) { (shown) } }
}

/// The same with its day.
pub(super) fn day(at: &str) -> Markup {
    let shown = at.get(..19).unwrap_or(at).replace('T', " ");
    html! { time datetime=(at) title=(at) { (shown) } }
}

/// The first digits of a digest, and the whole of it for who points at it.
pub(super) fn digest(sha256: &str) -> Markup {
    html! { code.digest title=(format!("sha256 {sha256}")) { (sha256.get(..12).unwrap_or(sha256)) } }
}

/// A text of several lines, cut where it is too long.
pub(super) fn block(text: &str) -> Markup {
    let most = limits::PAGE_TEXT_BYTES_MAX;
    let shown = &text[..text.floor_char_boundary(most)];
    html! {
        pre tabindex="0" { (shown) }
        @if shown.len() < text.len() {
            p.note { "… and " (count((text.len() - shown.len()) as u64)) " more bytes; the API has all of them." }
        }
    }
}

/// A body: JSON is indented.
pub(super) fn body(blob: &Blob) -> Markup {
    match blob {
        Blob::Text(text) if text.is_empty() => html! { p.note { "empty" } },
        Blob::Text(text) => {
            let json = serde_json::from_str::<&serde_json::value::RawValue>(text).ok();
            block(&json.map_or_else(|| text.clone(), |json| indented(json.get())))
        }
        Blob::Base64 { base64 } => html! { p.note { "bytes, in base64" } (block(base64)) },
    }
}

/// JSON with each member in a line, its keys in their order and its numbers as they were written.
pub(super) fn indented(json: &str) -> String {
    let (mut out, mut depth, mut in_text, mut escaped) = (String::with_capacity(json.len() * 2), 0_usize, false, false);
    let mut chars = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        // A text that nests without end must not grow with its square.
        (0..depth.min(40)).for_each(|_| out.push_str("  "));
    };
    while let Some(c) = chars.next() {
        if in_text {
            out.push(c);
            (in_text, escaped) = (escaped || c != '"', c == '\\' && !escaped);
            continue;
        }
        match c {
            c if c.is_ascii_whitespace() => {}
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                out.push(c);
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out
}

/// A value of the contract.
pub(super) fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Float(text) | Cell::Text(text) | Cell::Json(text) | Cell::Bytes(Blob::Text(text)) => text.clone(),
        Cell::Bytes(Blob::Base64 { base64 }) => format!("base64 {base64}"),
        Cell::Timestamp(micros) => {
            jiff::Timestamp::from_microsecond(*micros).map_or_else(|_| micros.to_string(), |at| format!("{at:.6}"))
        }
    }
}

/// The type of a value.
pub(super) fn kind(cell: &Cell) -> &'static str {
    match cell {
        Cell::Null => "null",
        Cell::Boolean(_) => "boolean",
        Cell::Integer(_) => "integer",
        Cell::Float(_) => "float",
        Cell::Text(_) => "text",
        Cell::Bytes(_) => "bytes",
        Cell::Timestamp(_) => "timestamp",
        Cell::Json(_) => "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits_and_a_number_groups_of_them() {
        let times = [999, 1_009, 9_999, 12_345, 999_999, 1_250_000].map(micros);
        assert_eq!(times, ["999 µs", "1.00 ms", "9.99 ms", "12.3 ms", "999.9 ms", "1.25 s"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            (plural(1, "request"), plural(1000, "request")),
            ("1 request".to_owned(), "1,000 requests".to_owned())
        );
    }

    #[test]
    fn json_is_indented_and_nothing_else_of_it_changes() {
        let text = r#"{"b": 1.0, "a" :[ ] ,"c":{},"t":"x\",{\\","n":[1e400,{"k":null}]}"#;
        let expected = "{\n  \"b\": 1.0,\n  \"a\": [],\n  \"c\": {},\n  \"t\": \"x\\\",{\\\\\",\n  \"n\": [\n    1e400,\n    {\n      \
                        \"k\": null\n    }\n  ]\n}";
        assert_eq!(indented(text), expected);
        let nested = "[".repeat(100) + &"]".repeat(100);
        assert!(indented(&nested).len() < 100 * 2 * 90);
    }

    #[test]
    fn what_a_client_sent_is_text() {
        let evil = "<script>alert(1)</script>\"' onload=x";
        for markup in [block(evil), moment(evil), digest(evil), body(&Blob::Text(evil.to_owned()))] {
            let markup = markup.into_string();
            assert!(!markup.contains("<script") && !markup.contains("\"' onload"), "{markup}");
        }
    }
}
