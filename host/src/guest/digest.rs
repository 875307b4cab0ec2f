//! The digest of a component: the sha256 of its bytes, which identifies it on disk, in logs and in reports.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The sha256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its first eight bytes as a number.
    pub fn leading(&self) -> u64 {
        self.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |at: usize| text.get(2 * at..2 * at + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok());
        let mut bytes = [0; 32];
        bytes.iter_mut().enumerate().try_for_each(|(at, byte)| digit(at).map(|digit| *byte = digit))?;
        (text.len() == 64).then_some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
