//! A strict reader of JSON bodies: one object, the members a handler knows, each at most once.
//!
//! It refuses what is not exactly one JSON object in UTF-8, and a known member that appears twice; unknown members
//! are skipped, however deep or long. It allocates only for strings with escapes. Its errors never quote the body: a
//! message about 8 KiB of control characters would be five times as long and not fit. A handler may use serde's derive
//! instead, but a derived struct also accepts an array.

use alloc::borrow::{Cow, ToOwned};
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The value of one member, distinguished only as far as validation needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Member<'a> {
    /// There is no such member.
    Missing,
    /// A number without fraction and exponent that an `i64` holds.
    Integer(i64),
    /// A string, its escapes decoded.
    Text(Cow<'a, str>),
    /// null, a boolean, any other number, an array or an object.
    Other,
}

/// Why a body is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is not exactly one JSON object.
    NotAnObject,
    /// One of the known members appears twice, so it is ambiguous which one counts.
    Repeated,
}

/// The members of these names, in this order.
///
/// # Errors
/// [`Malformed`], wherever the mistake is: a body that is cut off has no members at all.
pub fn object<'a, const N: usize>(body: &'a [u8], names: [&str; N]) -> Result<[Member<'a>; N], Malformed> {
    // serde_json does not validate strings that it skips, so the whole body is checked here.
    let text = str::from_utf8(body).map_err(|_| Malformed::NotAnObject)?;
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(Malformed::NotAnObject);
    }
    let mut members = [const { Member::Missing }; N];
    let mut repeated = false;
    let reader = Reader { names: &names, members: &mut members, repeated: &mut repeated };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize(&mut deserializer).and_then(|_| deserializer.end());
    match read {
        Err(_) => Err(Malformed::NotAnObject),
        Ok(()) if repeated => Err(Malformed::Repeated),
        Ok(()) => Ok(members),
    }
}

/// Reads any value. Of an object it keeps the members whose names it knows; the values inside are read with no names
/// known.
///
/// Only invalid JSON is an error here: a value of the wrong type is a [`Member::Other`]. If the visitor lacked one of
/// these methods, serde_json would describe what it found instead, which needs 24 KiB of tables.
struct Reader<'m, 'a> {
    names: &'m [&'m str],
    members: &'m mut [Member<'a>],
    repeated: &'m mut bool,
}

impl<'a> DeserializeSeed<'a> for Reader<'_, 'a> {
    type Value = Member<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Reader<'_, 'a> {
    type Value = Member<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Member::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Member::Other, Member::Integer))
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while let Some(known) = map.next_key_seed(Name { names: self.names })? {
            let Some(member) = known.and_then(|at| self.members.get_mut(at)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            *self.repeated |= !matches!(member, Member::Missing);
            *member = map.next_value_seed(Reader { names: &[], members: &mut [], repeated: &mut false })?;
        }
        Ok(Member::Other)
    }
}

/// Finds a key among the known names.
struct Name<'m> {
    names: &'m [&'m str],
}

impl<'a> DeserializeSeed<'a> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.names.iter().position(|name| *name == key))
    }
}

#[cfg(test)]
mod tests;
