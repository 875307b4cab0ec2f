//! Converts the contract's values to and from the wire format of Postgres. A type that has a case in the contract is
//! sent in binary, and json as its text. Every other type is a text: it is sent as text, which Postgres parses, and is
//! returned in the spelling that Postgres uses; arrays are json.
//!
//! A value is checked against its parameter before anything is sent (`check`): what does not fit is the guest's fault.

mod array;
pub(super) mod kind;
mod spelling;
mod wellformed;

use std::error::Error;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};

use crate::contract::Value;
use crate::limits;
pub use kind::supported;
use kind::{Sent, base, element_read, named, readable, sent, travels_in_array};

/// Microseconds from 1970-01-01, the epoch of the contract, to 2000-01-01, the epoch of Postgres.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// The timestamps of Postgres, in microseconds from its epoch: from 4714 BC to the end of 294276. Infinity and
/// -infinity are outside.
const MOMENTS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Whether a value can be sent as this type.
///
/// # Errors
/// A description of why not.
pub fn check(value: &Value, ty: &Type) -> Result<(), String> {
    let fits = match (value, sent(ty)) {
        (Value::Null, Some(_)) => true,
        (Value::Boolean(_), Some(Sent::Boolean)) => true,
        (Value::Integer(n), Some(Sent::Smallint)) => i16::try_from(*n).is_ok(),
        (Value::Integer(n), Some(Sent::Integer)) => i32::try_from(*n).is_ok(),
        (Value::Integer(_), Some(Sent::Bigint)) => true,
        (Value::Float(_), Some(Sent::Real | Sent::Double)) => true,
        // Postgres does not accept U+0000 in a text.
        (Value::Text(text), Some(Sent::Text)) => !text.contains('\0'),
        (Value::Bytes(_), Some(Sent::Bytes)) => true,
        (Value::Timestamp(us), Some(Sent::Timestamp)) => moment(*us).is_some(),
        (Value::Text(text), Some(Sent::Spelled)) => {
            let checked = wellformed::check(text, base(ty));
            return checked.map_err(|expected| format!("a text does not fit {}: expected {expected}", named(ty)));
        }
        // Of the types that are sent as text, only a numeric accepts every integer.
        (Value::Integer(_), Some(Sent::Spelled)) => *base(ty) == Type::NUMERIC,
        (Value::Json(json), Some(Sent::Json)) => {
            let checked = wellformed::check(json, base(ty));
            return checked.map_err(|expected| format!("a json does not fit {}: expected {expected}", named(ty)));
        }
        (Value::Json(json), Some(Sent::Array)) => {
            let checked = literal(json, ty);
            return checked.map(drop).map_err(|wrong| format!("{wrong} does not fit {}", named(ty)));
        }
        (Value::Text(_), Some(Sent::Json | Sent::Array)) => {
            return Err(format!("a text does not fit {}: expected a json", named(ty)));
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("{} does not fit {}", shown(value), named(ty))) }
}

/// Converts a JSON array to an array literal.
fn literal(json: &str, ty: &Type) -> Result<String, String> {
    match base(ty).kind() {
        Kind::Array(of) => array::literal(base(of), json),
        _ => Err("a json".to_owned()),
    }
}

/// Describes a value for a log line: its case, and the number where that explains the mismatch.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(_) => "a boolean".to_owned(),
        Value::Integer(n) => format!("the integer {n}"),
        Value::Float(_) => "a float".to_owned(),
        Value::Text(text) if text.contains('\0') => "a text with U+0000".to_owned(),
        Value::Text(_) => "a text".to_owned(),
        Value::Json(_) => "a json".to_owned(),
        Value::Bytes(_) => "bytes".to_owned(),
        Value::Timestamp(us) => format!("the timestamp {us}"),
    }
}

/// An argument to send; it was checked.
#[derive(Debug)]
pub struct Argument<'a>(pub &'a Value);

impl ToSql for Argument<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self.0, sent(ty)) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Boolean(b), Some(Sent::Boolean)) => out.extend_from_slice(&[u8::from(*b)]),
            (Value::Integer(n), Some(Sent::Smallint)) => out.extend_from_slice(&i16::try_from(*n)?.to_be_bytes()),
            (Value::Integer(n), Some(Sent::Integer)) => out.extend_from_slice(&i32::try_from(*n)?.to_be_bytes()),
            (Value::Integer(n), Some(Sent::Bigint)) => out.extend_from_slice(&n.to_be_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "real is less precise; that is the procedure's choice")]
            (Value::Float(x), Some(Sent::Real)) => out.extend_from_slice(&(*x as f32).to_be_bytes()),
            (Value::Float(x), Some(Sent::Double)) => out.extend_from_slice(&x.to_be_bytes()),
            (Value::Text(text), Some(Sent::Text | Sent::Spelled)) | (Value::Json(text), Some(Sent::Json)) => {
                out.extend_from_slice(text.as_bytes());
            }
            (Value::Integer(n), Some(Sent::Spelled)) => out.extend_from_slice(n.to_string().as_bytes()),
            (Value::Json(json), Some(Sent::Array)) => out.extend_from_slice(literal(json, ty)?.as_bytes()),
            (Value::Bytes(bytes), Some(Sent::Bytes)) => out.extend_from_slice(bytes),
            (Value::Timestamp(us), Some(Sent::Timestamp)) => {
                let us = moment(*us).ok_or("timestamp out of range")?;
                out.extend_from_slice(&us.to_be_bytes());
            }
            (value, _) => return Err(format!("{} does not fit {}", shown(value), named(ty)).into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        supported(ty)
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if matches!(sent(ty), Some(Sent::Spelled | Sent::Json | Sent::Array)) { Format::Text } else { Format::Binary }
    }

    tokio_postgres::types::to_sql_checked!();
}

/// What all calls of a batch have for one parameter, sent as an array.
#[derive(Debug)]
pub(super) enum Arguments<'a> {
    /// The ordinals of so many calls, from 1.
    Ordinals(usize),
    /// Their arguments, which were checked.
    Given(Vec<Argument<'a>>),
}

/// The ordinals of a full batch.
static ORDINALS: [i32; limits::BATCH_CALLS_MAX] = {
    let mut ordinals = [0; limits::BATCH_CALLS_MAX];
    let (mut at, mut ordinal) = (0, 1);
    while at < ordinals.len() {
        ordinals[at] = ordinal;
        (at, ordinal) = (at + 1, ordinal + 1);
    }
    ordinals
};

/// The element type, if elements are sent as text.
fn spelled_element(ty: &Type) -> Option<&Type> {
    match ty.kind() {
        Kind::Array(of) if matches!(sent(of), Some(Sent::Spelled | Sent::Json)) => Some(of),
        _ => None,
    }
}

impl ToSql for Arguments<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let arguments = match self {
            Self::Ordinals(calls) => {
                return ORDINALS.get(..*calls).ok_or("more calls than a batch may have")?.to_sql(ty, out);
            }
            Self::Given(arguments) => arguments,
        };
        let Some(element) = spelled_element(ty) else { return arguments.to_sql(ty, out) };
        let mut literal = String::from("{");
        let mut spelled = BytesMut::new();
        for (index, argument) in arguments.iter().enumerate() {
            if index > 0 {
                literal.push(',');
            }
            spelled.clear();
            match argument.to_sql(element, &mut spelled)? {
                IsNull::Yes => literal.push_str("NULL"),
                IsNull::No => array::push_quoted(&mut literal, std::str::from_utf8(&spelled)?),
            }
        }
        literal.push('}');
        out.extend_from_slice(literal.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(of) if travels_in_array(of))
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if spelled_element(ty).is_some() { Format::Text } else { Format::Binary }
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A value that Postgres returned.
pub struct Returned(pub Value);

impl<'a> FromSql<'a> for Returned {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *ty {
            Type::BOOL => Value::Boolean(raw.first().is_some_and(|b| *b != 0)),
            Type::INT2 => Value::Integer(i16::from_be_bytes(raw.try_into()?).into()),
            Type::INT4 => Value::Integer(i32::from_be_bytes(raw.try_into()?).into()),
            Type::INT8 => Value::Integer(i64::from_be_bytes(raw.try_into()?)),
            Type::FLOAT4 => Value::Float(f32::from_be_bytes(raw.try_into()?).into()),
            Type::FLOAT8 => Value::Float(f64::from_be_bytes(raw.try_into()?)),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => Value::Text(String::from_utf8(raw.to_vec())?),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                let us = i64::from_be_bytes(raw.try_into()?);
                let inside = MOMENTS.contains(&us).then_some(us).and_then(|us| us.checked_add(POSTGRES_EPOCH_US));
                Value::Timestamp(inside.ok_or("the timestamp is infinite, or after the year 294246")?)
            }
            Type::JSON | Type::JSONB => Value::Json(spelling::spelled(ty, raw)?),
            _ => match element_read(ty) {
                Some(element) => Value::Json(array::json(element, raw)?),
                None => Value::Text(spelling::spelled(ty, raw)?),
            },
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        readable(ty)
    }
}

/// A timestamp of the contract in microseconds from the epoch of Postgres, if Postgres can represent it.
fn moment(us: i64) -> Option<i64> {
    us.checked_sub(POSTGRES_EPOCH_US).filter(|us| MOMENTS.contains(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_its_type_or_is_refused() {
        for (value, ty) in [
            (Value::Null, Type::INT4),
            (Value::Integer(i64::from(i32::MAX)), Type::INT4),
            (Value::Integer(i64::MIN), Type::INT8),
            (Value::Text("üß".to_owned()), Type::VARCHAR),
            (Value::Json("{}".to_owned()), Type::JSONB),
            (Value::Integer(1), Type::NUMERIC),
            (Value::Json("[1]".to_owned()), Type::INT4_ARRAY),
            (Value::Timestamp(0), Type::TIMESTAMPTZ),
            (Value::Timestamp(MOMENTS.start + POSTGRES_EPOCH_US), Type::TIMESTAMPTZ),
        ] {
            assert_eq!(check(&value, &ty), Ok(()), "{}", shown(&value));
        }
        for (value, ty, told) in [
            (Value::Integer(i64::from(i32::MAX) + 1), Type::INT4, "the integer 2147483648 does not fit int4"),
            (Value::Integer(1), Type::TEXT, "the integer 1 does not fit text"),
            (Value::Text("1".to_owned()), Type::INT4, "a text does not fit int4"),
            (Value::Text("a\0".to_owned()), Type::TEXT, "a text with U+0000 does not fit text"),
            (
                Value::Timestamp(i64::MIN),
                Type::TIMESTAMPTZ,
                "the timestamp -9223372036854775808 does not fit timestamptz",
            ),
            (
                // This would be sent as -infinity.
                Value::Timestamp(i64::MIN + POSTGRES_EPOCH_US),
                Type::TIMESTAMPTZ,
                "the timestamp -9222425352054775808 does not fit timestamptz",
            ),
            (Value::Float(0.5), Type::NUMERIC, "a float does not fit numeric"),
            (Value::Null, Type::RECORD, "null does not fit record"),
            (Value::Null, Type::BOX_ARRAY, "null does not fit box[]"),
            (Value::Integer(1), Type::INT4_ARRAY, "the integer 1 does not fit int4[]"),
            (Value::Text("[1]".to_owned()), Type::INT4_ARRAY, "a text does not fit int4[]: expected a json"),
            (Value::Text("{}".to_owned()), Type::JSONB, "a text does not fit jsonb: expected a json"),
            (Value::Json("{".to_owned()), Type::JSONB, "a json does not fit jsonb: expected JSON"),
            (Value::Json("\"a\"".to_owned()), Type::TEXT, "a json does not fit text"),
        ] {
            assert_eq!(check(&value, &ty), Err(told.to_owned()));
        }
    }

    #[test]
    fn an_infinite_timestamp_is_not_a_point_in_time() {
        let read = |us: i64| Returned::from_sql(&Type::TIMESTAMPTZ, &us.to_be_bytes());
        let last = i64::MAX - POSTGRES_EPOCH_US;
        assert!(read(0).is_ok() && read(MOMENTS.start).is_ok() && read(last).is_ok());
        for us in [i64::MIN, i64::MAX, MOMENTS.start - 1, last + 1] {
            assert!(read(us).is_err(), "{us}");
        }
    }
}
