//! A size in bytes as an argument: `80M`. The units are those of systemd and Docker, powers of 1024.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// It is not a size.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a size: write bytes, or a number with a unit, such as 80M or 1G")]
pub(super) struct NotASize(String);

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1_u64 << 30,
            _ => return Err(NotASize(text.to_owned())),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or_else(|| NotASize(text.to_owned()))
    }
}

/// As it is written as an argument: whole mebibytes or kibibytes, rounded up.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1 << 20 => write!(f, "{}K", bytes.div_ceil(1 << 10)),
            bytes => write!(f, "{}M", bytes.div_ceil(1 << 20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes() {
        for (text, bytes) in [("80M", 80 << 20), ("80MiB", 80 << 20), ("1g", 1 << 30), ("512k", 512 << 10), ("7", 7)] {
            assert_eq!(text.parse::<Size>().unwrap(), Size(bytes));
        }
        assert_eq!(Size(80 << 20).to_string(), "80M");
        assert_eq!(Size((80 << 20) + 1).to_string(), "81M");
        assert_eq!(Size(65_536).to_string(), "64K");
        for text in ["", "M", "0", "0M", "-1M", "80 M", "80X", "1.5G", "99999999999G"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
