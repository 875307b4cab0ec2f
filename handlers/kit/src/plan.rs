//! What `prepare` decides, and the values that a call carries.
//!
//! Conversions only.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Serialize;

use crate::panic::refuse;
use crate::{Call, Plan, RawValue, Response, Uuid, Value};

impl Plan {
    /// One call of a procedure that the manifest grants, with all its arguments in order. `carry` is passed to
    /// `respond` unchanged.
    pub fn call(procedure: &str, arguments: impl Into<Vec<Value>>, carry: impl Into<Vec<u8>>) -> Self {
        Self::Call(Call { procedure: procedure.into(), arguments: arguments.into(), carry: carry.into() })
    }
}

impl From<Response> for Plan {
    fn from(response: Response) -> Self {
        Self::Reply(response)
    }
}

/// What a function with `?` decided: `E` is a [`Response`], or an error that becomes one.
impl<E: Into<Response>> From<Result<Self, E>> for Plan {
    fn from(decided: Result<Self, E>) -> Self {
        decided.unwrap_or_else(|refused| Self::Reply(refused.into()))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {
        $(impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Integer(value.into())
            }
        })*
    };
}

// `Value::from(1)` needs no suffix only as long as i32 is among them.
integers!(i16 i32 i64 u8 u16 u32);

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Text(value.to_string())
    }
}

impl From<&RawValue> for Value {
    fn from(value: &RawValue) -> Self {
        Self::Json(value.get().into())
    }
}

impl Value {
    /// For a parameter that is json, jsonb or an array: what this value is as JSON.
    ///
    /// ```
    /// use galo_kit::Value;
    ///
    /// assert_eq!(Value::json(&["red", "green"]), Value::Json(r#"["red","green"]"#.into()));
    /// ```
    ///
    /// # Panics
    /// When the value cannot be JSON.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(json) => Self::Json(json),
            Err(error) => refuse(format_args!("the argument cannot be JSON: {error}")),
        }
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<V: Into<Self>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
