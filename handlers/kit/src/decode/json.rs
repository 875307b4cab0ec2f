//! JSON, by serde's derive: a layer over serde_json that knows where an error is and what was expected there.
//!
//! serde_json's own errors have neither as data, and to describe what was found links 24 KiB of tables. So every type
//! is read through `deserialize_any`, and the visitor of the type answers with a [`Problem`], which passes by
//! serde_json in a cell. It is stricter than serde_json: an object is not read from an array, and a string with U+0000,
//! which Postgres cannot store, is refused.

use alloc::borrow::Cow;
use core::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use self::name::Name;
use self::passing::Passing;
use super::text::Text;
use super::{DIGITS, Problem, Step};

mod name;
mod passing;
mod scalar;

/// Reads exactly one value.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Problem> {
    // serde_json does not validate strings that it skips, so the whole text is checked here.
    let text = str::from_utf8(text).map_err(|_| Problem::malformed("it is not UTF-8"))?;
    visit(text, |json| T::deserialize(json))
}

/// Reads exactly one value with a visitor.
pub(crate) fn read_with<'a, V: Visitor<'a>>(text: &'a str, visitor: V) -> Result<V::Value, Problem> {
    visit(text, |json| json.deserialize_any(visitor))
}

fn visit<'a, T>(
    text: &'a str,
    read: impl FnOnce(Json<'_, &mut serde_json::Deserializer<serde_json::de::StrRead<'a>>>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let passing = Passing::default();
    let mut inner = serde_json::Deserializer::from_str(text);
    let value = read(Json { inner: &mut inner, passing: &passing })?;
    inner.end().map_err(Problem::malformed)?;
    Ok(value)
}

/// A deserializer of serde_json, as we hand it to the type that reads.
struct Json<'p, D> {
    inner: D,
    passing: &'p Passing,
}

impl<'a, D: Deserializer<'a>> Json<'_, D> {
    fn read<V: Visitor<'a>>(self, shape: Shape, visitor: V) -> Result<V::Value, Problem> {
        let meant = Meant { visitor, passing: self.passing, shape };
        self.inner.deserialize_any(meant).map_err(|error| self.passing.receive(error))
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
            scalar::read(self.inner, self.passing, visitor)
        })*
    };
}

impl<'a, D: Deserializer<'a>> Deserializer<'a> for Json<'_, D> {
    type Error = Problem;

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_unit deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.read(Shape::Any, visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        let meant = Meant { visitor, passing: self.passing, shape: Shape::Any };
        self.inner.deserialize_option(meant).map_err(|error| self.passing.receive(error))
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.read(Shape::Object, visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.read(Shape::Variant, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Problem> {
        if name == DIGITS {
            let raw = <&RawValue>::deserialize(self.inner).map_err(|error| self.passing.receive(error))?.get();
            return match raw.starts_with('"') {
                true => read::<Cow<'_, str>>(raw.as_bytes()).and_then(|text| visitor.visit_str(&text)),
                false => visitor.visit_str(raw),
            };
        }
        // How serde_json hands over a value as its text.
        if name.starts_with("$serde_json::private::") {
            let meant = Meant { visitor, passing: self.passing, shape: Shape::Any };
            return self.inner.deserialize_newtype_struct(name, meant).map_err(|error| self.passing.receive(error));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        // Skipping takes no stack, however deep the value is.
        self.inner.deserialize_ignored_any(IgnoredAny).map_err(|error| self.passing.receive(error))?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { <V: Visitor<'a>> bytes byte_buf unit_struct seq tuple tuple_struct map }
}

/// What is read, where that is stricter than what the visitor accepts.
#[derive(Clone, Copy)]
enum Shape {
    Any,
    /// Not an array, which a derived struct would accept.
    Object,
    /// A string is a variant without content, an object with one member a variant with.
    Variant,
}

/// The visitor of the type, as serde_json sees it: it accepts everything, and sends the problem of the other.
struct Meant<'p, V> {
    visitor: V,
    passing: &'p Passing,
    shape: Shape,
}

macro_rules! visit {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value).map_err(|problem| self.passing.send(problem))
        })*
    };
}

impl<'a, V: Visitor<'a>> Visitor<'a> for Meant<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    visit!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<V::Value, E> {
        let read = match self.shape {
            _ if text.contains('\0') => Err(Problem::expected("a string without U+0000")),
            Shape::Variant => self.visitor.visit_enum(StrDeserializer::new(text)),
            Shape::Any | Shape::Object => self.visitor.visit_borrowed_str(text),
        };
        read.map_err(|problem| self.passing.send(problem))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        let read = match self.shape {
            _ if text.contains('\0') => Err(Problem::expected("a string without U+0000")),
            Shape::Variant => self.visitor.visit_enum(StrDeserializer::new(text)),
            Shape::Any | Shape::Object => self.visitor.visit_str(text),
        };
        read.map_err(|problem| self.passing.send(problem))
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit().map_err(|problem| self.passing.send(problem))
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none().map_err(|problem| self.passing.send(problem))
    }

    fn visit_some<D: Deserializer<'a>>(self, inner: D) -> Result<V::Value, D::Error> {
        let passing = self.passing;
        self.visitor.visit_some(Json { inner, passing }).map_err(|problem| passing.send(problem))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, inner: A) -> Result<V::Value, A::Error> {
        let passing = self.passing;
        match self.shape {
            Shape::Object => Err(passing.send(Problem::expected("an object"))),
            Shape::Any | Shape::Variant => {
                passing.inside(|| self.visitor.visit_seq(Elements { inner, passing, index: 0 }))
            }
        }
    }

    fn visit_map<A: MapAccess<'a>>(self, inner: A) -> Result<V::Value, A::Error> {
        let passing = self.passing;
        let members = Members { inner, passing, name: "".into() };
        passing.inside(|| match self.shape {
            Shape::Variant => self.visitor.visit_enum(MapAccessDeserializer::new(members)),
            Shape::Any | Shape::Object => self.visitor.visit_map(members),
        })
    }
}

/// The elements of an array.
struct Elements<'p, A> {
    inner: A,
    passing: &'p Passing,
    index: usize,
}

impl<'a, A: SeqAccess<'a>> SeqAccess<'a> for Elements<'_, A> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        let seed = Seed { seed, passing: self.passing };
        let element = self.inner.next_element_seed(seed);
        let element = element.map_err(|error| self.passing.receive(error).within(Step::Index(self.index)))?;
        self.index += 1;
        Ok(element)
    }
}

/// The members of an object.
struct Members<'a, 'p, A> {
    inner: A,
    passing: &'p Passing,
    /// Of the member whose value is read next.
    name: Cow<'a, str>,
}

impl<'a, A: MapAccess<'a>> MapAccess<'a> for Members<'a, '_, A> {
    type Error = Problem;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        let name = self.inner.next_key_seed(Name).map_err(|error| self.passing.receive(error))?;
        let Some(name) = name else { return Ok(None) };
        self.name = name.clone();
        seed.deserialize(Text(name)).map(Some).map_err(|problem| problem.within(self.step()))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        let seed = Seed { seed, passing: self.passing };
        let value = self.inner.next_value_seed(seed);
        value.map_err(|error| self.passing.receive(error).within(self.step()))
    }
}

impl<A> Members<'_, '_, A> {
    fn step(&self) -> Step {
        Step::Name(self.name.clone().into_owned())
    }
}

/// Reads a value inside another one.
struct Seed<'p, S> {
    seed: S,
    passing: &'p Passing,
}

impl<'a, S: DeserializeSeed<'a>> DeserializeSeed<'a> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'a>>(self, inner: D) -> Result<S::Value, D::Error> {
        let passing = self.passing;
        self.seed.deserialize(Json { inner, passing }).map_err(|problem| passing.send(problem))
    }
}

#[cfg(test)]
mod tests;
