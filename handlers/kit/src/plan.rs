//! What `prepare` decides, and the values that a call carries.
//!
//! Conversions only: nothing here can fail.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Call, Plan, Response, Value};

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

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

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
