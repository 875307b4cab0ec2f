//! Names with texts, by serde's derive: a query string, a form, the config of the manifest.
//!
//! In a query string or form a name that is repeated is a list; where one value is wanted, it is refused. In the
//! config, lists and tables are JSON.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::iter::{Chain, Once, once};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::text::Text;
use super::{Problem, Step, json};

/// More fields than a person fills in. Each name is compared with those before it.
const PAIRS_MAX: usize = 256;

/// Reads a struct or a map from a query string or a form.
pub(crate) fn read<'a, T: Deserialize<'a>>(
    pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Result<T, Problem> {
    let pairs: Vec<_> = pairs.take(PAIRS_MAX + 1).collect();
    if pairs.len() > PAIRS_MAX {
        return Err(Problem::expected("at most 256 fields"));
    }
    T::deserialize(Pairs { pairs, at: 0, lists: Lists::Repeated })
}

/// Reads a struct or a map from texts, of which arrays and objects are JSON.
pub(crate) fn read_config<'a, T: Deserialize<'a>>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<T, Problem> {
    let pairs = pairs.map(|(name, value)| (name.into(), value.into())).collect();
    T::deserialize(Pairs { pairs, at: 0, lists: Lists::Json })
}

/// How a list is written.
#[derive(Clone, Copy)]
enum Lists {
    /// As the same name several times.
    Repeated,
    /// As JSON; so are objects.
    Json,
}

struct Pairs<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The pair whose value is read next.
    at: usize,
    lists: Lists,
}

impl<'a> Deserializer<'a> for Pairs<'a> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_map(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! { <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'a> MapAccess<'a> for Pairs<'a> {
    type Error = Problem;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        // The values of a name are handed over with its first.
        let seen = |at: usize| self.pairs[..at].iter().any(|(name, _)| *name == self.pairs[at].0);
        self.at = (self.at..self.pairs.len()).find(|at| !seen(*at)).unwrap_or(self.pairs.len());
        let Some((name, _)) = self.pairs.get(self.at) else { return Ok(None) };
        let key = seed.deserialize(Text(name.clone()));
        key.map(Some).map_err(|problem| problem.within(Step::Name(name.clone().into_owned())))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        let Some([(name, first), rest @ ..]) = self.pairs.get_mut(self.at..) else {
            return Err(Problem::expected("a value"));
        };
        let more = rest.iter_mut().filter(|(other, _)| other == name).map(|(_, value)| core::mem::take(value));
        let values = Values { first: core::mem::take(first), more: more.collect(), lists: self.lists };
        self.at += 1;
        seed.deserialize(values).map_err(|problem| problem.within(Step::Name(name.clone().into_owned())))
    }
}

/// The values of one name.
struct Values<'a> {
    first: Cow<'a, str>,
    more: Vec<Cow<'a, str>>,
    lists: Lists,
}

impl<'a> Values<'a> {
    fn only(self) -> Result<Text<'a>, Problem> {
        if self.more.is_empty() {
            Ok(Text(self.first))
        } else {
            Err(Problem::expected("one value, and there are several"))
        }
    }

    fn json<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        match (self.lists, self.first) {
            (Lists::Json, Cow::Borrowed(text)) => json::read_with(text, visitor),
            _ => Err(Problem::invalid_type(Unexpected::Other(""), &visitor)),
        }
    }
}

macro_rules! only {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
            self.only()?.$method(visitor)
        })*
    };
}

impl<'a> Deserializer<'a> for Values<'a> {
    type Error = Problem;

    only! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.first.is_empty() && self.more.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Problem> {
        if name == super::DIGITS {
            return self.only()?.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.lists {
            Lists::Repeated => visitor.visit_seq(Elements { values: once(self.first).chain(self.more), index: 0 }),
            Lists::Json => self.json(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.json(visitor)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.json(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { <V: Visitor<'a>>
        i128 u128 char str string bytes byte_buf unit unit_struct tuple_struct identifier
    }
}

/// The values of a name that is a list.
struct Elements<'a> {
    values: Chain<Once<Cow<'a, str>>, alloc::vec::IntoIter<Cow<'a, str>>>,
    index: usize,
}

impl<'a> SeqAccess<'a> for Elements<'a> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        let Some(value) = self.values.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Text(value)).map(Some).map_err(|problem| problem.within(Step::Index(index)))
    }
}

#[cfg(test)]
mod tests;
