//! JSON, by serde's derive: a layer over serde_json that knows where an error is and what was expected there.
//!
//! serde_json's own errors have neither as data, and describing what was found links 24 KiB of tables. So every type is
//! read through `deserialize_any`, and the visitor that was meant answers with a [`Problem`]. That passes through
//! serde_json in a cell, beside an empty error of its own. It is stricter than serde_json: an object is not read from
//! an array, and a string with U+0000, which Postgres cannot store, is refused.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use core::cell::Cell;
use core::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use super::text::Text;
use super::{DIGITS, Problem, Step};

/// Levels of arrays and objects in a type that contains itself. A handler has 16 KiB of stack.
const DEPTH_MAX: usize = 32;

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
    let passing = Passing { problem: Cell::new(None), depth: Cell::new(0) };
    let mut inner = serde_json::Deserializer::from_str(text);
    let value = read(Json { inner: &mut inner, passing: &passing })?;
    inner.end().map_err(Problem::malformed)?;
    Ok(value)
}

/// What passes by serde_json.
struct Passing {
    /// The problem that is on its way out.
    problem: Cell<Option<Problem>>,
    /// How many arrays and objects the value that is read is in.
    depth: Cell<usize>,
}

impl Passing {
    fn send<E: Error>(&self, problem: Problem) -> E {
        self.problem.set(Some(problem));
        E::custom("")
    }

    /// Reads the inside of an array or an object.
    fn inside<T, E: Error>(&self, read: impl FnOnce() -> Result<T, Problem>) -> Result<T, E> {
        let depth = self.depth.replace(self.depth.get() + 1);
        let value = if depth < DEPTH_MAX { read() } else { Err(Problem::expected("at most 32 levels")) };
        self.depth.set(depth);
        value.map_err(|problem| self.send(problem))
    }

    /// Without a problem of ours it is serde_json's: the text is not JSON.
    fn receive(&self, error: impl fmt::Display) -> Problem {
        self.problem.take().unwrap_or_else(|| Problem::malformed(error))
    }
}

/// A deserializer of serde_json, as we hand it to the type that reads.
struct Json<'p, D> {
    inner: D,
    passing: &'p Passing,
}

impl<'a, 'p, D: Deserializer<'a>> Json<'p, D> {
    fn meant<V: Visitor<'a>>(&self, visitor: V) -> Meant<'p, V> {
        Meant { visitor, passing: self.passing, object: false }
    }
}

impl<'a, D: Deserializer<'a>> Deserializer<'a> for Json<'_, D> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        let meant = self.meant(visitor);
        self.inner.deserialize_any(meant).map_err(|error| self.passing.receive(error))
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        let meant = self.meant(visitor);
        self.inner.deserialize_option(meant).map_err(|error| self.passing.receive(error))
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let meant = Meant { object: true, ..self.meant(visitor) };
        self.inner.deserialize_any(meant).map_err(|error| self.passing.receive(error))
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let meant = Variant { visitor, passing: self.passing };
        self.inner.deserialize_any(meant).map_err(|error| self.passing.receive(error))
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Problem> {
        if name == DIGITS {
            let raw = <&RawValue>::deserialize(self.inner).map_err(|error| self.passing.receive(error))?.get();
            return if raw.starts_with('"') {
                read::<Cow<'_, str>>(raw.as_bytes()).and_then(|text| visitor.visit_str(&text))
            } else {
                visitor.visit_str(raw)
            };
        }
        // How serde_json hands over a value as its text.
        if name.starts_with("$serde_json::private::") {
            let meant = self.meant(visitor);
            return self.inner.deserialize_newtype_struct(name, meant).map_err(|error| self.passing.receive(error));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        // Skipping takes no stack, however deep the value is.
        self.inner.deserialize_ignored_any(IgnoredAny).map_err(|error| self.passing.receive(error))?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// The visitor that was meant, as serde_json sees it: it accepts every type, and passes on the problem of the other.
struct Meant<'p, V> {
    visitor: V,
    passing: &'p Passing,
    /// Whether an array is refused, which a derived struct would accept.
    object: bool,
}

macro_rules! visit {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value).map_err(|problem| self.passing.send(problem))
        })*
    };
}

macro_rules! visit_text {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: Error>(self, text: $type) -> Result<V::Value, E> {
            let text = storable(text).map_err(|problem| self.passing.send(problem))?;
            self.visitor.$method(text).map_err(|problem| self.passing.send(problem))
        })*
    };
}

impl<'a, V: Visitor<'a>> Visitor<'a> for Meant<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    visit!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
    visit_text!(visit_borrowed_str: &'a str, visit_str: &str, visit_string: String);

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
        if self.object {
            return Err(passing.send(Problem::expected("an object")));
        }
        passing.inside(|| self.visitor.visit_seq(Elements { inner, passing, index: 0 }))
    }

    fn visit_map<A: MapAccess<'a>>(self, inner: A) -> Result<V::Value, A::Error> {
        let passing = self.passing;
        passing.inside(|| self.visitor.visit_map(Members { inner, passing, name: "".into() }))
    }
}

/// The visitor of an enum: a string is a variant without content, an object with one member a variant with.
struct Variant<'p, V> {
    visitor: V,
    passing: &'p Passing,
}

impl<'a, V: Visitor<'a>> Visitor<'a> for Variant<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<V::Value, E> {
        self.visitor.visit_enum(StrDeserializer::new(name)).map_err(|problem| self.passing.send(problem))
    }

    fn visit_map<A: MapAccess<'a>>(self, inner: A) -> Result<V::Value, A::Error> {
        let passing = self.passing;
        let members = MapAccessDeserializer::new(Members { inner, passing, name: "".into() });
        passing.inside(|| self.visitor.visit_enum(members))
    }

    // Everything else is refused by us: serde's defaults would describe it.

    fn visit_bool<E: Error>(self, _: bool) -> Result<V::Value, E> {
        Err(self.neither())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<V::Value, E> {
        Err(self.neither())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<V::Value, E> {
        Err(self.neither())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<V::Value, E> {
        Err(self.neither())
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        Err(self.neither())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, _: A) -> Result<V::Value, A::Error> {
        Err(self.neither())
    }
}

impl<'a, V: Visitor<'a>> Variant<'_, V> {
    fn neither<E: Error>(self) -> E {
        self.passing.send(Problem::invalid_type(serde::de::Unexpected::Enum, &self.visitor))
    }
}

fn storable<T: AsRef<str>>(text: T) -> Result<T, Problem> {
    if text.as_ref().contains('\0') { Err(Problem::expected("a string without U+0000")) } else { Ok(text) }
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

/// Reads the name of a member, without copying it unless it has escapes.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, inner: D) -> Result<Self::Value, D::Error> {
        inner.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
