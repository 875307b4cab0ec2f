//! One text, read as the type that is asked for: a path parameter, the name of a member, a value of a form.
//!
//! Integers have one spelling, that of JSON: no plus, no leading zeros. An empty text is none where an Option is
//! wanted, because a browser sends an empty field so.

use alloc::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::{DIGITS, Problem};

pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

/// Whether it is an integer as JSON writes it.
fn is_integer(text: &str) -> bool {
    match text.strip_prefix('-').unwrap_or(text).as_bytes() {
        b"0" => text == "0",
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

macro_rules! integers {
    ($($method:ident)* => $parsed:ty, $visit:ident) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
            match self.0.parse::<$parsed>() {
                Ok(number) if is_integer(&self.0) => visitor.$visit(number),
                _ => Err(Problem::invalid_type(Unexpected::Other(""), &visitor)),
            }
        })*
    };
}

macro_rules! floats {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
            match self.0.parse::<f64>() {
                Ok(number) if number.is_finite() => visitor.visit_f64(number),
                _ => Err(Problem::invalid_type(Unexpected::Other(""), &visitor)),
            }
        })*
    };
}

impl<'a> Deserializer<'a> for Text<'a> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.contains('\0') {
            return Err(Problem::expected("a string without U+0000"));
        }
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 => i64, visit_i64);
    integers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 => u64, visit_u64);
    floats!(deserialize_f32 deserialize_f64);

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.as_ref() {
            // What a checkbox sends.
            "true" | "on" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Problem::invalid_type(Unexpected::Other(""), &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Problem> {
        if name == DIGITS { visitor.visit_str(&self.0) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_enum(StrDeserializer::new(&self.0))
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { <V: Visitor<'a>>
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
    }
}
