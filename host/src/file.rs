//! Reads files of the handlers folder, which are not trusted: only regular files, and only up to a limit. A named pipe,
//! a device or a socket is refused without waiting for it. A file that keeps growing is refused too.
//!
//! `manifest`, `example`, `reload` and `state` use it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It does not exist.
    #[error("{0}")]
    Absent(io::Error),
    /// It is a folder, a named pipe, a device or a socket.
    #[error("not a regular file")]
    NotRegular,
    /// It has more bytes than it may have.
    #[error("more than {0} bytes")]
    TooLarge(u64),
    /// It cannot be read now, but perhaps later.
    #[error("{0}")]
    Failed(io::Error),
}

impl Unreadable {
    /// Whether it may become readable without being changed.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// Reads a whole file. Blocks only on the disk.
///
/// # Errors
/// When it is not a regular file, has more than `bytes_max` bytes, or cannot be read.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Unreadable> {
    let regular = |found: std::fs::Metadata| if found.is_file() { Ok(()) } else { Err(Unreadable::NotRegular) };
    // The type is checked before opening, because opening a device can have effects.
    regular(std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unreadable::Absent(error),
        _ => Unreadable::Failed(error),
    })?)?;
    // The opened file is checked again. If a pipe replaced it in between, it was opened without waiting for a writer.
    let file = open(path).map_err(Unreadable::Failed)?;
    regular(file.metadata().map_err(Unreadable::Failed)?)?;
    let mut bytes = Vec::new();
    // Even if the file grows during the read, no more than the limit and one byte are read.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(Unreadable::Failed)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(Unreadable::TooLarge(bytes_max)),
        false => Ok(bytes),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits()).open(path)
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_nothing_else_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "abc").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("device")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read(&path(name), 3).unwrap(), b"abc");
            assert!(matches!(read(&path(name), 2), Err(Unreadable::TooLarge(2))));
        }
        for name in ["pipe", "socket", "device", "."] {
            assert!(matches!(read(&path(name), 3), Err(Unreadable::NotRegular)), "{name}");
        }
        assert!(matches!(read(&path("none"), 3), Err(Unreadable::Absent(_))));
        assert!(matches!(read(&path("file/none"), 3), Err(Unreadable::Absent(_))));
        std::os::unix::fs::symlink("round", path("round")).unwrap();
        assert!(matches!(read(&path("round"), 3), Err(Unreadable::Failed(_))));
        // Opening a pipe would otherwise wait for a writer.
        assert!(open(&path("pipe")).unwrap().metadata().is_ok_and(|found| !found.is_file()));
    }
}
