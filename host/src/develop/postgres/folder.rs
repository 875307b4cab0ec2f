//! The folder of a cluster: `data` (what `initdb` makes), `log`, `pg_hba.conf` and `lock`. Taking it clears up after a
//! predecessor that was killed: its Postgres, its socket, a half-made `data`. It deletes only what a guard made.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nix::unistd::Uid;
use tempfile::TempDir;

use super::account::Account;
use super::lock::{self, Lock};
use super::{leftover, place};
use crate::limits;

/// How the names of throwaway clusters begin, in the folder for temporary files.
pub(super) const THROWAWAY_PREFIX: &str = "galo-throwaway-";

/// A cluster's folder, held by us.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    pub(super) account: Account,
    lock: Lock,
}

impl Folder {
    /// Takes the folder `intended`, or one in `/var/tmp` when the user that runs Postgres cannot enter it.
    pub(super) fn take(intended: &Path) -> anyhow::Result<Self> {
        let (path, account) = place::place(&std::path::absolute(intended)?)?;
        let lock = Lock::take(&path)?;
        let mut folder = Self { path, account, lock };
        folder.clear_leftovers()?;
        Ok(folder)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Where `initdb` works; renamed to `data` when it is done.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.path.join("data.unfinished")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// The end of the log, for an error.
    pub(super) fn log_tail(&self) -> String {
        let text = fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(limits::POSTGRES_LOG_TAIL_LINES)..].join("\n")
    }

    /// Writes who may connect to a cluster with lasting data, at each start.
    pub(super) fn admit(&self, rules: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join("pg_hba.conf");
        fs::write(&path, rules).with_context(|| format!("cannot write {}", path.display()))?;
        self.account.own(&path)?;
        Ok(path)
    }

    /// Makes the folder for the socket, closed to everyone but the user that runs Postgres (and root), and notes it in
    /// the lock file.
    pub(super) fn socket(&mut self, file_name: &str) -> anyhow::Result<TempDir> {
        for base in [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()] {
            let bytes = base.as_os_str().len() + "/galo-XXXXXX/".len() + file_name.len();
            // A comma separates folders in Postgres's own setting.
            let plain = base.to_str().is_some_and(|text| !text.contains([',', '"', '\n']));
            if bytes > limits::POSTGRES_SOCKET_PATH_BYTES_MAX
                || !plain
                || !base.is_absolute()
                || !self.account.enters(&base)
            {
                continue;
            }
            let private = fs::Permissions::from_mode(0o700);
            let socket = tempfile::Builder::new().prefix("galo-").permissions(private).tempdir_in(&base)?;
            self.account.own(socket.path())?;
            self.lock.note_socket(&socket.path().to_string_lossy())?;
            return Ok(socket);
        }
        bail!("no folder for temporary files has a path short enough for a socket; set TMPDIR to one that has")
    }

    /// Notes that we are stopping, so that a successor waits for us.
    pub(super) fn stopping(&mut self) -> anyhow::Result<()> {
        self.lock.note_stopping()
    }

    /// Deletes the data.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        remove(&self.data()).and_then(|()| remove(&self.unfinished())).context("cannot delete the data")
    }

    /// Deletes the data and everything else a guard made, and the folder itself when it is empty then.
    pub(super) fn delete(&self) -> anyhow::Result<()> {
        self.empty()?;
        fs::remove_file(self.log()).or_else(absent_is_fine)?;
        fs::remove_file(self.path.join("pg_hba.conf")).or_else(absent_is_fine)?;
        fs::remove_file(self.path.join(lock::FILE_NAME))?;
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
            let lock = entry.path().join(lock::FILE_NAME);
            let age = lock.metadata().and_then(|found| found.modified()).map(|modified| modified.elapsed());
            let old = matches!(age, Ok(Ok(age)) if age > limits::POSTGRES_SWEEP_AFTER);
            if !ours || !named || !old || entry.path() == self.path {
                continue;
            }
            if let Some(lock) = Lock::take_abandoned(&entry.path()) {
                let account = Account::for_data(&entry.path().join("data"))?;
                let mut left = Self { path: entry.path(), account, lock };
                if !left.data().join("PG_VERSION").exists() {
                    // Its guard was killed while it deleted the data.
                    left.empty()?;
                }
                left.clear_leftovers().and_then(|()| left.delete())?;
            }
        }
        Ok(())
    }

    fn clear_leftovers(&mut self) -> anyhow::Result<()> {
        let data = self.data();
        ensure!(
            !data.exists() || data.join("PG_VERSION").exists(),
            "{} exists, but is not a Postgres cluster; move it elsewhere",
            data.display()
        );
        leftover::clear(&data)?;
        remove(&self.unfinished())?;
        let noted = self.lock.noted()?;
        let socket = Path::new(&noted);
        let named = socket.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"galo-"));
        if named && socket.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            remove(socket)?;
        }
        self.lock.note_socket("")
    }
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
    fn what_is_not_a_cluster_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("data")).unwrap();
        assert!(Folder::take(parent.path()).unwrap_err().to_string().contains("is not a Postgres cluster"));
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

    #[test]
    fn a_folder_can_be_taken_again_once_it_was_released() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("cluster");
        drop(Folder::take(&path).unwrap());
        Folder::take(&path).unwrap();
    }

    #[test]
    fn a_throwaway_cluster_that_was_half_deleted_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        // The user that runs Postgres must be able to enter it.
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| parent.path().join(format!("{THROWAWAY_PREFIX}{name}"));
        fs::create_dir_all(path("old").join("data/base")).unwrap();
        let lock = fs::File::create(path("old").join(lock::FILE_NAME)).unwrap();
        lock.set_modified(std::time::SystemTime::now() - limits::POSTGRES_SWEEP_AFTER * 2).unwrap();
        drop(lock);
        Folder::take(&path("new")).unwrap().sweep_siblings().unwrap();
        assert!(!path("old").exists() && path("new").exists());
    }
}
