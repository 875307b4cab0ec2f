//! The values of a handler's `config`, and places of secrets. A secret is never in the manifest, so it is in no message
//! about it either: where a place is expected, a text is refused without being quoted.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Number, Value as Json};
use toml::{Spanned, Value};

use super::entry::{ConfigValue, Place, Text};
use crate::limits::{CONFIG_BYTES_MAX, CONFIG_VALUES_MAX};

/// The table as serde reads it.
pub(super) type ConfigTable = BTreeMap<Spanned<String>, Spanned<Value>>;

/// The names that the host itself reads.
const OWN_PREFIX: &str = "GALO_";

/// The values of a table; each mistake is noted with its place in the text.
pub(super) fn config(table: &ConfigTable, folder: &Path, mistake: &mut dyn FnMut(usize, String)) -> Vec<ConfigValue> {
    let (mut values, mut bytes) = (Vec::new(), 0);
    for (name, value) in table {
        let (name, start) = (name.get_ref(), name.span().start);
        if name.is_empty() || name.chars().any(char::is_control) {
            mistake(start, format!("config: invalid name `{}`", name.escape_debug()));
        }
        match text(value.get_ref(), folder) {
            Ok(value) => values.push(ConfigValue { name: name.clone(), value }),
            Err(wrong) => mistake(value.span().start, format!("config: `{name}`: {wrong}")),
        }
    }
    for ConfigValue { name, value } in &values {
        bytes += name.len() + if let Text::Plain(text) = value { text.len() } else { 0 };
    }
    if let Some((first, _)) = table.first_key_value()
        && (values.len() > CONFIG_VALUES_MAX || bytes > CONFIG_BYTES_MAX)
    {
        let text = format!(
            "config: {} values of {bytes} bytes: {CONFIG_VALUES_MAX} of {CONFIG_BYTES_MAX} bytes together are allowed",
            values.len()
        );
        mistake(first.span().start, text);
    }
    values
}

/// A scalar as text, an array or a table as JSON, and the place of a secret as that.
fn text(value: &Value, folder: &Path) -> Result<Text, String> {
    Ok(match value {
        Value::Table(table) if table.len() == 1 && ["file", "variable"].iter().any(|key| table.contains_key(*key)) => {
            Text::Secret(place(value, folder)?)
        }
        Value::String(text) => Text::Plain(text.clone()),
        Value::Datetime(moment) => Text::Plain(moment.to_string()),
        value => Text::Plain(json(value)?.to_string()),
    })
}

fn json(value: &Value) -> Result<Json, String> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => Json::Number(Number::from_f64(*number).ok_or("a number must be finite")?),
        Value::Boolean(is) => (*is).into(),
        Value::Datetime(moment) => moment.to_string().into(),
        Value::Array(values) => values.iter().map(json).collect::<Result<_, _>>()?,
        Value::Table(table) => Json::Object(
            table.iter().map(|(name, value)| Ok((name.clone(), json(value)?))).collect::<Result<_, String>>()?,
        ),
    })
}

/// Where a secret is: `{ file = "…" }` or `{ variable = "…" }`.
pub(super) fn place(value: &Value, folder: &Path) -> Result<Place, String> {
    let expected = || "a secret is not written here: use { file = \"PATH\" } or { variable = \"NAME\" }".to_owned();
    let table = value.as_table().filter(|table| table.len() == 1).ok_or_else(expected)?;
    let (kind, text) = table.iter().next().ok_or_else(expected)?;
    let text = text.as_str().filter(|text| !text.is_empty()).ok_or_else(expected)?;
    match kind.as_str() {
        "file" => Ok(Place::File(folder.join(text))),
        "variable" if text.starts_with(OWN_PREFIX) => {
            Err(format!("the variable {text}: names that begin with {OWN_PREFIX} are Galo's own; choose another"))
        }
        "variable" => Ok(Place::Variable(text.to_owned())),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse;

    fn parsed(config: &str) -> Result<Vec<ConfigValue>, String> {
        let text = format!(
            "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a\"\n[handler.config]\n{config}\n"
        );
        let manifest = parse(Path::new("h/galo.toml"), &text).map_err(|refused| refused.to_string())?;
        Ok(manifest.handlers[0].config.clone())
    }

    #[test]
    fn scalars_are_texts_lists_and_tables_are_json_and_secrets_are_places() {
        let text = "text = \"a\"\nwhole = 1\nreal = 1.0\nis = true\nday = 2026-01-02\nlist = [1, \"x\", [2.5]]\n\
                    table = { b = 1, a = [] }\nkey = { file = \"key\" }\nother = { variable = \"SHOP_KEY\" }";
        let values = parsed(text).unwrap();
        let shown: Vec<_> = values.iter().map(|ConfigValue { name, value }| (name.as_str(), value.clone())).collect();
        let plain = |text: &str| Text::Plain(text.to_owned());
        let expected = [
            ("day", plain("2026-01-02")),
            ("is", plain("true")),
            ("key", Text::Secret(Place::File("h/key".into()))),
            ("list", plain("[1,\"x\",[2.5]]")),
            ("other", Text::Secret(Place::Variable("SHOP_KEY".to_owned()))),
            ("real", plain("1.0")),
            ("table", plain("{\"a\":[],\"b\":1}")),
            ("text", plain("a")),
            ("whole", plain("1")),
        ];
        assert_eq!(shown, expected);
        assert_eq!(parsed("").unwrap(), []);
    }

    #[test]
    fn a_value_that_cannot_be_one_is_refused_with_its_line() {
        for (config, reported) in [
            ("a = 1\nb = nan", "h/galo.toml:7: config: `b`: a number must be finite"),
            ("a = { variable = \"GALO_KEY\" }", "h/galo.toml:6: config: `a`: the variable GALO_KEY: names that begin"),
            ("a = { file = 1 }", "h/galo.toml:6: config: `a`: a secret is not written here"),
            ("a = 1\na = 2", "h/galo.toml:7: duplicate key"),
            ("\"\" = 1", "h/galo.toml:6: config: invalid name ``"),
        ] {
            let found = parsed(config).unwrap_err();
            assert!(found.starts_with(reported), "{config}: {found}");
        }
        let long = parsed(&format!("a = \"{}\"", "x".repeat(CONFIG_BYTES_MAX))).unwrap_err();
        assert!(long.contains("8192 bytes together are allowed"), "{long}");
    }
}
