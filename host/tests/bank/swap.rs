//! Handlers that are swapped while something else happens: the same components again and again, each time with another
//! digest.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::node::{LOOK_EVERY, Node, PATIENCE};

/// Between two swaps: compiling takes a tenth of a second, beside a load up to one.
const SWAP_EVERY: Duration = Duration::from_millis(800);

/// The components that are swapped.
const COMPONENTS: [&str; 2] = ["transacoes.wasm", "extrato.wasm"];

/// Swaps until it is told to stop.
pub struct Swaps {
    folder: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<u32>,
}

impl Swaps {
    /// Begins to swap in the folder that all nodes serve from.
    pub fn start(folder: &Path) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (folder, stop) = (folder.to_owned(), stop.clone());
            async move {
                let originals = COMPONENTS.map(|name| std::fs::read(folder.join(name)).unwrap());
                let mut number = 0_u32;
                while !stop.is_cancelled() {
                    number += 1;
                    for (name, original) in COMPONENTS.iter().zip(&originals) {
                        put(&folder, name, &numbered(original, number));
                    }
                    tokio::select! {
                        () = sleep(SWAP_EVERY) => {}
                        () = stop.cancelled() => {}
                    }
                }
                number
            }
        });
        Self { folder: folder.to_owned(), stop, task }
    }

    /// Ends it, and waits until every node serves the last that was put.
    pub async fn stop(self, nodes: &[Node]) {
        self.stop.cancel();
        let swaps = self.task.await.unwrap();
        assert!(swaps >= 2, "only {swaps} swaps");
        for name in COMPONENTS {
            let digest = Sha256::digest(std::fs::read(self.folder.join(name)).unwrap());
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            for node in nodes {
                let begun = Instant::now();
                while !node.report().await.handlers.iter().any(|handler| handler.sha256 == digest) {
                    assert!(begun.elapsed() < PATIENCE, "{name} {digest} does not serve: {:?}", node.report().await);
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }
}

/// A component with a custom section behind it: `galo` and a number. It means nothing, and changes the digest.
fn numbered(component: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 9, 4]);
    bytes.extend(b"galo");
    bytes.extend(number.to_le_bytes());
    bytes
}

/// As a deployment should: whole, by renaming.
fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let next = folder.join("next");
    std::fs::write(&next, bytes).unwrap();
    std::fs::rename(next, folder.join(name)).unwrap();
}
