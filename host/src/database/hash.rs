//! Postgres's own hash of a key, by which its calls get a lane: the same that SQL has as `hashint4(7)`, so that a
//! function that forwards calls to partitions can agree with the lanes.
//!
//! The source is `src/common/hashfn.c` of Postgres (`hash_bytes`, `hash_bytes_uint32`), which is Bob Jenkins' lookup3,
//! and `src/backend/access/hash/hashfunc.c` for what each type gives it. They are the same in every supported version.
//! A big-endian server hashes texts and uuids differently; calls of one key still share a lane.

use tokio_postgres::types::Type;

use crate::contract::Value;

/// How the values of a type are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHash {
    /// `hashint2` and `hashint4`, which agree.
    Integer,
    /// `hashint8`, which agrees with them on their values.
    Bigint,
    /// `hashtext`, under a deterministic collation.
    Text,
    /// `uuid_hash`.
    Uuid,
}

impl KeyHash {
    /// How a type is hashed; `None` for types other than smallint, integer, bigint, text, varchar and uuid.
    pub fn of_type(base: &Type) -> Option<Self> {
        Some(match *base {
            Type::INT2 | Type::INT4 => Self::Integer,
            Type::INT8 => Self::Bigint,
            Type::TEXT | Type::VARCHAR => Self::Text,
            Type::UUID => Self::Uuid,
            _ => return None,
        })
    }

    /// The hash of a value, as Postgres has it in an `integer`, without its sign. `None` for null, and for a value that
    /// is not of the type.
    pub fn of(self, key: &Value) -> Option<u32> {
        match (self, key) {
            (Self::Integer, Value::Integer(key)) => i32::try_from(*key).ok().map(|key| of_word(key.cast_unsigned())),
            (Self::Bigint, Value::Integer(key)) => Some(of_bigint(*key)),
            (Self::Text, Value::Text(key)) => Some(of_bytes(key.as_bytes())),
            (Self::Uuid, Value::Text(key)) => of_uuid(key),
            _ => None,
        }
    }
}

/// The upper half of a negative number is inverted, so that one that fits an integer has the integer's hash.
fn of_bigint(key: i64) -> u32 {
    let bits = key.cast_unsigned();
    let (low, high) = ((bits & 0xffff_ffff) as u32, (bits >> 32) as u32);
    of_word(low ^ if key >= 0 { high } else { !high })
}

/// In any spelling that Postgres reads.
fn of_uuid(text: &str) -> Option<u32> {
    let mut bytes = [0; 16];
    let mut digits = text.chars().filter_map(|digit| digit.to_digit(16));
    for byte in &mut bytes {
        let (high, low) = (digits.next()?, digits.next()?);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(of_bytes(&bytes))
}

/// What all three words of the state begin with, for a key of so many bytes.
fn begin(bytes: usize) -> u32 {
    // Keys are shorter than 4 GiB, and Postgres adds a 32-bit length too.
    #[expect(clippy::cast_possible_truncation, reason = "a key has at most a few kilobytes")]
    let bytes = bytes as u32;
    0x9e37_79b9_u32.wrapping_add(bytes).wrapping_add(3_923_095)
}

/// `hash_bytes_uint32`.
fn of_word(word: u32) -> u32 {
    let first = begin(size_of::<u32>());
    finish([first.wrapping_add(word), first, first])
}

/// `hash_bytes`, on a little-endian machine.
fn of_bytes(key: &[u8]) -> u32 {
    let mut state = [begin(key.len()); 3];
    let mut blocks = key.chunks_exact(12);
    for block in &mut blocks {
        add(&mut state, block, 0);
        mix(&mut state);
    }
    let rest = blocks.remainder();
    // The lowest byte of the last word is left out, for the length.
    add(&mut state, rest.get(..8).unwrap_or(rest), 0);
    add(&mut state, rest.get(8..).unwrap_or_default(), 9);
    finish(state)
}

/// Adds bytes to the words of the state, from the byte `at` on.
fn add(state: &mut [u32; 3], bytes: &[u8], at: usize) {
    for (place, byte) in (at..).zip(bytes) {
        state[place / 4] = state[place / 4].wrapping_add(u32::from(*byte) << (8 * (place % 4)));
    }
}

fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: &mut u32, z: &mut u32, bits| {
        *x = x.wrapping_sub(*z) ^ z.rotate_left(bits);
        *z = z.wrapping_add(*y);
    };
    step(a, b, c, 4);
    step(b, c, a, 6);
    step(c, a, b, 8);
    step(a, b, c, 16);
    step(b, c, a, 19);
    step(c, a, b, 4);
}

fn finish([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    let step = |x: &mut u32, y: u32, bits| *x = (*x ^ y).wrapping_sub(y.rotate_left(bits));
    step(&mut c, b, 14);
    step(&mut a, c, 11);
    step(&mut b, a, 25);
    step(&mut c, b, 16);
    step(&mut a, c, 4);
    step(&mut b, a, 14);
    step(&mut c, b, 24);
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `SELECT hashint4(1), ...` of Postgres 15 returns them.
    #[test]
    fn the_hash_is_that_of_postgres() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (hash, key, expected) in [
            (KeyHash::Integer, Value::Integer(1), -1_905_060_026),
            (KeyHash::Integer, Value::Integer(-1), 385_747_274),
            (KeyHash::Integer, Value::Integer(-7), -82_204_417),
            (KeyHash::Bigint, Value::Integer(1), -1_905_060_026),
            (KeyHash::Bigint, Value::Integer(-1), 385_747_274),
            (KeyHash::Bigint, Value::Integer(5_000_000_000), -694_934_712),
            (KeyHash::Bigint, Value::Integer(-5_000_000_000), 954_517_114),
            (KeyHash::Text, text(""), -1_477_818_771),
            (KeyHash::Text, text("abc"), -785_388_649),
            (KeyHash::Text, text("hello world, this is a longer text"), -1_201_090_865),
            (KeyHash::Text, text("a\u{e7}\u{e3}o"), 75_675_044),
            (KeyHash::Uuid, text("0190163d-8694-739b-aea5-966c26f8ad91"), -651_112_121),
            (KeyHash::Uuid, text("{0190163D8694739BAEA5966C26F8AD91}"), -651_112_121),
        ] {
            assert_eq!(hash.of(&key).map(u32::cast_signed), Some(expected), "{hash:?} of {key:?}");
        }
        for (hash, key) in
            [(KeyHash::Integer, Value::Null), (KeyHash::Uuid, text("0190")), (KeyHash::Text, Value::Null)]
        {
            assert_eq!(hash.of(&key), None);
        }
    }
}
