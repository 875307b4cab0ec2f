//! Rows as JSON: an object for each row, an array of all of them.
//!
//! It neither selects nor renames columns: a handler that answers with something other than its procedure's rows
//! defines a struct.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error as _, SerializeMap as _};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Row;
use crate::{Rows, Timestamp, Value};

/// See [`Rows::objects`].
pub(super) struct Objects<'a>(pub(super) &'a Rows);

impl Serialize for Objects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, value) in self.columns.iter().zip(self.values) {
            object.serialize_entry(column, &Cell { column, value })?;
        }
        object.end()
    }
}

/// A value, and the column to name when it cannot be JSON.
struct Cell<'a> {
    column: &'a str,
    value: &'a Value,
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let column = self.column;
        match self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Boolean(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => serializer.serialize_i64(*value),
            // serde_json would write `null`, as if there were no value.
            Value::Float(value) if !value.is_finite() => {
                // Formatting a float would link 16 KiB of code into every handler that shows a row.
                let value = if value.is_nan() { "NaN" } else { "infinite" };
                Err(S::Error::custom(format_args!("column {column} is {value}, which JSON cannot represent")))
            }
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::Json(value) => match serde_json::from_str::<&RawValue>(value) {
                Ok(json) => json.serialize(serializer),
                Err(error) => Err(S::Error::custom(format_args!("column {column} is not JSON: {error}"))),
            },
            Value::Bytes(value) => serializer.collect_str(&Base64Display::new(value, &STANDARD)),
            Value::Timestamp(micros) => match Timestamp::from_micros(*micros) {
                Some(timestamp) => timestamp.serialize(serializer),
                None => Err(S::Error::custom(format_args!("column {column} is not within the years 1 to 9999"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;
    use crate::{Response, test};

    fn json(rows: &Rows) -> String {
        serde_json::to_string(&rows.objects()).unwrap()
    }

    #[test]
    fn a_row_is_an_object_of_its_columns_in_their_order() {
        let rows = test::rows(
            ["list", "z", "flag", "number", "ratio", "a \"name\"", "raw", "at"],
            [[
                Value::Json(r#"[1, {"a":null}]"#.into()),
                Value::Null,
                true.into(),
                i64::MIN.into(),
                0.5.into(),
                "ga\"lo\n".into(),
                Vec::from(*b"\x00\xff").into(),
                Value::Timestamp(1_705_458_881_217_753),
            ]],
        );
        let object = concat!(
            r#"{"list":[1, {"a":null}],"z":null,"flag":true,"number":-9223372036854775808,"ratio":0.5,"a \"name\"":"ga\"lo\n","#,
            r#""raw":"AP8=","at":"2024-01-17T02:34:41.217753Z"}"#,
        );
        test::assert_json(&Response::json(200, &rows.first().unwrap()), 200, object);
        assert_eq!(json(&rows), ["[", object, "]"].concat());
    }

    #[test]
    fn rows_become_an_array_in_their_order() {
        assert_eq!(
            json(&test::rows(["b", "a"], [[1.into(), 2.into()], [3.into(), 4.into()]])),
            r#"[{"b":1,"a":2},{"b":3,"a":4}]"#
        );
        assert_eq!(json(&test::rows(["a"], [])), "[]");
    }

    #[test]
    fn bytes_are_base64_with_padding() {
        for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"foobar", "Zm9vYmFy"), (b"\xfb\xff\xfe", "+//+")] {
            let rows = test::rows(["x"], [[Vec::from(bytes).into()]]);
            assert_eq!(json(&rows), [r#"[{"x":""#, text, r#""}]"#].concat());
        }
    }

    #[test]
    fn a_value_that_json_cannot_represent_is_an_error_that_names_the_column() {
        for (value, error) in [
            (f64::NAN.into(), "column x is NaN, which JSON cannot represent"),
            (f64::NEG_INFINITY.into(), "column x is infinite, which JSON cannot represent"),
            (Value::Json("{".into()), "column x is not JSON: EOF while parsing an object at line 1 column 1"),
            (Value::Timestamp(i64::MAX), "column x is not within the years 1 to 9999"),
        ] {
            let rows = test::rows(["x"], [[value]]);
            assert_eq!(serde_json::to_string(&rows.first().unwrap()).unwrap_err().to_string(), error);
        }
    }
}
