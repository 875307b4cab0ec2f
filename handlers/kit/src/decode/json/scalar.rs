//! Values that are neither array nor object. They are read in one way whatever type is asked for, so that a component
//! links this part of serde_json once, not once for each type.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use core::fmt;

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::passing::Passing;
use crate::decode::Problem;

/// Reads a scalar with the visitor of its type.
pub(super) fn read<'a, D: Deserializer<'a>, V: Visitor<'a>>(
    inner: D,
    passing: &Passing,
    visitor: V,
) -> Result<V::Value, Problem> {
    match inner.deserialize_any(Any { passing }).map_err(|error| passing.receive(error)) {
        Ok(Scalar::Null) => visitor.visit_unit(),
        Ok(Scalar::Boolean(value)) => visitor.visit_bool(value),
        Ok(Scalar::Signed(value)) => visitor.visit_i64(value),
        Ok(Scalar::Unsigned(value)) => visitor.visit_u64(value),
        Ok(Scalar::Float(value)) => visitor.visit_f64(value),
        Ok(Scalar::Text(text)) if text.contains('\0') => Err(Problem::expected("a string without U+0000")),
        Ok(Scalar::Text(Cow::Borrowed(text))) => visitor.visit_borrowed_str(text),
        Ok(Scalar::Text(Cow::Owned(text))) => visitor.visit_string(text),
        Err(problem) if problem.malformed => Err(problem),
        // An array or an object.
        Err(_) => Err(Problem::invalid_type(Unexpected::Other(""), &visitor)),
    }
}

enum Scalar<'a> {
    Null,
    Boolean(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(Cow<'a, str>),
}

/// Takes any scalar.
struct Any<'p> {
    passing: &'p Passing,
}

impl<'a> Visitor<'a> for Any<'_> {
    type Value = Scalar<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a scalar")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.passing.send(Problem::expected("a scalar")))
    }

    fn visit_map<A: MapAccess<'a>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.passing.send(Problem::expected("a scalar")))
    }
}
