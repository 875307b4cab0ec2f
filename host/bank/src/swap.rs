//! Handlers that are swapped while something else happens: the same components again and again, each time with another
//! digest. How a node is asked what it serves depends on how the stack is run (`faults`).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// A run without these has not shown that swaps go unnoticed.
const SWAPS_MIN: u32 = 2;

/// Swaps until it is stopped.
pub struct Swaps {
    folder: PathBuf,
    /// A component that is left as it is.
    spared: Option<&'static str>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Swaps {
    /// Begins to swap every component of the folder that all nodes serve from, except one that a test deploys itself.
    #[must_use]
    pub fn start(folder: &Path, every: Duration, spared: Option<&'static str>) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(swap(folder.to_owned(), every, spared, stop.clone()));
        Self { folder: folder.to_owned(), spared, stop, task }
    }

    /// Ends it, after the second swap at the earliest, and returns the digests that every node serves sooner or later.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub async fn stop(self) -> anyhow::Result<Vec<String>> {
        self.stop.cancel();
        self.task.await.context("the swaps panicked")??;
        let digest = |name: &OsString| {
            let digest = Sha256::digest(std::fs::read(self.folder.join(name))?);
            Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
        };
        components(&self.folder, self.spared)?.iter().map(digest).collect()
    }
}

async fn swap(
    folder: PathBuf,
    every: Duration,
    spared: Option<&'static str>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let components = components(&folder, spared)?;
    let originals: Vec<_> = components.iter().map(|name| std::fs::read(folder.join(name))).collect::<Result<_, _>>()?;
    let mut number = 0_u32;
    while number < SWAPS_MIN || !stop.is_cancelled() {
        number += 1;
        for (name, original) in components.iter().zip(&originals) {
            put(&folder, name, &numbered(original, number))?;
        }
        tokio::select! {
            () = sleep(every) => {}
            () = stop.cancelled(), if number >= SWAPS_MIN => {}
        }
    }
    Ok(())
}

/// A component with one more custom section, `galo` and a number: it has no effect but another digest.
#[must_use]
pub fn numbered(component: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 9, 4]);
    bytes.extend(b"galo");
    bytes.extend(number.to_le_bytes());
    bytes
}

/// The names of the components in a folder.
fn components(folder: &Path, spared: Option<&str>) -> std::io::Result<Vec<OsString>> {
    let names = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let is_component = |name: &OsString| Path::new(name).extension().is_some_and(|extension| extension == "wasm");
    let is_swapped = |name: &OsString| is_component(name) && spared.is_none_or(|spared| name != spared);
    names.filter(|name| name.as_ref().map_or(true, is_swapped)).collect()
}

/// As a deployment should: whole, by renaming.
///
/// # Errors
/// A folder that cannot be written to.
pub fn put(folder: &Path, name: &OsStr, bytes: &[u8]) -> std::io::Result<()> {
    // Of its own: a test may put one component while others are swapped.
    let next = folder.join(format!("{}.next", name.display()));
    std::fs::write(&next, bytes)?;
    std::fs::rename(next, folder.join(name))
}
