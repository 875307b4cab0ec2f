//! One value of the contract, as an example writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::contract;

/// One value of the contract.
#[derive(Serialize, Deserialize, Clone)]
#[serde(untagged)]
pub(super) enum Cell {
    Null(()),
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Timestamp { timestamp: Timestamp },
    Bytes { base64: String },
    Json { json: Json },
}

impl Cell {
    pub(super) fn of(value: &contract::Value) -> Self {
        match value {
            contract::Value::Null => Self::Null(()),
            contract::Value::Boolean(value) => Self::Boolean(*value),
            contract::Value::Integer(value) => Self::Integer(*value),
            contract::Value::Float(value) => Self::Float(*value),
            contract::Value::Text(value) => Self::Text(value.clone()),
            // A text that is not JSON is shown as it is.
            contract::Value::Json(text) => match serde_json::from_str(text) {
                Ok(json) => Self::Json { json },
                Err(_) => Self::Text(format!("json {text}")),
            },
            contract::Value::Bytes(value) => Self::Bytes { base64: BASE64.encode(value) },
            // A timestamp outside the calendar is shown as a number.
            contract::Value::Timestamp(micros) => match Timestamp::from_microsecond(*micros) {
                Ok(timestamp) => Self::Timestamp { timestamp },
                Err(_) => Self::Text(format!("timestamp {micros}")),
            },
        }
    }

    pub(super) fn to_contract(&self) -> Result<contract::Value, String> {
        Ok(match self {
            Self::Null(()) => contract::Value::Null,
            Self::Boolean(value) => contract::Value::Boolean(*value),
            Self::Integer(value) => contract::Value::Integer(*value),
            Self::Float(value) => contract::Value::Float(*value),
            Self::Text(value) => contract::Value::Text(value.clone()),
            Self::Timestamp { timestamp } => contract::Value::Timestamp(timestamp.as_microsecond()),
            Self::Bytes { base64 } => contract::Value::Bytes(decode(base64)?),
            Self::Json { json } => contract::Value::Json(json.to_string()),
        })
    }
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| format!("`{text}` is not base64: {error}"))
}
