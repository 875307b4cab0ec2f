//! How each Postgres type is handled: how a parameter is sent and a column is read, or that the contract has no value
//! for it. Only this module decides that; `value` writes and reads, `catalogue` refuses, `statement` casts.

use tokio_postgres::types::{Kind, Type};

use super::spelling;

/// How a parameter of a type is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Sent {
    Boolean,
    Smallint,
    Integer,
    Bigint,
    Real,
    Double,
    Text,
    Bytes,
    Timestamp,
    /// As a text that Postgres parses.
    Spelled,
    /// As a JSON text.
    Json,
    /// As an array literal, converted from a JSON array.
    Array,
}

pub(in crate::database) fn sent(ty: &Type) -> Option<Sent> {
    Some(match *ty {
        Type::BOOL => Sent::Boolean,
        Type::INT2 => Sent::Smallint,
        Type::INT4 => Sent::Integer,
        Type::INT8 => Sent::Bigint,
        Type::FLOAT4 => Sent::Real,
        Type::FLOAT8 => Sent::Double,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => Sent::Text,
        Type::BYTEA => Sent::Bytes,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => Sent::Timestamp,
        Type::JSON | Type::JSONB => Sent::Json,
        // Arrays by their kind, but their text form is not an array literal.
        Type::INT2_VECTOR | Type::OID_VECTOR => Sent::Spelled,
        _ => match ty.kind() {
            Kind::Domain(of) => sent(of)?,
            // The one type whose elements are not separated by commas.
            Kind::Array(Type::BOX) => return None,
            Kind::Array(of) => match sent(of)? {
                Sent::Array => return None,
                _ => Sent::Array,
            },
            Kind::Simple | Kind::Enum(_) | Kind::Range(_) | Kind::Multirange(_) => Sent::Spelled,
            _ => return None,
        },
    })
}

/// The base type of a domain, through nested domains; any other type itself.
pub(in crate::database) fn base(ty: &Type) -> &Type {
    match ty.kind() {
        Kind::Domain(of) => base(of),
        _ => ty,
    }
}

/// The name of a type in messages: `int4`, `int4[]`.
pub(in crate::database) fn named(ty: &Type) -> String {
    match ty.kind() {
        Kind::Array(of) => format!("{}[]", named(of)),
        _ => ty.name().to_owned(),
    }
}

/// Whether the contract has a value for a parameter of this type.
pub fn supported(ty: &Type) -> bool {
    sent(ty).is_some()
}

/// Whether a parameter of this type can also be the element of an array.
pub(in crate::database) fn travels_in_array(ty: &Type) -> bool {
    sent(ty).is_some_and(|sent| sent != Sent::Array) && *base(ty) != Type::BOX
}

/// Whether equal values of this type are always written the same.
pub(in crate::database) fn has_one_spelling(ty: &Type) -> bool {
    // Postgres ignores spaces at the end of a char(n), and the sign of zero.
    if [Type::BPCHAR, Type::FLOAT4, Type::FLOAT8].contains(base(ty)) {
        return false;
    }
    match sent(ty) {
        Some(Sent::Spelled) => matches!(base(ty).kind(), Kind::Enum(_)),
        Some(Sent::Array | Sent::Json) | None => false,
        Some(_) => true,
    }
}

/// Whether a column of this type can be read without a cast.
pub(in crate::database) fn readable(ty: &Type) -> bool {
    spelling::is_scalar(ty) || element_read(ty).is_some()
}

/// The element type of an array that can be read without a cast.
pub(super) fn element_read(ty: &Type) -> Option<&Type> {
    match ty.kind() {
        Kind::Array(of) if sent(ty) == Some(Sent::Array) && spelling::is_scalar(of) => Some(of),
        _ => None,
    }
}

/// The cast that a column needs so that it can be read. Postgres reports a domain as its base type.
pub(in crate::database) enum Read {
    AsIs,
    Text,
    Texts,
    /// An array of a domain, cast to an array of this base type.
    ArrayOf(Type),
}

/// How a column is read; `None` when the contract has no value for it.
pub(in crate::database) fn read(ty: &Type) -> Option<Read> {
    Some(match ty.kind() {
        _ if readable(ty) => Read::AsIs,
        Kind::Array(of) => match sent(ty)? {
            Sent::Array if spelling::is_scalar(base(of)) => Read::ArrayOf(base(of).clone()),
            Sent::Array => Read::Texts,
            _ => Read::Text,
        },
        _ => sent(ty).map(|_| Read::Text)?,
    })
}
