//! Values and bytes of the contract in a record. Nothing is lost: what is read back equals what was written, bit for
//! bit. (An example writes them for people, and may lose the spelling of a JSON text.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::contract::Value;

/// One value of the contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// `null`
    Null,
    /// `{"boolean":true}`
    Boolean(bool),
    /// `{"integer":1}`
    Integer(i64),
    /// `{"float":"0.1"}`: the shortest text that is read as the same number. JSON has no infinity.
    Float(String),
    /// `{"text":"a"}`
    Text(String),
    /// `{"bytes":"text"}` or `{"bytes":{"base64":"/w=="}}`
    Bytes(Blob),
    /// `{"timestamp":0}`: microseconds since 1970.
    Timestamp(i64),
    /// `{"json":"{\"a\": 1}"}`: its text, as Postgres wrote it.
    Json(String),
}

/// Some bytes: as text where they are one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Blob {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Base64 {
        /// The bytes in base64.
        base64: String,
    },
}

impl Blob {
    /// As a record writes these bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes)
            .map_or_else(|error| Self::Base64 { base64: BASE64.encode(error.as_bytes()) }, Self::Text)
    }

    /// The bytes.
    ///
    /// # Errors
    /// What is wrong with their base64.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Base64 { base64 } => BASE64.decode(base64).map_err(|error| format!("`base64`: {error}")),
        }
    }
}

impl Cell {
    /// As a record writes this value.
    pub fn of(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Float(value) => Self::Float(value.to_string()),
            Value::Text(value) => Self::Text(value),
            Value::Bytes(value) => Self::Bytes(Blob::of(value)),
            Value::Timestamp(value) => Self::Timestamp(value),
            Value::Json(value) => Self::Json(value),
        }
    }

    /// The value.
    ///
    /// # Errors
    /// What is wrong with its text.
    pub fn value(&self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Float(text) => Value::Float(text.parse().map_err(|_| format!("`float`: `{text}` is not a number"))?),
            Self::Text(value) => Value::Text(value.clone()),
            Self::Bytes(blob) => Value::Bytes(blob.bytes()?),
            Self::Timestamp(value) => Value::Timestamp(*value),
            Self::Json(value) => Value::Json(value.clone()),
        })
    }

    /// As plain JSON, for people: what JSON has a value for is that value, and a moment is written as in an example.
    pub fn plain(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Boolean(value) => Json::from(*value),
            Self::Integer(value) => Json::from(*value),
            Self::Text(value) => Json::from(value.as_str()),
            Self::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::from(text.as_str())),
            Self::Timestamp(us) => match Timestamp::from_microsecond(*us) {
                Ok(at) => json!({ "timestamp": format!("{at:.6}") }),
                Err(_) => json!({ "timestamp": us }),
            },
            Self::Float(_) | Self::Bytes(_) => serde_json::to_value(self).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Float),
            any::<String>().prop_map(Value::Text),
            any::<Vec<u8>>().prop_map(Value::Bytes),
            any::<i64>().prop_map(Value::Timestamp),
            any::<String>().prop_map(Value::Json),
        ]
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_what_was_written(value in value()) {
            let text = serde_json::to_string(&Cell::of(value.clone())).unwrap();
            let back = serde_json::from_str::<Cell>(&text).unwrap().value().unwrap();
            match (&value, &back) {
                (Value::Float(a), Value::Float(b)) if a.is_nan() => prop_assert!(b.is_nan()),
                (Value::Float(a), Value::Float(b)) => prop_assert_eq!(a.to_bits(), b.to_bits()),
                _ => prop_assert_eq!(&value, &back),
            }
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_the_reason() {
        let refused = |text| serde_json::from_str::<Cell>(text).unwrap().value().unwrap_err();
        assert_eq!(refused(r#"{"float":"one"}"#), "`float`: `one` is not a number");
        assert!(refused(r#"{"bytes":{"base64":"?"}}"#).starts_with("`base64`: "));
    }
}
