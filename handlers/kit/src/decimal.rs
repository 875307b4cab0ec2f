//! A decimal number of any length, exactly as it was written: a `numeric` of Postgres. Never a float on its way.
//!
//! It does not calculate: what decides about money is in the procedure, where `numeric` is exact. To calculate in a
//! handler, take it as an integer of its smallest unit ([`Decimal::units`]).

use alloc::format;
use alloc::string::{String, ToString};
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Value;
use crate::decode::DIGITS;

/// A decimal number without exponent. `12.50` keeps its zero, and equals `12.5`.
///
/// Read from a JSON number or string. Written as a string, because most JSON readers make a float of a number.
///
/// ```
/// use galo_kit::Decimal;
///
/// let price: Decimal = "12.50".parse()?;
/// assert_eq!((price.units(2), price.units(1), price.units(0)), (Some(1250), Some(125), None));
/// assert_eq!(Decimal::from_units(1250, 2).to_string(), "12.50");
/// assert!(price > "9.999999999999999999999".parse()?);
/// # Ok::<(), galo_kit::NotADecimal>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decimal(String);

/// The text is not a number such as `-12.50`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADecimal;

impl fmt::Display for NotADecimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a decimal number such as -12.50")
    }
}

impl core::error::Error for NotADecimal {}

impl Decimal {
    /// The number as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number in units of ten to the power of minus `places`: cents for 2. None when that is not an integer, or not
    /// within an `i64`.
    pub fn units(&self, places: u8) -> Option<i64> {
        let (negative, whole, fraction) = self.parts();
        let (fraction, rest) = fraction.split_at(fraction.len().min(places.into()));
        if rest.bytes().any(|digit| digit != b'0') {
            return None;
        }
        let missing = usize::from(places) - fraction.len();
        let digits = whole.bytes().chain(fraction.bytes()).chain(core::iter::repeat_n(b'0', missing));
        // Counted below zero, because i64::MIN has no positive counterpart.
        let below = digits
            .map(|digit| i64::from(digit - b'0'))
            .try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_sub(digit))?;
        if negative { Some(below) } else { below.checked_neg() }
    }

    /// The number that is this many units of ten to the power of minus `places`.
    pub fn from_units(units: i64, places: u8) -> Self {
        let places = usize::from(places);
        let digits = format!("{:0width$}", units.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let sign = if units < 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        Self(format!("{sign}{whole}{point}{fraction}"))
    }

    /// Whether it is negative, and its digits before and after the point.
    fn parts(&self) -> (bool, &str, &str) {
        let (whole, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        match whole.strip_prefix('-') {
            Some(whole) => (true, whole, fraction),
            None => (false, whole, fraction),
        }
    }
}

/// As JSON writes a number, but without exponent.
fn is_decimal(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction)
}

impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        if is_decimal(text) { Ok(Self(text.into())) } else { Err(NotADecimal) }
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((below, whole, fraction), (other_below, other_whole, other_fraction)) = (self.parts(), other.parts());
        let (fraction, other_fraction) = (fraction.trim_end_matches('0'), other_fraction.trim_end_matches('0'));
        // There are no leading zeros, so the longer whole is greater; fractions compare as text.
        let key = (whole.len(), whole, fraction);
        let size = key.cmp(&(other_whole.len(), other_whole, other_fraction));
        let zero = key == (1, "0", "");
        match (below, other_below) {
            _ if zero && (other_whole, other_fraction) == ("0", "") => Ordering::Equal,
            (false, false) => size,
            (true, true) => size.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(DIGITS, Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Decimal;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a decimal number such as 12.50")
    }

    /// The deserializers of this crate call it, also for a number: with its digits.
    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Other("text"), &self))
    }

    /// All others call this.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decimal, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Decimal, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
        Ok(Decimal(number.to_string()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Decimal, E> {
        // Its digits are lost already.
        Err(E::custom("a decimal number in quotes"))
    }
}

impl From<Decimal> for Value {
    fn from(decimal: Decimal) -> Self {
        Self::Text(decimal.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::json;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn digits_are_kept_as_they_were_sent() {
        for text in
            ["0", "-0.00", "12.50", "0.1", "-7", "123456789012345678901234567890.123456789012345678901234567890"]
        {
            assert_eq!(decimal(text).to_string(), text);
            for sent in [text.to_string(), format!("\"{text}\"")] {
                let read: [Decimal; 1] = json::read(format!("[{sent}]").as_bytes()).unwrap();
                assert_eq!(
                    (read[0].as_str(), Value::from(read[0].clone())),
                    (text, Value::Text(text.into())),
                    "{sent}"
                );
            }
        }
        assert_eq!(serde_json::to_string(&decimal("12.50")).unwrap(), r#""12.50""#);
        // Where only a float would be left, it is refused.
        assert_eq!(serde_json::from_str::<Decimal>("12").unwrap().as_str(), "12");
        assert!(serde_json::from_str::<Decimal>("12.5").is_err());
        assert_eq!(serde_json::from_str::<Decimal>(r#""12.5""#).unwrap().as_str(), "12.5");
    }

    #[test]
    fn what_is_not_a_plain_number_is_refused() {
        for text in
            ["", "-", ".", "1.", ".5", "01", "00.1", "+1", "1e3", "1.5e1", "NaN", "Infinity", "1,5", " 1", "١", "--1"]
        {
            assert_eq!(text.parse::<Decimal>().map(|_| ()), Err(NotADecimal), "{text}");
        }
        for sent in ["1e3", "true", "null", "[]", r#""""#, r#""1e3""#] {
            assert!(json::read::<Decimal>(sent.as_bytes()).is_err(), "{sent}");
        }
    }

    #[test]
    fn units_are_exact_or_none() {
        for (text, places, units) in [
            ("12.50", 2, Some(1250)),
            ("12.5", 2, Some(1250)),
            ("12.505", 2, None),
            ("12.500", 2, Some(1250)),
            ("-0.01", 2, Some(-1)),
            ("-3", 0, Some(-3)),
            ("92233720368547758.07", 2, Some(i64::MAX)),
            ("-92233720368547758.08", 2, Some(i64::MIN)),
            ("92233720368547758.08", 2, None),
            ("1", 255, None),
            ("0", 255, Some(0)),
        ] {
            assert_eq!(decimal(text).units(places), units, "{text} in units of 10^-{places}");
        }
        for (units, places, text) in
            [(5, 2, "0.05"), (-1250, 2, "-12.50"), (7, 0, "7"), (i64::MIN, 1, "-922337203685477580.8")]
        {
            assert_eq!(Decimal::from_units(units, places).to_string(), text);
            assert_eq!(decimal(text).units(places), Some(units));
        }
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let ascending = ["-100", "-99.9", "-0.5", "0", "0.05", "0.5", "9.99", "10", "10.01", "100"];
        for (at, small) in ascending.iter().enumerate() {
            for (other, great) in ascending.iter().enumerate() {
                assert_eq!(decimal(small).cmp(&decimal(great)), at.cmp(&other), "{small} and {great}");
            }
        }
        for (a, b) in [("1", "1.00"), ("-0", "0.0"), ("-1.10", "-1.1")] {
            assert_eq!(decimal(a), decimal(b));
        }
    }
}
