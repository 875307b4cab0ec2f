//! A component before it is compiled: its bytes, their digest, and the signature that came with them.

use std::sync::Arc;

use crate::guest::Digest;

/// A component as bytes, and its signature.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) digest: Digest,
    pub(super) bytes: Arc<[u8]>,
    signature: Option<String>,
}

impl Source {
    pub(super) fn signed(bytes: Vec<u8>, signature: Option<String>) -> Self {
        Self { digest: Digest::of(&bytes), bytes: bytes.into(), signature }
    }

    /// Stands for the component with this digest, which serves in its place and whose compiled form is there.
    pub(super) fn instead(self, digest: Digest) -> Self {
        Self { digest, ..self }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }
}
