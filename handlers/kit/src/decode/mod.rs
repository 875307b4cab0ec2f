//! Reading what a client sent into types of the handler's own, by serde: JSON (`json`), names with texts
//! (`pairs`), and one text (`text`).
//!
//! All have one error, [`Problem`]: where it is and what was expected there. It never contains a value that was sent,
//! and describes types in words of JSON, not of Rust. It becomes a [`Rejection`](crate::Rejection).

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write as _};

use serde::de::{Error, Expected, Unexpected};

pub(crate) mod json;
pub(crate) mod pairs;
pub(crate) mod text;

/// The name by which [`Decimal`](crate::Decimal) asks for the digits of a number as they were sent.
pub(crate) const DIGITS: &str = "$galo_kit::Digits";

/// One step from a value to a part of it.
#[derive(Debug)]
pub(crate) enum Step {
    Name(String),
    Index(usize),
}

/// Why a value cannot be read.
#[derive(Debug)]
pub(crate) struct Problem {
    expected: Cow<'static, str>,
    /// From the inside out: each level adds its step to an error that passes through it.
    path: Vec<Step>,
    /// Whether the text is not JSON at all; there is no path then.
    pub(crate) malformed: bool,
}

impl Problem {
    pub(crate) fn expected(what: impl Into<Cow<'static, str>>) -> Self {
        Self { expected: what.into(), path: Vec::new(), malformed: false }
    }

    /// The text is not JSON.
    pub(crate) fn malformed(reason: impl Display) -> Self {
        Self { malformed: true, ..Self::expected(format!("JSON: {reason}")) }
    }

    /// The same problem, seen from one level further out.
    pub(crate) fn within(mut self, step: Step) -> Self {
        if !self.malformed {
            self.path.push(step);
        }
        self
    }

    /// Where it is, as in `items[1].quantity`, and what was expected there.
    pub(crate) fn into_parts(self) -> (String, Cow<'static, str>) {
        let mut path = String::new();
        for step in self.path.iter().rev() {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Name(name) if path.is_empty() => write!(path, "{name}"),
                Step::Name(name) => write!(path, ".{name}"),
                Step::Index(index) => write!(path, "[{index}]"),
            };
        }
        (path, self.expected)
    }
}

impl Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "expected {}", self.expected)
    }
}

impl core::error::Error for Problem {}

impl Error for Problem {
    fn custom<T: Display>(message: T) -> Self {
        let message = format!("{message}");
        // The uuid crate describes what is wrong with the text in place of what it should be.
        if message.starts_with("UUID parsing failed") { Self::expected("a UUID") } else { Self::expected(message) }
    }

    // What was found is not described: that would quote the client, and link 24 KiB of tables for escaping it.

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(in_words(format!("{expected}")))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(in_words(format!("{expected}")))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::expected(in_words(format!("{expected}")))
    }

    fn unknown_variant(_: &str, variants: &'static [&'static str]) -> Self {
        Self::expected(format!("one of {}", variants.join(", ")))
    }

    fn unknown_field(_: &str, fields: &'static [&'static str]) -> Self {
        // Whoever reads the name adds it to the path.
        let fields = if fields.is_empty() { "none" } else { &fields.join(", ") };
        Self::expected(format!("no field but {fields}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::expected("a value, and it is missing").within(Step::Name(field.into()))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::expected("one value, and there are several").within(Step::Name(field.into()))
    }
}

/// A type in words that a client understands, for one in words of serde.
fn in_words(serde: String) -> Cow<'static, str> {
    Cow::Borrowed(match serde.as_str() {
        "i8" => "an integer from -128 to 127",
        "i16" => "an integer from -32768 to 32767",
        "i32" => "an integer from -2147483648 to 2147483647",
        "i64" | "isize" | "i128" => "an integer",
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "usize" | "u128" => "an integer from 0",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a borrowed string" | "string" | "str" | "variant identifier" | "unit variant" => "a string",
        "a character" => "one character",
        "a sequence" => "an array",
        "a map" | "newtype variant" | "struct variant" | "tuple variant" => "an object",
        "unit" => "null",
        _ if serde.starts_with("a nonzero u") => "an integer from 1",
        _ if serde.starts_with("a nonzero i") => "an integer other than 0",
        _ if serde.starts_with("struct ") => "an object",
        _ if serde.starts_with("tuple ") => "an array",
        _ if serde == "enum" || serde.starts_with("enum ") => "a string, or an object with one member",
        _ => return Cow::Owned(serde),
    })
}
