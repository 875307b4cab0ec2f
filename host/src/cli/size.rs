//! A size in bytes as an argument: `80M`. The units are those of systemd and Docker, powers of 1024.

use std::fmt;
use std::str::FromStr;

use galo::config::Mistakes;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// The least memory that something can have.
pub(super) struct Least {
    /// What it is, for a message: `a compiler`.
    pub(super) what: &'static str,
    pub(super) needs: Size,
}

impl Size {
    /// The option `--memory`, if it was given, of something that needs at least `least`. Mistakes are noted, and `None`
    /// is returned only then.
    pub(super) fn of_memory(text: Option<&str>, least: Option<Least>, mistakes: &mut Mistakes) -> Option<Option<Self>> {
        const OPTION: &str = "--memory";
        let Some(text) = text else { return Some(None) };
        let size = mistakes.parse::<Self>(OPTION, text)?;
        match least {
            Some(Least { what, needs }) if size < needs => {
                mistakes.note(OPTION, format!("`{text}` is too little: {what} needs {needs}"));
                None
            }
            _ => Some(Some(size)),
        }
    }
}

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

    #[test]
    fn the_memory_of_an_option_is_enough_or_a_mistake() {
        let memory = |text| {
            let mut mistakes = Mistakes::default();
            let least = Least { what: "a compiler", needs: Size(40 << 20) };
            let size = Size::of_memory(text, Some(least), &mut mistakes);
            mistakes.into_result().map(|()| size.unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(memory(None).unwrap(), None);
        assert_eq!(memory(Some("40M")).unwrap(), Some(Size(40 << 20)));
        assert!(memory(Some("39M")).unwrap_err().contains("--memory: `39M` is too little: a compiler needs 40M"));
        assert!(memory(Some("80 MB")).unwrap_err().contains("--memory: `80 MB` is not a size"));
    }
}
