//! Converts the binary format of Postgres to its text format, for types that have no case in the contract. `DateStyle`
//! and `IntervalStyle` of the session do not matter: the text is what Postgres writes with `ISO` and `postgres`, its
//! defaults.

use std::error::Error;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio_postgres::types::Type;

/// Why bytes from the server cannot be read.
pub(super) type Unreadable = Box<dyn Error + Sync + Send>;

/// Days from 1970-01-01 to 2000-01-01, the epoch of Postgres.
const POSTGRES_EPOCH_DAYS: i64 = 10_957;
const DAY_US: i64 = 86_400_000_000;

/// Whether values of this type are read without a cast: types that have a case in the contract, and types that
/// [`spelled`] handles.
pub(super) fn is_scalar(ty: &Type) -> bool {
    matches!(
        *ty,
        Type::BOOL
            | Type::INT2
            | Type::INT4
            | Type::INT8
            | Type::FLOAT4
            | Type::FLOAT8
            | Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::BYTEA
            | Type::TIMESTAMP
            | Type::TIMESTAMPTZ
            | Type::JSON
            | Type::JSONB
            | Type::UUID
            | Type::NUMERIC
            | Type::DATE
            | Type::TIME
            | Type::TIMETZ
            | Type::INTERVAL
            | Type::INET
            | Type::CIDR
    )
}

/// A value as Postgres writes it.
///
/// # Errors
/// When the bytes are not those of the type.
pub(super) fn spelled(ty: &Type, raw: &[u8]) -> Result<String, Unreadable> {
    match *ty {
        Type::UUID => Ok(uuid(raw)),
        // The text is preceded by a version byte, 1.
        Type::JSONB => Ok(String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?),
        Type::NUMERIC => numeric(raw),
        Type::DATE => Ok(date(i32::from_be_bytes(raw.try_into()?))),
        Type::TIME => Ok(time(i64::from_be_bytes(raw.try_into()?))),
        Type::TIMETZ => timetz(raw),
        Type::INTERVAL => interval(raw),
        Type::INET | Type::CIDR => address(raw, *ty == Type::CIDR),
        _ => Ok(String::from_utf8(raw.to_vec())?),
    }
}

/// A timestamp as in JSON: `2024-01-17T02:34:41.217753`, followed by `+00:00` if the type has a time zone.
pub(super) fn moment(us: i64, zoned: bool) -> String {
    match us {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let (day, era) = calendar(us.div_euclid(DAY_US));
    let (time, zone) = (time(us.rem_euclid(DAY_US)), if zoned { "+00:00" } else { "" });
    format!("{day}T{time}{zone}{era}")
}

/// Takes the next `N` bytes.
pub(super) fn take<const N: usize>(raw: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (taken, rest) = raw.split_first_chunk::<N>().ok_or("the value is cut short")?;
    *raw = rest;
    Ok(*taken)
}

/// 8-4-4-4-12 hexadecimal digits.
fn uuid(raw: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in raw.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A numeric: digits in base 10000, the power of 10000 of the first digit (weight), and the number of decimal digits
/// after the point (scale).
fn numeric(mut raw: &[u8]) -> Result<String, Unreadable> {
    let _digits: [u8; 2] = take(&mut raw)?;
    let weight = i32::from(i16::from_be_bytes(take(&mut raw)?));
    let sign = u16::from_be_bytes(take(&mut raw)?);
    let scale = usize::from(u16::from_be_bytes(take(&mut raw)?) & 0x3fff);
    let mut text = match sign {
        0 => String::new(),
        0x4000 => "-".to_owned(),
        0xc000 => return Ok("NaN".to_owned()),
        0xd000 => return Ok("Infinity".to_owned()),
        0xf000 => return Ok("-Infinity".to_owned()),
        _ => return Err("the numeric has no sign".into()),
    };
    let digit = |power: i32| {
        let at = usize::try_from(weight - power).ok().map(|index| index * 2);
        let bytes = at.and_then(|at| raw.get(at..)?.first_chunk::<2>());
        bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
    };
    let first = weight.max(0);
    let _ = write!(text, "{}", digit(first));
    for power in (0..first).rev() {
        let _ = write!(text, "{:04}", digit(power));
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut power = -1;
        while text.len() < end {
            let _ = write!(text, "{:04}", digit(power));
            power -= 1;
        }
        text.truncate(end);
    }
    Ok(text)
}

fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (day, era) = calendar(days.into());
            format!("{day}{era}")
        }
    }
}

/// The date this many days after 2000-01-01, and ` BC` if it is before the year 1. The calendar is always Gregorian.
/// Its eras of 400 years begin in March, so that the leap day is the last day of an era.
fn calendar(days: i64) -> (String, &'static str) {
    let days = days + POSTGRES_EPOCH_DAYS + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // There is no year 0: the year before 1 is 1 BC.
    let (year, bc) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), bc)
}

fn time(us: i64) -> String {
    let seconds = us / 1_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}{}", seconds % 60, fraction(us % 1_000_000))
}

/// The fraction of a second, without trailing zeros.
fn fraction(us: i64) -> String {
    if us == 0 { String::new() } else { format!(".{us:06}").trim_end_matches('0').to_owned() }
}

fn timetz(mut raw: &[u8]) -> Result<String, Unreadable> {
    let time = time(i64::from_be_bytes(take(&mut raw)?));
    // The offset is in seconds west of Greenwich.
    let west = i64::from(i32::from_be_bytes(take(&mut raw)?));
    let (sign, seconds) = (if west > 0 { '-' } else { '+' }, west.abs());
    let mut text = format!("{time}{sign}{:02}", seconds / 3600);
    if seconds % 3600 != 0 {
        let _ = write!(text, ":{:02}", seconds / 60 % 60);
    }
    if seconds % 60 != 0 {
        let _ = write!(text, ":{:02}", seconds % 60);
    }
    Ok(text)
}

/// `1 year 2 mons -3 days +04:05:06`: after a negative part, a positive one has a sign.
fn interval(mut raw: &[u8]) -> Result<String, Unreadable> {
    let us = i64::from_be_bytes(take(&mut raw)?);
    let days = i32::from_be_bytes(take(&mut raw)?);
    let months = i32::from_be_bytes(take(&mut raw)?);
    match (us, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return Ok("infinity".to_owned()),
        (i64::MIN, i32::MIN, i32::MIN) => return Ok("-infinity".to_owned()),
        _ => {}
    }
    let mut text = String::new();
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value != 0 {
            let space = if text.is_empty() { "" } else { " " };
            let sign = if after_negative && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            let _ = write!(text, "{space}{sign}{value} {unit}{plural}");
            after_negative = value < 0;
        }
    }
    if us != 0 || text.is_empty() {
        let space = if text.is_empty() { "" } else { " " };
        let sign = if us < 0 {
            "-"
        } else if after_negative {
            "+"
        } else {
            ""
        };
        let us = us.unsigned_abs();
        let (seconds, rest) = (us / 1_000_000, fraction(i64::try_from(us % 1_000_000)?));
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let _ = write!(text, "{space}{sign}{hours:02}:{minutes:02}:{:02}{rest}", seconds % 60);
    }
    Ok(text)
}

/// An address, with its prefix length unless that covers the whole address of an `inet`.
fn address(mut raw: &[u8], network: bool) -> Result<String, Unreadable> {
    let [_family, length, _is_cidr, bytes] = take(&mut raw)?;
    let (address, whole) = match bytes {
        4 => (Ipv4Addr::from(take::<4>(&mut raw)?).to_string(), 32),
        16 => (spelled_v6(Ipv6Addr::from(take::<16>(&mut raw)?)), 128),
        _ => return Err("the address is neither IPv4 nor IPv6".into()),
    };
    if length == whole && !network { Ok(address) } else { Ok(format!("{address}/{length}")) }
}

/// As the standard library writes it, except for `::1.2.3.4`.
fn spelled_v6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => address.to_string(),
    }
}
