//! The file of a compiled form: native code as wasmtime serialises it, followed by a seal, the sha256 of the code and
//! of the file's name. A file whose seal does not match was damaged on disk and is not mapped: wasmtime trusts such a
//! file as it trusts its own code.
//!
//! The compiler's process writes it through a descriptor that `compiler` passes; `cache` stores and finds it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;

use nix::sys::memfd::{MFdFlags, memfd_create};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component as Native;

use super::engine::Engine;

/// How a seal begins. wasmtime ignores what follows the sections of its file.
const MARK: &[u8; 8] = b"galo-1\0\n";
/// The mark and a sha256.
const SEAL_BYTES: u64 = MARK.len() as u64 + 32;

/// A file in memory, for a form that is not cached.
pub(super) fn in_memory() -> std::io::Result<File> {
    Ok(memfd_create(c"galo-component", MFdFlags::MFD_CLOEXEC)?.into())
}

/// Appends the seal to a complete form.
pub(super) fn seal(file: &mut File, name: &str) -> std::io::Result<()> {
    let bytes = file.metadata()?.len();
    let sum = sum(file, name, bytes)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(&[&MARK[..], &sum].concat())
}

/// Whether a file holds what was sealed under this name.
pub(super) fn is_whole(file: &mut File, name: &str) -> std::io::Result<bool> {
    let Some(bytes) = file.metadata()?.len().checked_sub(SEAL_BYTES) else { return Ok(false) };
    let sum = sum(file, name, bytes)?;
    let mut seal = Vec::new();
    file.take(SEAL_BYTES).read_to_end(&mut seal)?;
    Ok(seal == [&MARK[..], &sum].concat())
}

/// The sha256 of a name and of the first bytes of a file; the file's position is after them then. Read in pieces, so
/// that the form is not held in memory twice when it is mapped afterwards.
fn sum(file: &mut File, name: &str, bytes: u64) -> std::io::Result<[u8; 32]> {
    let mut sum = Sha256::new();
    sum.update(name.as_bytes());
    file.seek(SeekFrom::Start(0))?;
    let mut left = file.take(bytes);
    let mut piece = vec![0; 64 * 1024];
    loop {
        match left.read(&mut piece)? {
            0 => return Ok(sum.finalize().into()),
            n => sum.update(&piece[..n]),
        }
    }
}

/// Maps a form that is whole and that only this user can have written. The caller has to make sure of both.
pub(super) fn load(engine: &Engine, file: &mut File) -> wasmtime::Result<Native> {
    // Through the descriptor, not the name: the file that was checked is the one that is mapped.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    #[expect(unsafe_code, reason = "wasmtime trusts the file; the caller made sure that we wrote it")]
    // SAFETY: the form was written by this program's compiler and sealed behind it, or its seal was checked; it lies in
    // memory, or in a folder that only this user can write to, and is never changed in place. wasmtime itself checks
    // that this engine's version and settings made it.
    let mapped = unsafe { Native::deserialize_file(engine.inner(), &path) };
    mapped.or_else(|_| {
        // The file system may be mounted `noexec`, as a container's tmpfs is: then code can be copied from it, but not
        // mapped.
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: as above.
        unsafe {
            Native::deserialize(engine.inner(), &bytes)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_with_one_bit_flipped_is_not_whole() {
        let mut file = in_memory().unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        assert!(!is_whole(&mut file, "a").unwrap());
        seal(&mut file, "a").unwrap();
        assert!(is_whole(&mut file, "a").unwrap());
        assert!(!is_whole(&mut file, "b").unwrap(), "another component's");
        let length = file.metadata().unwrap().len();
        for at in [0, 65_536, 99_999, 100_001, length - 1] {
            let flip = |file: &mut File| {
                let mut byte = [0];
                file.seek(SeekFrom::Start(at)).unwrap();
                file.read_exact(&mut byte).unwrap();
                file.seek(SeekFrom::Start(at)).unwrap();
                file.write_all(&[byte[0] ^ 1]).unwrap();
            };
            flip(&mut file);
            assert!(!is_whole(&mut file, "a").unwrap(), "{at}");
            flip(&mut file);
        }
        assert!(is_whole(&mut file, "a").unwrap());
        file.set_len(length - 1).unwrap();
        assert!(!is_whole(&mut file, "a").unwrap(), "cut short");
        file.set_len(0).unwrap();
        assert!(!is_whole(&mut file, "a").unwrap(), "empty");
    }
}
