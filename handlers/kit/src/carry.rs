//! What `prepare` hands to `respond`, as a type of the handler's own instead of bytes.

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decode::json;
use crate::panic::refuse;

/// The bytes of a carry that [`from_carry`] reads.
///
/// ```
/// use galo_kit::{from_carry, to_carry};
///
/// let carry = to_carry(&(20, Some("\"v7\"")));
/// let (limit, if_none_match): (u32, Option<String>) = from_carry(&carry);
/// assert_eq!((limit, if_none_match.as_deref()), (20, Some("\"v7\"")));
/// ```
///
/// # Panics
/// When the value cannot be JSON.
pub fn to_carry(value: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(carry) => carry,
        Err(error) => refuse(format_args!("the carry cannot be JSON: {error}")),
    }
}

/// What `prepare` passed to [`to_carry`].
///
/// # Panics
/// When it was of another type: the two functions do not fit each other.
pub fn from_carry<T: DeserializeOwned>(carry: &[u8]) -> T {
    match json::read(carry) {
        Ok(value) => value,
        Err(problem) => refuse(format_args!("the carry is not what was expected: {problem}")),
    }
}
