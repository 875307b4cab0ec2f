//! The contract's values on the wire of Postgres, both ways, in its binary format; json, jsonb and uuid go out as
//! text, so that Postgres itself judges them.
//!
//! A value is checked against its parameter before anything is sent (`check`): what does not fit is the guest's fault.

use std::error::Error;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};

use crate::contract::Value;

/// Microseconds from 1970-01-01, where the contract counts from, to 2000-01-01, where Postgres does.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// The moments of Postgres, in its own count: from 4714 BC to the end of 294276. Outside are infinity and -infinity.
const MOMENTS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Whether the contract has a value for this type.
pub fn supported(ty: &Type) -> bool {
    kind(ty).is_some()
}

/// Whether it can also be the element of an array, where everything is binary.
pub fn travels_in_array(ty: &Type) -> bool {
    kind(ty).is_some_and(|kind| kind != Kind::Parsed)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    Float,
    Text,
    /// Goes out as text, and comes back as text or, in binary, as what it is.
    Parsed,
    Bytes,
    Timestamp,
}

fn kind(ty: &Type) -> Option<Kind> {
    Some(match *ty {
        Type::BOOL => Kind::Boolean,
        Type::INT2 | Type::INT4 | Type::INT8 => Kind::Integer,
        Type::FLOAT4 | Type::FLOAT8 => Kind::Float,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => Kind::Text,
        Type::JSON | Type::JSONB | Type::UUID => Kind::Parsed,
        Type::BYTEA => Kind::Bytes,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => Kind::Timestamp,
        _ => return None,
    })
}

/// Whether a value can be sent as this type.
///
/// # Errors
/// Why not, in words.
pub fn check(value: &Value, ty: &Type) -> Result<(), String> {
    let fits = match (value, kind(ty)) {
        (Value::Null, Some(_)) => true,
        (Value::Boolean(_), Some(Kind::Boolean)) => true,
        (Value::Integer(n), Some(Kind::Integer)) => match *ty {
            Type::INT2 => i16::try_from(*n).is_ok(),
            Type::INT4 => i32::try_from(*n).is_ok(),
            _ => true,
        },
        (Value::Float(_), Some(Kind::Float)) => true,
        // Postgres has no U+0000 in any text.
        (Value::Text(text), Some(Kind::Text | Kind::Parsed)) => !text.contains('\0'),
        (Value::Bytes(_), Some(Kind::Bytes)) => true,
        (Value::Timestamp(us), Some(Kind::Timestamp)) => moment(*us).is_some(),
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("{} does not fit {}", shown(value), ty.name())) }
}

/// A value in a log line: its case, and a number where that is the point.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(_) => "a boolean".to_owned(),
        Value::Integer(n) => format!("the integer {n}"),
        Value::Float(_) => "a float".to_owned(),
        Value::Text(text) if text.contains('\0') => "a text with U+0000".to_owned(),
        Value::Text(_) => "a text".to_owned(),
        Value::Bytes(_) => "bytes".to_owned(),
        Value::Timestamp(us) => format!("the timestamp {us}"),
    }
}

/// An argument on its way out; it was checked.
#[derive(Debug)]
pub struct Argument<'a>(pub &'a Value);

impl ToSql for Argument<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self.0, ty) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Boolean(b), &Type::BOOL) => out.extend_from_slice(&[u8::from(*b)]),
            (Value::Integer(n), &Type::INT2) => out.extend_from_slice(&i16::try_from(*n)?.to_be_bytes()),
            (Value::Integer(n), &Type::INT4) => out.extend_from_slice(&i32::try_from(*n)?.to_be_bytes()),
            (Value::Integer(n), &Type::INT8) => out.extend_from_slice(&n.to_be_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "real is less precise; that is the procedure's choice")]
            (Value::Float(x), &Type::FLOAT4) => out.extend_from_slice(&(*x as f32).to_be_bytes()),
            (Value::Float(x), &Type::FLOAT8) => out.extend_from_slice(&x.to_be_bytes()),
            (Value::Text(text), ty) if matches!(kind(ty), Some(Kind::Text | Kind::Parsed)) => {
                out.extend_from_slice(text.as_bytes());
            }
            (Value::Bytes(bytes), &Type::BYTEA) => out.extend_from_slice(bytes),
            (Value::Timestamp(us), &Type::TIMESTAMP | &Type::TIMESTAMPTZ) => {
                let us = moment(*us).ok_or("timestamp out of range")?;
                out.extend_from_slice(&us.to_be_bytes());
            }
            (value, ty) => return Err(format!("{} does not fit {}", shown(value), ty.name()).into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        supported(ty)
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if kind(ty) == Some(Kind::Parsed) { Format::Text } else { Format::Binary }
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A value on its way back.
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
            Type::UUID => Value::Text(uuid(raw)),
            // A version byte, 1, stands in front of the text.
            Type::JSONB => Value::Text(String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                let us = i64::from_be_bytes(raw.try_into()?);
                let inside = MOMENTS.contains(&us).then_some(us).and_then(|us| us.checked_add(POSTGRES_EPOCH_US));
                Value::Timestamp(inside.ok_or("the timestamp is infinite, or after the year 294246")?)
            }
            _ => Value::Text(String::from_utf8(raw.to_vec())?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        supported(ty)
    }
}

/// A timestamp of the contract in the count of Postgres, if Postgres has it.
fn moment(us: i64) -> Option<i64> {
    us.checked_sub(POSTGRES_EPOCH_US).filter(|us| MOMENTS.contains(us))
}

/// 8-4-4-4-12 hexadecimal digits.
fn uuid(raw: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in raw.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
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
            (Value::Text("çã".to_owned()), Type::VARCHAR),
            (Value::Text("{}".to_owned()), Type::JSONB),
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
                // What would go out as -infinity.
                Value::Timestamp(i64::MIN + POSTGRES_EPOCH_US),
                Type::TIMESTAMPTZ,
                "the timestamp -9222425352054775808 does not fit timestamptz",
            ),
            (Value::Null, Type::NUMERIC, "null does not fit numeric"),
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
