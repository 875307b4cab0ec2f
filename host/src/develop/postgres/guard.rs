//! The guard, `galo postgres --data DIR`: runs Postgres for as long as its own stdin stays open, then stops it and
//! leaves nothing behind. Prints one line to stdout: `ready SOCKET-FOLDER PORT`, or `failed` and the reason as a JSON
//! string. Started by hand, it ends at Ctrl-D or Ctrl-C.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process;

use anyhow::{Context, anyhow, bail};

use super::binaries::{self, Binaries, MAJOR_MIN, Search};
use super::download;
use super::events::{Events, Left};
use super::folder::Folder;
use super::initdb::initdb;
use super::server::{Care, PORT, Server};

/// The longest name of a file that Postgres makes in the folder of its socket.
const SOCKET: &str = ".s.PGSQL.5432";

/// The options of `galo postgres`.
#[derive(Clone, Debug)]
pub struct GuardOptions {
    /// The folder of the cluster; made if it does not exist.
    pub data: PathBuf,
    /// Delete the data before starting.
    pub fresh: bool,
    /// Never flush anything to disk, and delete the data after stopping.
    pub throwaway: bool,
    /// Settings of Postgres, `name=value`, that win over those a private cluster has.
    pub settings: Vec<String>,
}

/// Runs a guard to its end. Must be called on the main thread, before there is any other.
///
/// A failure is reported on stdout, to the parent. The process ends here with status 1, so that it is not reported
/// twice.
pub fn guard(options: GuardOptions) -> anyhow::Result<()> {
    match run(&options) {
        Err(error) if !error.is::<Left>() => {
            // The parent may have ended.
            let _ = report(&format!("failed {}", serde_json::to_string(&format!("{error:#}"))?));
            process::exit(1)
        }
        _ => Ok(()),
    }
}

fn run(options: &GuardOptions) -> anyhow::Result<()> {
    let events = Events::listen()?;
    let mut folder = Folder::take(&options.data)?;
    if options.fresh {
        folder.empty()?;
    }
    if !options.throwaway {
        return hold(&mut folder, options, Care::Lasting, &events);
    }
    if let Err(error) = folder.sweep_siblings() {
        tracing::warn!("cannot delete an earlier throwaway cluster: {error:#}");
    }
    let held = hold(&mut folder, options, Care::Throwaway, &events);
    held.and(folder.delete().context("cannot delete the throwaway cluster"))
}

fn hold(folder: &mut Folder, options: &GuardOptions, care: Care, events: &Events) -> anyhow::Result<()> {
    let binaries = binaries(folder, events)?;
    if !folder.data().exists() {
        initdb(&binaries, folder, care, events)?;
    }
    let socket = folder.socket(SOCKET)?;
    let server = Server::start(&binaries, folder, socket.path(), care, &options.settings, events)?;
    report(&format!("ready {} {PORT}", socket.path().display()))?;
    let held = server.wait(folder);
    folder.stopping()?;
    drop(server); // Before the folder of its socket.
    held
}

/// The binaries that the data needs, or the newest: found on this machine, or else downloaded.
fn binaries(folder: &Folder, events: &Events) -> anyhow::Result<Binaries> {
    let wanted = wanted_major(folder)?;
    let cache = download::cache(folder.account)?;
    let too_old = match binaries::find(&binaries::candidates(&cache), folder.account, wanted)? {
        Search::Found(binaries) => return Ok(binaries),
        Search::Nothing { too_old } => too_old,
    };
    for old in too_old {
        tracing::warn!(
            folder = %old.folder.display(), major = old.version.major, needed = MAJOR_MIN,
            "ignoring a PostgreSQL that is too old"
        );
    }
    let downloaded = download::download(&cache, events)
        .map_err(|cause| if cause.is::<Left>() { cause } else { download::how_to_install(&cause) })?;
    match binaries::find(std::slice::from_ref(&downloaded), folder.account, wanted)? {
        Search::Found(binaries) => Ok(binaries),
        Search::Nothing { .. } => bail!(download::how_to_install(&anyhow!(
            "the download in {} does not run on this machine",
            downloaded.display()
        ))),
    }
}

/// The major version of existing data.
fn wanted_major(folder: &Folder) -> anyhow::Result<Option<u32>> {
    let file = folder.data().join("PG_VERSION");
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            Ok(Some(text.trim_end().parse().with_context(|| format!("{}: {text:?} is not a version", file.display()))?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn report(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
