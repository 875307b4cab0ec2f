//! Makes the data folder of a new cluster with `initdb`.

use std::fs::{self, File};

use anyhow::{Context, bail, ensure};

use super::binaries::Binaries;
use super::events::{Event, Events, Left};
use super::folder::Folder;
use super::server::Care;
use super::stop;
use crate::limits;

/// The role that owns a private cluster.
pub const SUPERUSER: &str = "postgres";

/// Makes the data folder, under a temporary name until it is complete.
pub(super) fn initdb(binaries: &Binaries, folder: &Folder, care: Care, events: &Events) -> anyhow::Result<()> {
    let unfinished = folder.unfinished();
    fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    folder.account.own(&unfinished)?;
    let mut initdb = folder.account.tied_command(&binaries.folder.join("initdb"), "KILL");
    initdb.arg("-D").arg(&unfinished).args(["-U", SUPERUSER]);
    initdb.args(["-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]);
    if care == Care::Throwaway {
        initdb.arg("--no-sync");
    }
    let log = File::create(folder.log()).context("cannot make the log file")?;
    initdb.stdout(log.try_clone()?).stderr(log);
    let pid = events.spawn(&mut initdb).context("cannot run initdb")?;
    match events.next(limits::POSTGRES_INITDB_MAX) {
        Some(Event::Ended(status)) if status.success() => {}
        Some(Event::Ended(status)) => bail!("initdb failed ({status}); its output:\n{}", folder.log_tail()),
        early => {
            events.stop(pid, &stop::KILL);
            ensure!(early.is_none(), Left);
            let seconds = limits::POSTGRES_INITDB_MAX.as_secs();
            bail!("initdb was not done after {seconds} s; its output:\n{}", folder.log_tail());
        }
    }
    fs::rename(&unfinished, folder.data()).context("cannot rename the new data folder")
}
