//! Downloads the server's binaries into the user's cache, for a machine that has none. The theseus-rs project builds
//! them; they are fetched over TLS and checked against their published digest. If that fails too, the error lists what
//! to install.
//!
//! curl fetches and tar unpacks: a machine with rustup has both. An HTTP client with TLS would be a fifth of the host's
//! crates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill};
use sha2::{Digest as _, Sha256};

use super::account::Account;
use super::events::{Event, Events, Left};
use crate::limits;

/// The version that is downloaded.
const VERSION: &str = "18.6.0";

/// Where releases are.
const RELEASES: &str = "https://github.com/theseus-rs/postgresql-binaries/releases/download";

/// Where downloads of this user are kept. Root's own cache is closed to the user that runs Postgres.
pub(super) fn cache(account: Account) -> anyhow::Result<PathBuf> {
    match account {
        Account::Other { .. } => Ok(PathBuf::from("/var/cache/galo/postgres")),
        Account::Own => {
            Ok(dirs::cache_dir().context("this user has no cache folder; set XDG_CACHE_HOME")?.join("galo/postgres"))
        }
    }
}

/// Downloads the binaries into `cache` and returns their folder. Logs what it does.
pub(super) fn download(cache: &Path, events: &Events) -> anyhow::Result<PathBuf> {
    let name = format!("postgresql-{VERSION}-{}.tar.gz", platform()?);
    let url = format!("{RELEASES}/{VERSION}/{name}");
    tracing::info!("no PostgreSQL server found on this machine; downloading {VERSION} (about 20 MB) from {url}");
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let scratch = tempfile::tempdir_in(cache).context("cannot make a folder for the download")?;
    let (archive, digest) = (scratch.path().join("archive"), scratch.path().join("digest"));
    fetch(&url, &archive, events)?;
    fetch(&format!("{url}.sha256"), &digest, events)?;
    check(&fs::read(&archive)?, &fs::read_to_string(&digest)?).with_context(|| url.clone())?;
    let destination = cache.join(VERSION);
    tracing::info!("downloaded; extracting to {}", destination.display());
    let unpacked = scratch.path().join("unpacked");
    unpack(&archive, &unpacked, events)?;
    // Renamed, so that it is complete under its name. Another galo may have been first.
    match fs::rename(&unpacked, &destination) {
        Err(_) if destination.is_dir() => {}
        renamed => renamed.with_context(|| format!("cannot make {}", destination.display()))?,
    }
    Ok(destination.join("bin"))
}

/// The error for a machine without binaries and without a download.
pub(super) fn how_to_install(cause: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "no PostgreSQL server found on this machine, and {VERSION} could not be downloaded ({cause:#})\n\
         Install one:\n  \
         Debian, Ubuntu:  sudo apt-get install postgresql\n  \
         Fedora:          sudo dnf install postgresql-server\n  \
         macOS:           brew install postgresql@17\n\
         or use a running one, postgresql://user:password@host:5432/database: in DATABASE_URL for `galo dev`, with \
         --database for `galo test`"
    )
}

/// This machine's name in the names of releases.
fn platform() -> anyhow::Result<String> {
    let architecture = std::env::consts::ARCH;
    Ok(match std::env::consts::OS {
        "linux" if cfg!(target_env = "musl") => format!("{architecture}-unknown-linux-musl"),
        "linux" => format!("{architecture}-unknown-linux-gnu"),
        "macos" => format!("{architecture}-apple-darwin"),
        other => bail!("no build for {other}"),
    })
}

/// Fetches over TLS only, redirects included. Proxies and certificates are those of the machine.
fn fetch(url: &str, file: &Path, events: &Events) -> anyhow::Result<()> {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--proto", "=https", "--proto-redir", "=https"]);
    curl.args(["--retry", "3", "--connect-timeout", "30"]);
    curl.arg("--max-time").arg(limits::POSTGRES_DOWNLOAD_MAX.as_secs().to_string()).arg("--output").arg(file).arg(url);
    run(curl, events)
}

/// Compares the archive with the digest that was published beside it.
fn check(archive: &[u8], published: &str) -> anyhow::Result<()> {
    let hex: String = Sha256::digest(archive).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(published.contains(&hex), "the archive's sha256 is {hex}, and the published one is {}", published.trim());
    Ok(())
}

/// Unpacks an archive without its outermost folder.
fn unpack(archive: &Path, folder: &Path, events: &Events) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    // Another user runs Postgres when we are root.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(folder).args(["--strip-components", "1"]);
    run(tar, events)
}

/// Runs a program to its end. It is killed when we are asked to leave.
fn run(mut command: Command, events: &Events) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let pid = events.spawn(&mut command).with_context(|| format!("cannot run {name}; is it installed?"))?;
    let begun = Instant::now();
    loop {
        match events.next(limits::POSTGRES_PROGRESS_EVERY) {
            Some(Event::Ended(status)) => {
                ensure!(status.success(), "{name} failed ({status}); its message is above");
                return Ok(());
            }
            None if begun.elapsed() < limits::POSTGRES_DOWNLOAD_MAX => {
                tracing::info!("still waiting for {name}, {} s", begun.elapsed().as_secs());
            }
            early => {
                // It may just have ended by itself.
                let _ = kill(pid, Signal::SIGKILL);
                ensure!(early.is_none(), Left);
                bail!("{name} was not done within {} s", limits::POSTGRES_DOWNLOAD_MAX.as_secs());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_what_to_install_and_the_cause() {
        let refusal = how_to_install(&anyhow!("no route to host")).to_string();
        for part in ["apt-get install", "dnf install", "brew install", "DATABASE_URL", "no route to host"] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn nothing_is_fetched_without_tls() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        assert!(fetch(&url, &folder.path().join("file"), &Events::new()).is_err());
        assert!(listener.accept().is_err(), "curl connected without TLS");
    }

    #[test]
    fn an_archive_with_another_digest_is_refused() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(b"abc", &format!("{digest}  postgresql.tar.gz\n")).unwrap();
        assert!(check(b"abd", digest).unwrap_err().to_string().contains(digest));
        assert!(check(b"abc", "").is_err());
    }

    #[test]
    fn an_archive_is_unpacked_without_its_outer_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("postgresql-18/bin");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("initdb"), "x").unwrap();
        let archive = folder.path().join("archive");
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&archive).arg("-C").arg(folder.path()).arg("postgresql-18");
        run(tar, &Events::new()).unwrap();
        let unpacked = folder.path().join("unpacked");
        unpack(&archive, &unpacked, &Events::new()).unwrap();
        assert_eq!(fs::read(unpacked.join("bin/initdb")).unwrap(), b"x");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let missing = run(Command::new("no-such-program"), &Events::new()).unwrap_err();
        assert!(format!("{missing:#}").contains("cannot run no-such-program; is it installed?"), "{missing:#}");
    }
}
