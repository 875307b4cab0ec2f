//! A point in time, and how it is written in RFC 3339.
//!
//! Years 1 to 9999 only: RFC 3339 has four digits for the year, while Postgres goes from 4713 BC to 294276 and has
//! `infinity`. A guest has no clock; every timestamp comes from the database.

use core::fmt;

use serde::{Serialize, Serializer};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// 0001-01-01T00:00:00.000000Z
const MICROS_MIN: i64 = -62_135_596_800 * MICROS_PER_SECOND;
/// 9999-12-31T23:59:59.999999Z
const MICROS_MAX: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;

/// Microseconds since 1970-01-01T00:00:00 UTC, without leap seconds, of the years 1 to 9999.
///
/// Displayed and serialised as RFC 3339 in UTC with microseconds: `2024-01-17T02:34:41.217753Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// None outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (MICROS_MIN..=MICROS_MAX).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub fn micros(self) -> i64 {
        self.0
    }

    fn rfc3339(self) -> [u8; 27] {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
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

fn as_text(rfc3339: &[u8; 27]) -> &str {
    str::from_utf8(rfc3339).expect("digits and punctuation are ASCII")
}

/// Year, month and day of the proleptic Gregorian calendar, from days since 1970-01-01.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`. Years are counted from
/// March, so that the leap day is the last of its year, in eras of 400 years, which are all equally long.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Writes a number over the whole slot, with leading zeros.
fn digits(slot: &mut [u8], mut number: i64) {
    for digit in slot.iter_mut().rev() {
        #[expect(clippy::cast_sign_loss, reason = "no part of a date from year 1 on is negative")]
        let value = (number % 10) as u8;
        *digit = b'0' + value;
        number /= 10;
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
    fn every_day_follows_the_one_before() {
        let first = MICROS_MIN / MICROS_PER_SECOND / SECONDS_PER_DAY;
        let last = MICROS_MAX / MICROS_PER_SECOND / SECONDS_PER_DAY;
        let mut expected = (1, 1, 1);
        for days in first..=last {
            assert_eq!(date(days), expected);
            let (year, month, day) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let month_days = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == month_days => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert_eq!(expected, (10000, 1, 1));
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
}
