//! A component before it is compiled: its bytes, their digest, and the signature that came with them.

use std::sync::Arc;

use crate::guest::Digest;

/// A component as bytes, and its signature.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) digest: Digest,
    pub(super) bytes: Arc<[u8]>,
    signature: Option<Arc<String>>,
}

/// A component whose signature was checked, if the node checks them.
pub(super) struct Vouched {
    pub(super) digest: Digest,
    pub(super) signature: Option<Arc<String>>,
}

impl Source {
    pub(super) fn signed(bytes: Vec<u8>, signature: Option<String>) -> Self {
        Self { digest: Digest::of(&bytes), bytes: bytes.into(), signature: signature.map(Arc::new) }
    }

    pub(super) fn signature(&self) -> Option<&str> {
        self.signature.as_ref().map(|signature| signature.as_str())
    }

    pub(super) fn vouched(&self) -> Vouched {
        Vouched { digest: self.digest, signature: self.signature.clone() }
    }
}
