//! A length of time as a person writes it on a command line.

use std::str::FromStr;
use std::time::Duration;

/// A length of time: `90s`, `10m`, `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || format!("`{text}` is not a length of time: write 90s, 10m or 2h");
        let unit = text.chars().last().ok_or_else(malformed)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(malformed()),
        };
        let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| malformed())?;
        number.checked_mul(seconds).map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7200), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Period(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "10", "m", "-1s", "1.5h", "10 m", "1d", "18446744073709551615h", "1µ"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
