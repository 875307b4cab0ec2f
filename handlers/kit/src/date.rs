//! A day of the calendar, without a time and a time zone: a `date` of Postgres, of the years 1 to 9999.

use alloc::string::ToString;
use core::fmt;
use core::str::FromStr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Value;

/// 0001-01-01
pub(crate) const DAYS_MIN: i64 = -719_162;
/// 9999-12-31
pub(crate) const DAYS_MAX: i64 = 2_932_896;

/// A day of the proleptic Gregorian calendar. Displayed, parsed, serialised and passed to a procedure as `2024-02-29`.
///
/// ```
/// use galo_kit::Date;
///
/// let day: Date = "2024-02-28".parse()?;
/// assert_eq!(day.plus_days(2).unwrap().to_string(), "2024-03-01");
/// assert!("2023-02-29".parse::<Date>().is_err());
/// # Ok::<(), galo_kit::NotADate>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i64);

/// The text is not a day such as `2024-02-29`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADate;

impl fmt::Display for NotADate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a date such as 2024-02-29")
    }
}

impl core::error::Error for NotADate {}

impl Date {
    /// None when there is no such day, or its year is not within 1 to 9999.
    pub fn new(year: i64, month: i64, day: i64) -> Option<Self> {
        if !((1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)) {
            return None;
        }
        let date = Self(days(year, month, day));
        // 30 February would be 1 or 2 March.
        (date.year_month_day() == (year, month, day)).then_some(date)
    }

    /// None outside the years 1 to 9999.
    pub fn from_days(days: i64) -> Option<Self> {
        (DAYS_MIN..=DAYS_MAX).contains(&days).then_some(Self(days))
    }

    /// Of days that are known to be within the years 1 to 9999.
    pub(crate) fn in_range(days: i64) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i64 {
        self.0
    }

    /// The year, the month from 1, and the day from 1.
    pub fn year_month_day(self) -> (i64, i64, i64) {
        year_month_day(self.0)
    }

    /// The day that many days later, or earlier. None outside the years 1 to 9999.
    pub fn plus_days(self, days: i64) -> Option<Self> {
        Self::from_days(self.0.checked_add(days)?)
    }

    fn text(self) -> [u8; 10] {
        let (year, month, day) = self.year_month_day();
        let mut text = *b"0000-00-00";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        text
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(as_text(&self.text()))
    }
}

impl FromStr for Date {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Self, NotADate> {
        let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text.as_bytes() else { return Err(NotADate) };
        let number = |digits: &[u8]| number(digits).ok_or(NotADate);
        Self::new(number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?).ok_or(NotADate)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(as_text(&self.text()))
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Date;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a date such as 2024-02-29")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Date, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Other("text"), &self))
    }
}

impl From<Date> for Value {
    fn from(date: Date) -> Self {
        Self::Text(date.to_string())
    }
}

/// Year, month and day of the proleptic Gregorian calendar, from days since 1970-01-01.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`. Years are counted from
/// March, so that the leap day is the last of its year, in eras of 400 years, which are all equally long.
pub(crate) fn year_month_day(days: i64) -> (i64, i64, i64) {
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

/// Days since 1970-01-01: the inverse, `days_from_civil` of the same source.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2); // counted from March
    let era = year.div_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Writes a number over the whole slot, with leading zeros.
pub(crate) fn digits(slot: &mut [u8], mut number: i64) {
    for digit in slot.iter_mut().rev() {
        #[expect(clippy::cast_sign_loss, reason = "no part of a date from year 1 on is negative")]
        let value = (number % 10) as u8;
        *digit = b'0' + value;
        number /= 10;
    }
}

/// A number of digits only. Short enough, by the pattern that found them, not to overflow.
pub(crate) fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

pub(crate) fn as_text(digits: &[u8]) -> &str {
    str::from_utf8(digits).expect("digits and punctuation are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_follows_the_one_before_and_is_found_again() {
        let mut expected = (1, 1, 1);
        for days in DAYS_MIN..=DAYS_MAX {
            let date = Date::from_days(days).unwrap();
            assert_eq!(date.year_month_day(), expected);
            let (year, month, day) = expected;
            assert_eq!(Date::new(year, month, day), Some(date));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let month_days = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            assert_eq!(Date::new(year, month, month_days + 1), None);
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == month_days => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert_eq!(expected, (10000, 1, 1));
        assert_eq!((Date::from_days(DAYS_MIN - 1), Date::from_days(DAYS_MAX + 1)), (None, None));
    }

    #[test]
    fn a_date_has_one_spelling() {
        for text in ["0001-01-01", "1970-01-01", "2024-02-29", "9999-12-31"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
            let json = alloc::format!("\"{text}\"");
            let date: Date = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&date).unwrap(), json);
            assert_eq!(Value::from(date), Value::Text(text.into()));
        }
        for text in [
            "",
            "0000-01-01",
            "2023-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "2024-1-01",
            "24-01-01",
            "2024/01/01",
            "2024-01-01 ",
            "+024-01-01",
            "2024-01-0١",
            "2024-01-01T00:00:00Z",
            "today",
        ] {
            assert_eq!(text.parse::<Date>(), Err(NotADate), "{text}");
        }
    }

    #[test]
    fn days_are_added_within_the_calendar() {
        let last = Date::from_days(DAYS_MAX).unwrap();
        assert_eq!((last.plus_days(1), last.plus_days(i64::MAX)), (None, None));
        assert_eq!(last.plus_days(-365).unwrap().to_string(), "9998-12-31");
    }
}
