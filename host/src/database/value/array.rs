//! Converts arrays of scalars to and from JSON: `[1, null, 3]`, with nested arrays for more dimensions. JSON cannot
//! represent the bounds of an array, so they are lost.
//!
//! `json` converts a returned array from binary to JSON; `literal` converts an argument from JSON to an array literal,
//! `{"1",NULL,"3"}`.

use serde_json::value::RawValue;
use tokio_postgres::types::Type;

use super::spelling::{Unreadable, moment, spelled, take};
use super::wellformed;
use crate::limits;

/// The most dimensions an array may have.
const DIMENSIONS_MAX: usize = 6;

/// Converts a binary array to JSON.
///
/// # Errors
/// When the bytes are not an array of this element type, or the JSON becomes too long.
pub(super) fn json(element: &Type, mut raw: &[u8]) -> Result<String, Unreadable> {
    let count = usize::try_from(i32::from_be_bytes(take(&mut raw)?))?;
    let _has_nulls: [u8; 4] = take(&mut raw)?;
    if u32::from_be_bytes(take(&mut raw)?) != element.oid() || count > DIMENSIONS_MAX {
        return Err("the array has other elements".into());
    }
    let mut dimensions = Vec::with_capacity(count);
    for _ in 0..count {
        dimensions.push(usize::try_from(i32::from_be_bytes(take(&mut raw)?))?);
        let _lower_bound: [u8; 4] = take(&mut raw)?;
    }
    // An array without elements has nothing to read, however many dimensions it has.
    if dimensions.is_empty() || dimensions.contains(&0) {
        return Ok("[]".to_owned());
    }
    let mut out = String::new();
    write_level(&mut out, element, &dimensions, &mut raw)?;
    Ok(out)
}

fn write_level(out: &mut String, element: &Type, dimensions: &[usize], raw: &mut &[u8]) -> Result<(), Unreadable> {
    let Some((count, inner)) = dimensions.split_first() else { return write_element(out, element, raw) };
    out.push('[');
    for index in 0..*count {
        if index > 0 {
            out.push(',');
        }
        write_level(out, element, inner, raw)?;
    }
    out.push(']');
    Ok(())
}

fn write_element(out: &mut String, element: &Type, raw: &mut &[u8]) -> Result<(), Unreadable> {
    let length = i32::from_be_bytes(take(raw)?);
    let Ok(length) = usize::try_from(length) else {
        out.push_str("null");
        return Ok(());
    };
    let (value, rest) = raw.split_at_checked(length).ok_or("the array is cut short")?;
    *raw = rest;
    out.push_str(&element_json(element, value)?);
    // A numeric of a few bytes may have 131,072 digits.
    if out.len() > limits::ROWS_BYTES_MAX {
        return Err(format!("an array of over {} bytes as JSON", limits::ROWS_BYTES_MAX).into());
    }
    Ok(())
}

/// As `to_json` of Postgres writes it, except that timestamps are in UTC.
fn element_json(element: &Type, value: &[u8]) -> Result<String, Unreadable> {
    Ok(match *element {
        Type::BOOL => (value.first().is_some_and(|byte| *byte != 0)).to_string(),
        Type::INT2 => i16::from_be_bytes(value.try_into()?).to_string(),
        Type::INT4 => i32::from_be_bytes(value.try_into()?).to_string(),
        Type::INT8 => i64::from_be_bytes(value.try_into()?).to_string(),
        Type::FLOAT4 => {
            let value = f32::from_be_bytes(value.try_into()?);
            if value.is_finite() { serde_json::to_string(&value)? } else { not_finite(value.into()) }
        }
        Type::FLOAT8 => {
            let value = f64::from_be_bytes(value.try_into()?);
            if value.is_finite() { serde_json::to_string(&value)? } else { not_finite(value) }
        }
        Type::NUMERIC => {
            let text = spelled(element, value)?;
            if text.ends_with(|last: char| last.is_ascii_digit()) { text } else { serde_json::to_string(&text)? }
        }
        Type::JSON | Type::JSONB => spelled(element, value)?,
        Type::BYTEA => serde_json::to_string(&value.iter().fold("\\x".to_owned(), |hex, b| format!("{hex}{b:02x}")))?,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let us = i64::from_be_bytes(value.try_into()?);
            serde_json::to_string(&moment(us, *element == Type::TIMESTAMPTZ))?
        }
        _ => serde_json::to_string(&spelled(element, value)?)?,
    })
}

/// JSON has no such numbers, so they are strings.
fn not_finite(value: f64) -> String {
    let word = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    format!("\"{word}\"")
}

/// Converts a JSON array to an array literal with elements of this type, which is not a domain.
///
/// # Errors
/// What does not fit.
pub(super) fn literal(element: &Type, json: &str) -> Result<String, String> {
    let mut literal =
        Literal { element, out: String::with_capacity(json.len() + 2), lengths: Vec::new(), bottom: None };
    literal.level(json, 0)?;
    Ok(literal.out)
}

/// An array literal that is being written.
struct Literal<'a> {
    element: &'a Type,
    out: String,
    /// The length of each dimension: all arrays of a dimension have the same length.
    lengths: Vec<usize>,
    /// The dimension that holds the elements.
    bottom: Option<usize>,
}

impl Literal<'_> {
    fn level(&mut self, json: &str, depth: usize) -> Result<(), String> {
        if depth == DIMENSIONS_MAX {
            return Err(format!("an array of over {DIMENSIONS_MAX} dimensions"));
        }
        let items: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| "a json that is not an array".to_owned())?;
        match self.lengths.get(depth) {
            None => self.lengths.push(items.len()),
            Some(length) if *length == items.len() => {}
            Some(_) => return Err("a JSON array of arrays of different lengths".to_owned()),
        }
        if depth > 0 && items.is_empty() {
            return Err("a JSON array with an empty array in it".to_owned());
        }
        // The elements of json[] may be arrays themselves, so it has one dimension.
        let is_json = matches!(*self.element, Type::JSON | Type::JSONB);
        let nested = !is_json && items.first().is_some_and(|item| item.get().starts_with('['));
        if !nested && *self.bottom.get_or_insert(depth) != depth || nested && self.bottom == Some(depth) {
            return Err("a JSON array of arrays and of other things".to_owned());
        }
        self.out.push('{');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            match nested {
                true => self.level(item.get(), depth + 1)?,
                false => self.one(item.get())?,
            }
        }
        self.out.push('}');
        Ok(())
    }

    fn one(&mut self, item: &str) -> Result<(), String> {
        if item == "null" {
            self.out.push_str("NULL");
            return Ok(());
        }
        let wrong = |expected: &str| format!("an array with an element that is not {expected}");
        let text = element_text(self.element, item).map_err(wrong)?;
        push_quoted(&mut self.out, &text);
        Ok(())
    }
}

/// Appends an element to a literal, quoted whatever its text.
pub(super) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

/// The text of an element of this type. The error is what was expected.
fn element_text(element: &Type, item: &str) -> Result<String, &'static str> {
    let integer = |least: i64, most: i64, expected| match item.parse::<i64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value.to_string()),
        _ => Err(expected),
    };
    match *element {
        Type::BOOL if matches!(item, "true" | "false") => Ok(item.to_owned()),
        Type::BOOL => Err("a boolean"),
        Type::INT2 => integer(i16::MIN.into(), i16::MAX.into(), "a smallint"),
        Type::INT4 => integer(i32::MIN.into(), i32::MAX.into(), "an integer"),
        Type::INT8 => integer(i64::MIN, i64::MAX, "a bigint"),
        Type::FLOAT4 | Type::FLOAT8 => float(item).ok_or("a number, \"NaN\", \"Infinity\" or \"-Infinity\""),
        Type::JSON | Type::JSONB => Ok(item.to_owned()),
        Type::NUMERIC if !item.starts_with('"') => wellformed::check(item, element).map(|()| item.to_owned()),
        _ => {
            let text: String = serde_json::from_str(item).map_err(|_| "a string")?;
            wellformed::check(&text, element).map(|()| text)
        }
    }
}

fn float(item: &str) -> Option<String> {
    if matches!(item, "\"NaN\"" | "\"Infinity\"" | "\"-Infinity\"") {
        return Some(item.trim_matches('"').to_owned());
    }
    item.parse::<f64>().ok().filter(|value| value.is_finite()).map(|_| item.to_owned())
}
