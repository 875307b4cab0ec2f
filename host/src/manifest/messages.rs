//! The section `[messages]` of a manifest: a text for people beside each code of a failure.

use std::collections::BTreeMap;

use toml::Spanned;

use crate::failure::Code;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::Messages;

/// The section as serde reads it: a text for each code.
pub(super) type MessagesTable = BTreeMap<Spanned<String>, Spanned<String>>;

/// The bodies with the texts of the section; each mistake is noted with its place in the text.
pub(super) fn messages(table: &MessagesTable, mistake: &mut dyn FnMut(usize, String)) -> Messages {
    let mut texts = BTreeMap::new();
    for (name, text) in table {
        let (word, place) = (name.get_ref(), name.span().start);
        match (Code::named(word), wrong_with(text.get_ref())) {
            (None, _) => {
                let known = Code::all().map(Code::as_str).join(", ");
                mistake(place, format!("[messages]: unknown code `{word}`, expected one of {known}"));
            }
            (Some(_), Some(wrong)) => mistake(place, format!("[messages]: the text of `{word}` {wrong}")),
            (Some(code), None) => {
                texts.insert(code, text.get_ref().clone());
            }
        }
    }
    Messages::new(&texts)
}

fn wrong_with(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("is empty: write one, or remove the line".to_owned());
    }
    if text.len() > MESSAGE_BYTES_MAX {
        return Some(format!("has {} bytes: at most {MESSAGE_BYTES_MAX} are allowed", text.len()));
    }
    let control = text.chars().find(|c| c.is_control())?;
    Some(format!("has the control character U+{:04X}: remove it", u32::from(control)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::parse;

    const HANDLER: &str = "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a\"\n";

    fn parsed(section: &str) -> Result<Messages, String> {
        let manifest = parse(Path::new("galo.toml"), &format!("[messages]\n{section}\n{HANDLER}"));
        manifest.map(|manifest| manifest.messages).map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_text_stands_beside_its_code_and_the_others_have_none() {
        let longest = "ü".repeat(MESSAGE_BYTES_MAX / 2);
        let messages = parsed(&format!("unavailable = \"{longest}\"\nnot_found = 'say \"no\"'")).unwrap();
        assert_eq!(
            messages.body(Code::Unavailable),
            format!(r#"{{"error":"unavailable","message":"{longest}"}}"#).as_bytes()
        );
        assert_eq!(messages.body(Code::NotFound), r#"{"error":"not_found","message":"say \"no\""}"#);
        assert_eq!(messages.body(Code::BodyTimeout), r#"{"error":"body_timeout"}"#);
        assert_eq!(&parsed("").unwrap(), Messages::plain());
        assert_eq!(&parse(Path::new("galo.toml"), HANDLER).unwrap().messages, Messages::plain());
    }

    #[test]
    fn what_is_wrong_with_a_text_is_reported_with_its_line() {
        for (section, reported) in [
            ("unavailable = \"x\"\nteapot = \"y\"", "galo.toml:3: [messages]: unknown code `teapot`, expected one of"),
            ("unavailable = \"\"", "galo.toml:2: [messages]: the text of `unavailable` is empty"),
            ("unavailable = 5", "galo.toml:2: invalid type: integer `5`, expected a string"),
            ("unavailable = \"a\"\nunavailable = \"b\"", "galo.toml:3: duplicate key"),
            (
                "not_found = \"a\\nb\"",
                "galo.toml:2: [messages]: the text of `not_found` has the control character U+000A",
            ),
            (
                "not_found = \"\\u009b\"",
                "galo.toml:2: [messages]: the text of `not_found` has the control character U+009B",
            ),
        ] {
            let found = parsed(section).unwrap_err();
            assert!(found.starts_with(reported), "{section}: {found}");
        }
        let found = parsed("teapot = \"y\"").unwrap_err();
        assert!(Code::all().into_iter().all(|code| found.contains(code.as_str())), "{found}");
        let long = parsed(&format!("not_found = \"{}\"", "x".repeat(MESSAGE_BYTES_MAX + 1))).unwrap_err();
        assert!(long.contains(&format!("has {} bytes: at most {MESSAGE_BYTES_MAX}", MESSAGE_BYTES_MAX + 1)), "{long}");
        // All mistakes of the section at once.
        assert_eq!(parsed("a = \"1\"\nb = \"2\"").unwrap_err().lines().count(), 2);
    }
}
