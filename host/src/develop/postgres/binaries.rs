//! Finds the server's binaries on this machine: a folder with both `initdb` and `postgres`, of the newest version or of
//! the version that existing data needs. Versions older than 14 are ignored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::account::{Account, answer};

/// The oldest version that is maintained upstream, and that our SQL was written for.
pub(super) const MAJOR_MIN: u32 = 14;

/// Where packages install the server: a folder, how names in it begin, and where the binaries are in each.
const SYSTEM_FOLDERS: [(&str, &str, &str); 12] = [
    ("/usr/lib/postgresql", "", "bin"),                          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                                   // the PGDG packages for Fedora and its kin
    ("/usr/lib", "postgresql", "bin"),                           // SUSE
    ("/usr/libexec", "postgresql", ""),                          // Alpine
    ("/usr/local", "pgsql", "bin"),                              // built from source
    ("/usr/local", "bin", ""),                                   // the postgres images of Docker, FreeBSD
    ("/usr", "bin", ""),                                         // Fedora, Arch
    ("/opt/homebrew/opt", "postgresql", "bin"),                  // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql", "bin"),                     // Homebrew on Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),     // Homebrew on Linux
    ("/opt/local/lib", "postgresql", "bin"),                     // MacPorts
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
];

/// A version as `postgres --version` prints it. Ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// The binaries of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    pub(super) version: Version,
}

/// The result of a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    Found(Binaries),
    /// None at all, or only versions that are too old: these.
    Nothing {
        too_old: Vec<Binaries>,
    },
}

/// Every folder of this machine that may hold the binaries, and the downloads in `cache`.
pub(super) fn candidates(cache: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut pg_config = Command::new("pg_config");
    pg_config.arg("--bindir");
    folders.extend(answer(pg_config).map(|output| PathBuf::from(output.trim_end())));
    if let Some(path) = std::env::var_os("PATH") {
        // The command runs in `/`, where a relative folder would be another one.
        folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    }
    for (parent, prefix, tail) in SYSTEM_FOLDERS {
        folders.extend(children(Path::new(parent), prefix).map(|folder| folder.join(tail)));
    }
    folders.extend(children(cache, "").map(|folder| folder.join("bin")));
    folders
}

/// The best of `folders` for `account`: of the major version `wanted`, or else the newest. The first of equals wins.
///
/// # Errors
/// When there are binaries, but none of the version that is wanted.
pub(super) fn find(folders: &[PathBuf], account: Account, wanted: Option<u32>) -> anyhow::Result<Search> {
    let mut found: Vec<Binaries> = Vec::new();
    for folder in folders {
        // PATH and the system's folders name the same place more than once, through links too.
        let Ok(folder) = folder.canonicalize() else { continue };
        if found.iter().all(|known| known.folder != folder) {
            found.extend(version(&folder, account).map(|version| Binaries { folder, version }));
        }
    }
    choose(found, wanted)
}

fn choose(found: Vec<Binaries>, wanted: Option<u32>) -> anyhow::Result<Search> {
    let (mut usable, too_old): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|binaries| binaries.version.major >= MAJOR_MIN);
    usable.sort_by_key(|binaries| std::cmp::Reverse(binaries.version)); // Stable: the first of equals stays first.
    let newest = usable.first().map(|binaries| binaries.version.major);
    match (wanted, newest) {
        (Some(wanted), Some(newest)) => match usable.into_iter().find(|binaries| binaries.version.major == wanted) {
            Some(binaries) => Ok(Search::Found(binaries)),
            None => bail!(
                "the data was made by PostgreSQL {wanted}, but the newest server found is {newest}; install PostgreSQL \
                     {wanted}, or run with --fresh to start with an empty database"
            ),
        },
        _ => Ok(usable.into_iter().next().map_or(Search::Nothing { too_old }, Search::Found)),
    }
}

/// The version of the server in `folder`, if both binaries are there and `account` may run them.
fn version(folder: &Path, account: Account) -> Option<Version> {
    if !folder.join("initdb").is_file() || !folder.join("postgres").is_file() {
        return None;
    }
    let mut postgres = account.command(folder.join("postgres"));
    postgres.arg("--version");
    parse_version(&answer(postgres)?)
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `… 18beta1` and the like.
fn parse_version(output: &str) -> Option<Version> {
    let number = output.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let mut parts = number.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    });
    Some(Version { major: parts.next()??, minor: parts.next().flatten().unwrap_or(0) })
}

/// The entries of `parent` whose names begin with `prefix`; none when it cannot be read.
fn children(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(move |entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_version_is_read() {
        for (output, major, minor) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", 15, 18),
            ("postgres (PostgreSQL) 18beta1\n", 18, 0),
            ("postgres (PostgreSQL) 19devel", 19, 0),
            ("postgres (PostgreSQL) 9.6.24", 9, 6),
        ] {
            assert_eq!(parse_version(output), Some(Version { major, minor }), "{output}");
        }
        for output in ["", "postgres", "postgres (PostgreSQL) ", "postgres (PostgreSQL) x"] {
            assert_eq!(parse_version(output), None, "{output}");
        }
    }

    #[test]
    fn the_newest_wins_unless_data_needs_another() {
        let all = || vec![at("/a", 14, 9), at("/b", 16, 1), at("/c", 16, 3), at("/d", 16, 3), at("/e", 13, 20)];
        assert_eq!(choose(all(), None).unwrap(), Search::Found(at("/c", 16, 3)));
        assert_eq!(choose(all(), Some(14)).unwrap(), Search::Found(at("/a", 14, 9)));
        let refusal = choose(all(), Some(15)).unwrap_err().to_string();
        assert!(refusal.contains("PostgreSQL 15") && refusal.contains("--fresh"), "{refusal}");
    }

    #[test]
    fn what_is_too_old_is_reported_and_not_used() {
        let too_old = vec![at("/e", 13, 20)];
        assert_eq!(choose(too_old.clone(), None).unwrap(), Search::Nothing { too_old });
    }

    #[test]
    fn a_machine_without_a_server_has_none() {
        let empty = tempfile::tempdir().unwrap();
        let folders = [empty.path().to_path_buf(), PathBuf::from("/nowhere")];
        assert_eq!(find(&folders, Account::Own, None).unwrap(), Search::Nothing { too_old: vec![] });
    }

    fn at(folder: &str, major: u32, minor: u32) -> Binaries {
        Binaries { folder: folder.into(), version: Version { major, minor } }
    }
}
