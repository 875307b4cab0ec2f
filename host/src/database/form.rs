//! The batch form of a procedure: a function whose first parameter is an array of ordinals, and whose others are arrays
//! too, one element for each call. It returns a row for each call, which begins with the ordinal of its call.

use super::grant::Batch;
use super::hash::KeyHash;
use super::signature::Signature;
use crate::contract::Value;

/// The name of the parameter that gets the ordinals of the calls, an `integer[]`. PL/pgSQL does not allow a parameter
/// the name of a column.
pub(super) const ORDINALS: &str = "ordinals";

/// The name of the column that has the ordinal of a row's call, an `integer`.
pub(super) const ORDINAL: &str = "ordinal";

/// The batch form of a procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BatchForm {
    pub(super) granted: Batch,
    /// Its columns begin with the ordinal.
    pub(super) signature: Signature,
    /// The argument that is a call's key.
    pub(super) key: KeyArgument,
    /// The index of the argument that makes two tries of a call one transaction, unless it is null.
    pub(super) retry: Option<usize>,
}

/// Which argument of a call is its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyArgument {
    /// Its index.
    pub(super) index: usize,
    /// Whether it is a uuid, which may be spelled with capitals, braces and other hyphens. Values of the other types
    /// have one spelling.
    pub(super) is_uuid: bool,
    /// How Postgres hashes it, if this is known.
    pub(super) hash: Option<KeyHash>,
}

impl KeyArgument {
    /// Which of so many lanes, a power of two, is for a call with these arguments: that of the lowest bits of the hash,
    /// by which PL/Proxy chooses a partition too.
    pub(super) fn lane(self, arguments: &[Value], lanes: usize) -> usize {
        let hash = self.hash.zip(arguments.get(self.index)).and_then(|(hash, key)| hash.of(key));
        hash.map_or(0, |hash| hash as usize & (lanes - 1))
    }
}
