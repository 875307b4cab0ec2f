//! Records a panic in the memory of the handler, where the host finds it.
//!
//! A handler imports nothing, so it cannot report what went wrong. In a build with debug assertions it writes message,
//! file and line into a static and traps; the host scans the memory of the dead instance for the magic. In a released
//! build it only traps, and nothing of this file but the trap is linked.

use core::fmt::{self, Write};
use core::panic::Location;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The magic at the start of the record, every bit inverted: the magic itself must not be in the memory before a panic,
/// as a constant would be.
const MAGIC_INVERTED: [u8; 16] = inverted(*b"GALO-PANIC-v1\0\0\0");
const TEXT_BYTES_MAX: usize = 1024 - 16 - 4;
/// Leaves room for file and line, which are worth more than the end of a long message.
const MESSAGE_BYTES_MAX: usize = 800;

/// 1024 bytes: 16 of magic, 4 of the length of the text (little endian), the text in UTF-8.
#[repr(C)]
struct Record {
    magic: [AtomicU8; 16],
    length: [AtomicU8; 4],
    text: [AtomicU8; TEXT_BYTES_MAX],
}

// Atomic only because a static has to be `Sync`; without threads these are plain stores.
static RECORD: Record = Record::empty();

/// Ends the call. In a build with debug assertions the panic is recorded first.
#[cfg(target_family = "wasm")]
pub fn trap(info: &core::panic::PanicInfo<'_>) -> ! {
    if cfg!(debug_assertions) {
        record(format_args!("{}", info.message()), info.location());
    }
    core::arch::wasm32::unreachable()
}

/// Panics with this reason. A released component only traps, and does not link the code that formats
/// the reason.
#[track_caller]
#[cold]
pub fn refuse(reason: impl fmt::Display) -> ! {
    #[cfg(all(target_family = "wasm", not(debug_assertions)))]
    {
        let _ = reason;
        core::arch::wasm32::unreachable()
    }
    #[cfg(not(all(target_family = "wasm", not(debug_assertions))))]
    panic!("{reason}")
}

/// Writes message, file and line where the host looks for them. A message that is too long is cut.
pub fn record(message: fmt::Arguments<'_>, location: Option<&Location<'_>>) {
    RECORD.write(message, location);
}

impl Record {
    const fn empty() -> Self {
        Self {
            magic: [const { AtomicU8::new(0) }; 16],
            length: [const { AtomicU8::new(0) }; 4],
            text: [const { AtomicU8::new(0) }; TEXT_BYTES_MAX],
        }
    }

    fn write(&self, message: fmt::Arguments<'_>, location: Option<&Location<'_>>) {
        let mut text = Text { room: &self.text[..MESSAGE_BYTES_MAX], length: 0 };
        // Both fail when the room is used up; the part that fits is worth keeping.
        let _ = text.write_fmt(message);
        text.room = &self.text;
        if let Some(location) = location {
            let _ = write!(text, ", {}:{}", location.file(), location.line());
        }
        store(&self.length, text.length.to_le_bytes());
        // Written last, so that a record with the magic is complete.
        for (slot, byte) in self.magic.iter().zip(MAGIC_INVERTED) {
            // Byte by byte: a whole magic on the stack, which lies lower in memory, would be found instead of this one.
            slot.store(!byte, Relaxed);
        }
    }
}

/// The room for the text, filled from the front.
struct Text<'a> {
    room: &'a [AtomicU8],
    length: u32,
}

impl Write for Text<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = self.room.get(self.length as usize..).unwrap_or_default();
        let fitting = piece.floor_char_boundary(room.len());
        for (slot, byte) in room.iter().zip(piece.bytes().take(fitting)) {
            slot.store(byte, Relaxed);
            self.length += 1;
        }
        if fitting == piece.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

fn store<const N: usize>(slots: &[AtomicU8; N], bytes: [u8; N]) {
    for (slot, byte) in slots.iter().zip(bytes) {
        slot.store(byte, Relaxed);
    }
}

const fn inverted(mut bytes: [u8; 16]) -> [u8; 16] {
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = !bytes[at];
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    fn bytes(slots: &[AtomicU8]) -> Vec<u8> {
        slots.iter().map(|slot| slot.load(Relaxed)).collect()
    }

    fn text(record: &Record) -> String {
        assert_eq!(bytes(&record.magic), b"GALO-PANIC-v1\0\0\0");
        let length = u32::from_le_bytes(bytes(&record.length).try_into().unwrap()) as usize;
        String::from_utf8(bytes(&record.text[..length])).unwrap()
    }

    #[test]
    fn the_record_is_1024_bytes() {
        assert_eq!(size_of::<Record>(), 1024);
    }

    #[test]
    fn a_panic_records_message_file_and_line() {
        let record = Record::empty();
        let here = Location::caller();
        record.write(format_args!("{} is not a price", "x"), Some(here));
        assert_eq!(text(&record), std::format!("x is not a price, {}:{}", file!(), here.line()));
    }

    #[test]
    fn a_long_message_is_cut_between_characters_and_keeps_its_location() {
        let record = Record::empty();
        let here = Location::caller();
        record.write(format_args!("{}", "a".repeat(799) + "üz"), Some(here));
        assert_eq!(text(&record), std::format!("{}, {}:{}", "a".repeat(799), file!(), here.line()));
    }
}
