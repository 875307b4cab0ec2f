//! Values in both directions: bytes from a server cause no panic, and a value that passes the check can be written and,
//! where it is sent in binary, read back.

#![no_main]

use galo::contract::Value;
use galo::database::value::{self, Argument, Returned};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql as _, IsNull, ToSql as _, Type};

const TYPES: [Type; 26] = [
    Type::BOOL, Type::INT2, Type::INT4, Type::INT8, Type::FLOAT4, Type::FLOAT8, Type::TEXT, Type::VARCHAR, Type::BPCHAR,
    Type::NAME, Type::JSON, Type::JSONB, Type::UUID, Type::BYTEA, Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::NUMERIC,
    Type::DATE, Type::TIME, Type::TIMETZ, Type::INTERVAL, Type::INET, Type::CIDR, Type::INT4_ARRAY, Type::TEXT_ARRAY,
    Type::NUMERIC_ARRAY,
];

#[derive(Arbitrary, Debug)]
enum Given<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Timestamp(i64),
    Raw(&'a [u8]),
}

fuzz_target!(|given: (u8, Given)| {
    let (index, given) = given;
    let ty = &TYPES[usize::from(index) % TYPES.len()];
    let value = match given {
        Given::Null => Value::Null,
        Given::Boolean(value) => Value::Boolean(value),
        Given::Integer(value) => Value::Integer(value),
        Given::Float(value) => Value::Float(value),
        Given::Text(value) => Value::Text(value.to_owned()),
        Given::Bytes(value) => Value::Bytes(value.to_vec()),
        Given::Timestamp(value) => Value::Timestamp(value),
        Given::Raw(raw) => {
            let _ = Returned::from_sql(ty, raw);
            return;
        }
    };
    let mut out = BytesMut::new();
    let written = Argument(&value).to_sql(ty, &mut out);
    if value::check(&value, ty).is_err() {
        return;
    }
    let parsed = matches!(Argument(&value).encode_format(ty), Format::Text) || *ty == Type::FLOAT4;
    if let IsNull::No = written.expect("it passed the check") && !parsed {
        match (Returned::from_sql(ty, &out), &value) {
            (Ok(Returned(Value::Float(back))), Value::Float(sent)) => assert_eq!(back.to_bits(), sent.to_bits()),
            (Ok(Returned(back)), sent) => assert_eq!(back, *sent),
            // Not every timestamp that can be written can be read back: infinity cannot.
            (Err(_), Value::Timestamp(_)) => {}
            (Err(error), sent) => panic!("{sent:?} as {ty} does not come back: {error}"),
        }
    }
});
