//! Checks whether a text is valid for a Postgres type before it is sent. Accepted are the spelling in which Postgres
//! writes the type, and others that mean the same on every day and in every session. `today`, `01/02/2024` and a time
//! without its zone are refused.
//!
//! Postgres checks the rest, such as the labels of an enum, which can be added at any time.

use std::net::IpAddr;

use serde::de::IgnoredAny;
use tokio_postgres::types::Type;

/// The most digits a numeric may have before its point, and after it.
const NUMERIC_DIGITS: (i64, i64) = (131_072, 16_383);
/// Dates of Postgres are from 4714-11-24 BC to 5874897-12-31. Here 1 BC is the year 0.
const FIRST_DAY: (i64, u32, u32) = (-4713, 11, 24);
const LAST_YEAR: i64 = 5_874_897;
/// An offset from UTC has fewer hours than this.
const ZONE_HOURS: u32 = 16;

/// Checks a text against a type that is not a domain.
///
/// # Errors
/// A description of what is expected, with an example.
pub(super) fn check(text: &str, ty: &Type) -> Result<(), &'static str> {
    let (fits, expected) = match *ty {
        Type::UUID => (uuid(text), "a uuid, as in 0190163d-8694-739b-aea5-966c26f8ad91"),
        Type::JSON | Type::JSONB => (json(text), "JSON"),
        Type::NUMERIC => (numeric(text), "a number, as in -12.50, 1e6, NaN or Infinity"),
        Type::DATE => (infinite(text) || date(text), "a date, as in 2024-02-29, 0044-03-15 BC or infinity"),
        Type::TIME => (time(text), "a time, as in 13:05:09.25"),
        Type::TIMETZ => (zoned(text, time), "a time with an offset, as in 13:05:09.25-03 or 13:05Z"),
        Type::INTERVAL => (interval(text), "an interval, as in 1 year -3 days +04:05:06 or P1DT2H"),
        Type::INET => (inet(text), "an address, as in 192.168.0.1, 10.1.0.0/16 or 2001:db8::1"),
        Type::CIDR => (cidr(text), "a network without host bits, as in 10.1.0.0/16 or 2001:db8::/32"),
        Type::TIMESTAMP => (infinite(text) || timestamp(text), "a timestamp, as in 2024-02-29T13:05:09.25"),
        Type::TIMESTAMPTZ => {
            (infinite(text) || timestamptz(text), "a timestamp with an offset, as in 2024-02-29T13:05:09.25-03")
        }
        Type::BYTEA => (bytea(text), "bytes in hexadecimal, as in \\xdeadbeef"),
        _ => (true, ""),
    };
    // Postgres does not accept U+0000 in a text.
    if text.contains('\0') {
        return Err("a text without U+0000");
    }
    if fits { Ok(()) } else { Err(expected) }
}

/// Sixteen bytes in hexadecimal, optionally in braces; a hyphen may follow every second byte.
fn uuid(text: &str) -> bool {
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let mut rest = text.as_bytes();
    for index in 0..16 {
        match rest {
            [high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest = behind,
            _ => return false,
        }
        if index % 2 == 1 && index < 15 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
    }
    rest.is_empty()
}

/// Checks the syntax only.
fn json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn numeric(text: &str) -> bool {
    let (unsigned, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let unsigned = unsigned.strip_prefix(['-', '+']).unwrap_or(unsigned);
    if ["nan", "infinity", "inf"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        // Postgres does not accept a sign before NaN.
        return unsigned.len() == text.len() || !unsigned.eq_ignore_ascii_case("nan");
    }
    let Some(exponent) = exponent.map_or(Some(0), |exponent| exponent.parse::<i32>().ok()) else { return false };
    let (whole, behind) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + behind.len() == 0 || !digits(whole) || !digits(behind) {
        return false;
    }
    let exponent = i64::from(exponent);
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX / 2);
    let zeros = |text: &str| length(text) - length(text.trim_start_matches('0'));
    let before = match length(whole) - zeros(whole) {
        0 => -zeros(behind),
        digits => digits,
    };
    let is_zero = zeros(whole) == length(whole) && zeros(behind) == length(behind);
    (is_zero || before + exponent <= NUMERIC_DIGITS.0) && length(behind) - exponent <= NUMERIC_DIGITS.1
}

fn infinite(text: &str) -> bool {
    matches!(text, "infinity" | "-infinity")
}

/// `2024-02-29`, optionally followed by ` BC`.
fn date(text: &str) -> bool {
    let (text, bc) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let (Some(year), Some(month), Some(day)) = (number(year, 4..=7), number(month, 2..=2), number(day, 2..=2)) else {
        return false;
    };
    let year = if bc { 1 - i64::from(year) } else { i64::from(year) };
    let exists = year != i64::from(bc) && (1..=12).contains(&month) && day >= 1 && day <= days(year, month);
    exists && (year, month, day) >= FIRST_DAY && year <= LAST_YEAR
}

fn days(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `13:05`, `13:05:09.25`, up to `24:00:00`; second 60 means the next minute.
fn time(given: &str) -> bool {
    let (text, fraction) = given.split_once('.').unwrap_or((given, "0"));
    let parts: Option<Vec<_>> = text.split(':').map(|part| number(part, 2..=2)).collect();
    let in_time = match parts.as_deref() {
        Some([hours, minutes]) if !given.contains('.') => (*hours, *minutes, 0),
        Some([hours, minutes, seconds]) => (*hours, *minutes, *seconds),
        _ => return false,
    };
    let digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let zero = fraction.bytes().all(|byte| byte == b'0');
    let (hours, minutes, seconds) = in_time;
    let within = (hours < 24 && minutes < 60 && seconds <= 60) || in_time == (24, 0, 0);
    let last = in_time == (24, 0, 0) || in_time == (23, 59, 60);
    digits && within && (zero || !last)
}

/// A text that passes `check`, followed by an offset from UTC.
fn zoned(text: &str, check: fn(&str) -> bool) -> bool {
    if let Some(utc) = text.strip_suffix(['Z', 'z']) {
        return check(utc);
    }
    // Search after the first `:`, to skip the hyphens of a date.
    let clock = text.find(':').unwrap_or(text.len());
    let Some(at) = text[clock..].find(['+', '-']).map(|at| clock + at) else { return false };
    let offset: Option<Vec<_>> = text[at + 1..].split(':').map(|part| number(part, 2..=2)).collect();
    let known = match offset.as_deref() {
        Some([hours]) => *hours < ZONE_HOURS,
        Some([hours, rest @ ..]) if rest.len() <= 2 => *hours < ZONE_HOURS && rest.iter().all(|part| *part < 60),
        _ => false,
    };
    known && check(&text[..at])
}

/// A date and a time, with `T` or a space between them.
fn timestamp(text: &str) -> bool {
    let (text, era) = era(text);
    text.split_once(['T', ' ']).is_some_and(|(day, clock)| date(&format!("{day}{era}")) && time(clock))
}

fn timestamptz(text: &str) -> bool {
    let (text, era) = era(text);
    text.split_once(['T', ' ']).is_some_and(|(day, clock)| date(&format!("{day}{era}")) && zoned(clock, time))
}

fn era(text: &str) -> (&str, &'static str) {
    text.strip_suffix(" BC").map_or((text, ""), |text| (text, " BC"))
}

/// Whether it may be an interval: Postgres accepts too many spellings to check them all here.
fn interval(text: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b" +-.:@,".contains(&byte);
    infinite(text) || (text.bytes().all(letters) && text.bytes().any(|byte| byte.is_ascii_digit()))
}

fn inet(text: &str) -> bool {
    address(text).is_some()
}

fn cidr(text: &str) -> bool {
    address(text).is_some_and(|(address, length)| {
        let (bits, whole) = match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        length >= whole || bits << length == 0
    })
}

/// An address and its prefix length.
fn address(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let plain = |length: &str| number(length, 1..=3).filter(|_| length == "0" || !length.starts_with('0'));
    let length = length.map_or(Some(whole), plain)?;
    (length <= whole).then_some((address, length))
}

fn bytea(text: &str) -> bool {
    let digits = text.strip_prefix("\\x").filter(|digits| digits.len() % 2 == 0);
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Parses a number that consists only of decimal digits, as many as `digits` allows.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let plain = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}
