//! The folder of a cluster: `data` (what initdb makes), `log`, and `lock`, which one guard at a time holds. Taking it
//! clears away what a killed predecessor left: its postgres, its socket, a half-made `data`. Never deletes what it did
//! not make. Called by the guard.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::unistd::Uid;
use tempfile::TempDir;

use super::account::Account;
use super::leftover;
use super::place::place;
use super::server::STOP_MAX;

/// How the folders of throwaway clusters are called, in the folder for temporary files.
pub(super) const THROWAWAY_PREFIX: &str = "galo-throwaway-";

/// A guard whose parent is gone notices at once, so that a lock still held after this is held for good, unless its
/// holder says that it is stopping.
const LOCK_MAX: Duration = Duration::from_secs(2);

/// Waiting for another process has no event to wait for; this is nothing beside starting a server.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A lock younger than this may be one that its guard is just about to take.
const SWEEP_AFTER: Duration = Duration::from_secs(60);

/// The longest path of a socket, without the terminating zero: 103 on macOS, 107 on Linux.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// What stands in a lock file in place of the socket, once its holder is on its way out.
const STOPPING: &str = "stopping";

/// A cluster's folder, held by us.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    pub(super) account: Account,
    lock: File,
}

impl Folder {
    /// Takes the folder `intended`, or, when the user that postgres runs as cannot get there, one in `/var/tmp`.
    pub(super) fn take(intended: &Path) -> anyhow::Result<Self> {
        let (path, account) = place(&std::path::absolute(intended)?)?;
        let lock = lock(&path)?;
        let mut folder = Self { path, account, lock };
        folder.clear_leftovers()?;
        Ok(folder)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Where initdb works; renamed to `data` when it is done.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.path.join("data.unfinished")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Who may connect to a cluster with lasting data; written anew at each start.
    pub(super) fn admit(&self, rules: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join("pg_hba.conf");
        fs::write(&path, rules).with_context(|| format!("cannot write {}", path.display()))?;
        self.account.own(&path)?;
        Ok(path)
    }

    /// Makes the folder for the socket, closed to everyone but the user that postgres runs as (and root), and notes it
    /// in the lock file, so that whoever finds a leftover knows what else to remove.
    pub(super) fn socket(&mut self, file_name: &str) -> anyhow::Result<TempDir> {
        for base in [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()] {
            let bytes = base.as_os_str().len() + "/galo-XXXXXX/".len() + file_name.len();
            // A comma separates folders in Postgres's own setting.
            let plain = base.to_str().is_some_and(|text| !text.contains([',', '"', '\n']));
            if bytes > SOCKET_PATH_BYTES_MAX || !plain || !base.is_absolute() || !self.account.enters(&base) {
                continue;
            }
            let private = fs::Permissions::from_mode(0o700);
            let socket = tempfile::Builder::new().prefix("galo-").permissions(private).tempdir_in(&base)?;
            self.account.own(socket.path())?;
            self.note(&socket.path().to_string_lossy())?;
            return Ok(socket);
        }
        bail!("no folder for temporary files has a path short enough for a socket")
    }

    /// Notes that we are on our way out, so that a successor waits for us.
    pub(super) fn stopping(&mut self) -> anyhow::Result<()> {
        self.note(STOPPING)
    }

    /// Deletes the data.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        remove(&self.data()).and_then(|()| remove(&self.unfinished())).context("cannot delete the data")
    }

    /// Deletes the data and everything else we made, and the folder itself when it is empty then.
    pub(super) fn delete(&self) -> anyhow::Result<()> {
        self.empty()?;
        fs::remove_file(self.log()).or_else(absent_is_fine)?;
        fs::remove_file(self.path.join("pg_hba.conf")).or_else(absent_is_fine)?;
        fs::remove_file(self.path.join("lock"))?;
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Deletes the throwaway clusters beside this one whose guards were killed.
    pub(super) fn sweep_siblings(&self) -> anyhow::Result<()> {
        let Some(parent) = self.path.parent() else { return Ok(()) };
        for entry in fs::read_dir(parent)?.flatten() {
            let ours = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == Uid::effective().as_raw());
            let named = entry.file_name().as_encoded_bytes().starts_with(THROWAWAY_PREFIX.as_bytes());
            let lock = entry.path().join("lock");
            let age = lock.metadata().and_then(|found| found.modified()).map(|modified| modified.elapsed());
            if !ours || !named || entry.path() == self.path || !matches!(age, Ok(Ok(age)) if age > SWEEP_AFTER) {
                continue;
            }
            let lock = OpenOptions::new().read(true).write(true).open(lock)?;
            if lock.try_lock().is_ok() {
                let account = Account::for_data(&entry.path().join("data"))?;
                let mut left = Self { path: entry.path(), account, lock };
                left.clear_leftovers().and_then(|()| left.delete())?;
            }
        }
        Ok(())
    }

    fn clear_leftovers(&mut self) -> anyhow::Result<()> {
        let data = self.data();
        ensure!(
            !data.exists() || data.join("PG_VERSION").exists(),
            "{} is there, but is no Postgres cluster; it is left alone",
            data.display()
        );
        leftover::stop(&data)?;
        remove(&self.unfinished())?;
        let (_, noted) = read_note(&mut self.lock)?;
        let socket = Path::new(&noted);
        let named = socket.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"galo-"));
        if named && socket.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            remove(socket)?;
        }
        self.note("")
    }

    fn note(&mut self, what: &str) -> anyhow::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        write!(self.lock, "{}\n{what}\n", process::id()).context("cannot write to the lock file")
    }
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false) // It says who holds it.
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        let (pid, noted) = read_note(&mut file)?;
        let patience = if noted == STOPPING { STOP_MAX } else { LOCK_MAX };
        ensure!(begun.elapsed() < patience, "another galo is using {} (pid {pid})", folder.display());
        thread::sleep(POLL_EVERY);
    }
}

/// The two lines of a lock file: its holder's pid, and the folder of its socket.
fn read_note(lock: &mut File) -> anyhow::Result<(String, String)> {
    let mut text = String::new();
    lock.rewind()?;
    lock.read_to_string(&mut text).context("cannot read the lock file")?;
    let mut lines = text.lines().map(str::to_owned);
    Ok((lines.next().unwrap_or_default(), lines.next().unwrap_or_default()))
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path).or_else(absent_is_fine)
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("cluster");
        let held = Folder::take(&path).unwrap();
        let refusal = format!("{:#}", lock(&path).unwrap_err());
        assert!(refusal.contains("another galo is using") && refusal.contains(&process::id().to_string()), "{refusal}");
        drop(held);
        Folder::take(&path).unwrap();
    }

    #[test]
    fn what_is_no_cluster_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("data")).unwrap();
        assert!(Folder::take(parent.path()).unwrap_err().to_string().contains("is no Postgres cluster"));
        assert!(parent.path().join("data").exists());
    }

    #[test]
    fn the_leftovers_of_a_killed_guard_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let socket = tempfile::Builder::new().prefix("galo-").tempdir().unwrap();
        fs::create_dir(parent.path().join("data.unfinished")).unwrap();
        fs::write(parent.path().join("lock"), format!("1\n{}\n", socket.path().display())).unwrap();
        let folder = Folder::take(parent.path()).unwrap();
        assert!(!folder.unfinished().exists() && !socket.path().exists());
    }
}
