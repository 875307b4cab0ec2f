//! The lock file of a cluster's folder, which one guard at a time holds. Its two lines are the holder's pid, and the
//! folder of its socket, so that a successor knows what else a killed holder left behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::limits;

/// The name of the file in the folder.
pub(super) const FILE_NAME: &str = "lock";

/// Stands in place of the socket once the holder is stopping.
const STOPPING: &str = "stopping";

/// A lock that we hold; released when dropped, and when we end in whatever way.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock of a folder. Waits for a holder that is stopping.
    pub(super) fn take(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE_NAME);
        let cannot = |what| format!("cannot {what} {}", path.display());
        // Not truncated: it names the holder.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| cannot("open"))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| cannot("lock")),
                Err(TryLockError::WouldBlock) => {}
            }
            let (pid, noted) = read(&mut file)?;
            let bound = if noted == STOPPING { limits::POSTGRES_STOP_MAX } else { limits::POSTGRES_LOCK_MAX };
            ensure!(
                begun.elapsed() < bound,
                "another galo is using {} (pid {pid}); stop it first, or use another project",
                folder.display()
            );
            thread::sleep(limits::POSTGRES_POLL_EVERY);
        }
    }

    /// Takes the lock of a folder if it exists and nobody holds it.
    pub(super) fn take_abandoned(folder: &Path) -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(folder.join(FILE_NAME)).ok()?;
        file.try_lock().is_ok().then_some(Self(file))
    }

    /// Notes the folder of our socket; empty for none.
    pub(super) fn note_socket(&mut self, socket: &str) -> anyhow::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        write!(self.0, "{}\n{socket}\n", process::id()).context("cannot write to the lock file")
    }

    /// Notes that we are stopping, so that a successor waits for us.
    pub(super) fn note_stopping(&mut self) -> anyhow::Result<()> {
        self.note_socket(STOPPING)
    }

    /// What the previous holder noted last.
    pub(super) fn noted(&mut self) -> anyhow::Result<String> {
        Ok(read(&mut self.0)?.1)
    }
}

/// The folder of the socket of whoever holds the lock of a folder, if somebody does and has one.
pub(super) fn socket_of_holder(folder: &Path) -> Option<PathBuf> {
    let mut file = File::open(folder.join(FILE_NAME)).ok()?;
    // Shared, so that two that look at the same moment do not take each other for a holder.
    let is_held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let (_, noted) = read(&mut file).ok()?;
    (is_held && noted.starts_with('/')).then(|| PathBuf::from(noted))
}

/// The two lines.
fn read(file: &mut File) -> anyhow::Result<(String, String)> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text).context("cannot read the lock file")?;
    let mut lines = text.lines().map(str::to_owned);
    Ok((lines.next().unwrap_or_default(), lines.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Lock::take(folder.path()).unwrap();
        held.note_socket("/nowhere").unwrap();
        assert!(Lock::take_abandoned(folder.path()).is_none());
        assert_eq!(socket_of_holder(folder.path()), Some(PathBuf::from("/nowhere")));
        let refusal = format!("{:#}", Lock::take(folder.path()).unwrap_err());
        let holder = format!("another galo is using {} (pid {})", folder.path().display(), process::id());
        assert!(refusal.contains(&holder), "{refusal}");
        drop(held);
        assert_eq!(socket_of_holder(folder.path()), None);
        assert_eq!(Lock::take_abandoned(folder.path()).unwrap().noted().unwrap(), "/nowhere");
    }
}
