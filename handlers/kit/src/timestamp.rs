//! A point in time, and how it is written in RFC 3339.
//!
//! Years 1 to 9999 only: RFC 3339 has four digits for the year, while Postgres goes from 4713 BC to 294276 and has
//! `infinity`. A guest has no clock; every timestamp comes with the request or from the database.

use core::fmt;
use core::str::FromStr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::date::{DAYS_MAX, DAYS_MIN, as_text, digits, number, year_month_day};
use crate::{Date, Value};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// 0001-01-01T00:00:00.000000Z
const MICROS_MIN: i64 = DAYS_MIN * SECONDS_PER_DAY * MICROS_PER_SECOND;
/// 9999-12-31T23:59:59.999999Z
const MICROS_MAX: i64 = (DAYS_MAX + 1) * SECONDS_PER_DAY * MICROS_PER_SECOND - 1;

/// Microseconds since 1970-01-01T00:00:00 UTC, without leap seconds, of the years 1 to 9999.
///
/// Displayed and serialised as RFC 3339 in UTC with microseconds: `2024-01-17T02:34:41.217753Z`. Parsed from RFC 3339
/// with any offset; of a fraction, what is below a microsecond is cut off.
///
/// ```
/// use galo_kit::Timestamp;
///
/// let at: Timestamp = "2024-02-29T23:30:00.5-03:00".parse()?;
/// assert_eq!(at.to_string(), "2024-03-01T02:30:00.500000Z");
/// assert_eq!(at.date().to_string(), "2024-03-01");
/// # Ok::<(), galo_kit::NotATimestamp>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// The text is not a timestamp of RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATimestamp;

impl fmt::Display for NotATimestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a timestamp such as 2024-01-17T02:34:41Z")
    }
}

impl core::error::Error for NotATimestamp {}

impl Timestamp {
    /// None outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (MICROS_MIN..=MICROS_MAX).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The day in UTC.
    pub fn date(self) -> Date {
        Date::in_range(self.0.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY))
    }

    fn rfc3339(self) -> [u8; 27] {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let (year, month, day) = year_month_day(seconds.div_euclid(SECONDS_PER_DAY));
        let second = seconds.rem_euclid(SECONDS_PER_DAY);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], second / 3600);
        digits(&mut text[14..16], second / 60 % 60);
        digits(&mut text[17..19], second % 60);
        digits(&mut text[20..26], self.0.rem_euclid(MICROS_PER_SECOND));
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(as_text(&self.rfc3339()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(as_text(&self.rfc3339()))
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        parse(text).ok_or(NotATimestamp)
    }
}

/// Of a text in RFC 3339.
fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let date: Date = date.parse().ok()?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *clock.as_bytes() else { return None };
    let seconds = clock_seconds(&[h1, h2], &[m1, m2])? + below(60, &[s1, s2])?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let micros = micros(rest.strip_suffix(zone)?)?;
    let offset = match *zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [b'+', h1, h2, b':', m1, m2] => clock_seconds(&[h1, h2], &[m1, m2])?,
        [b'-', h1, h2, b':', m1, m2] => -clock_seconds(&[h1, h2], &[m1, m2])?,
        _ => return None,
    };
    let seconds = date.days() * SECONDS_PER_DAY + seconds - offset;
    Timestamp::from_micros(seconds * MICROS_PER_SECOND + micros)
}

fn clock_seconds(hours: &[u8; 2], minutes: &[u8; 2]) -> Option<i64> {
    Some(below(24, hours)? * 3600 + below(60, minutes)? * 60)
}

fn below(end: i64, digits: &[u8; 2]) -> Option<i64> {
    number(digits).filter(|number| *number < end)
}

/// The microseconds of a fraction with its point; 0 without one. Nanoseconds are cut off.
fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let digits = fraction.strip_prefix('.').filter(|digits| (1..=9).contains(&digits.len()))?.as_bytes();
    number(digits)?;
    let mut six = *b"000000";
    for (slot, digit) in six.iter_mut().zip(digits) {
        *slot = *digit;
    }
    number(&six)
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Timestamp;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a timestamp such as 2024-01-17T02:34:41Z")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        parse(text).ok_or_else(|| E::invalid_value(Unexpected::Other("text"), &self))
    }
}

impl From<Timestamp> for Value {
    fn from(timestamp: Timestamp) -> Self {
        Self::Timestamp(timestamp.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_timestamp_is_written_in_utc_with_microseconds() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (-1_000_000, "1969-12-31T23:59:59.000000Z"),
            (1_705_458_881_217_753, "2024-01-17T02:34:41.217753Z"),
            (1_709_164_800_000_000, "2024-02-29T00:00:00.000000Z"),
            (1_709_251_199_999_999, "2024-02-29T23:59:59.999999Z"),
            (1_709_251_200_000_000, "2024-03-01T00:00:00.000000Z"),
            (1_677_628_800_000_000, "2023-03-01T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (-2_203_891_200_000_000, "1900-03-01T00:00:00.000000Z"),
            (1_735_689_599_000_010, "2024-12-31T23:59:59.000010Z"),
            (-11_676_096_000_000_000, "1600-01-01T00:00:00.000000Z"),
            (MICROS_MIN, "0001-01-01T00:00:00.000000Z"),
            (MICROS_MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).unwrap().to_string(), text);
        }
    }

    #[test]
    fn years_without_four_digits_are_refused() {
        for micros in [MICROS_MIN - 1, MICROS_MAX + 1, i64::MIN, i64::MAX] {
            assert_eq!(Timestamp::from_micros(micros), None);
        }
    }

    #[test]
    fn json_is_the_same_text() {
        let epoch = Timestamp::from_micros(0).unwrap();
        assert_eq!(serde_json::to_string(&epoch).unwrap(), r#""1970-01-01T00:00:00.000000Z""#);
    }

    #[test]
    fn rfc_3339_is_read_with_any_offset() {
        for (text, utc) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
            ("2024-01-17t02:34:41.217753z", "2024-01-17T02:34:41.217753Z"),
            ("2024-01-17 02:34:41.2Z", "2024-01-17T02:34:41.200000Z"),
            ("2024-01-17T02:34:41.999999999Z", "2024-01-17T02:34:41.999999Z"),
            ("2024-12-31T23:59:59.000001-00:30", "2025-01-01T00:29:59.000001Z"),
            ("2024-03-01T05:29:00+05:30", "2024-02-29T23:59:00.000000Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), utc);
            let read: Timestamp = serde_json::from_str(&alloc::format!("\"{text}\"")).unwrap();
            assert_eq!(Value::from(read), Value::Timestamp(read.micros()));
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            "2024-01-17",
            "2024-01-17T02:34:41",
            "2024-01-17T02:34Z",
            "2024-01-17T02:34:60Z",
            "2024-01-17T24:00:00Z",
            "2024-01-17T02:60:00Z",
            "2024-02-30T00:00:00Z",
            "2024-01-17T02:34:41.Z",
            "2024-01-17T02:34:41.1234567890Z",
            "2024-01-17T02:34:41.1.2Z",
            "2024-01-17T02:34:41+0530",
            "2024-01-17T02:34:41+24:00",
            "2024-01-17T02:34:41+05:3x",
            "2024-01-17T02:34:41Z ",
            "2024-01-17X02:34:41Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2024-01-17T02:34:4ü",
            "infinity",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATimestamp), "{text}");
        }
    }
}
