//! The fingerprints of the files of several handlers, each taken separately: one whose file system does not answer,
//! such as a symlink into an unavailable network folder, does not delay the others.

use std::collections::HashMap;
use std::path::PathBuf;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::fingerprint::Fingerprint;
use super::folder::bounded;
use crate::limits;
use crate::manifest::Entry;

/// Requests to the file system that have not been answered yet.
#[derive(Default)]
pub(super) struct Fingerprints {
    asked: HashMap<Asked, JoinHandle<Result<Fingerprint, String>>>,
}

/// A handler and its component.
type Asked = (String, PathBuf);

impl Fingerprints {
    /// The fingerprints of these handlers' files, in order; `None` for one whose file system does not answer in time.
    pub(super) async fn of(&mut self, entries: &[Entry]) -> Vec<Option<Fingerprint>> {
        self.each(entries, Fingerprint::of_handler).await
    }

    async fn each(&mut self, entries: &[Entry], look: fn(&Entry) -> Fingerprint) -> Vec<Option<Fingerprint>> {
        let mut tasks = Vec::new();
        for entry in entries {
            let key = (entry.name.clone(), entry.component.clone());
            // A request that has not been answered is not repeated: each one that hangs holds a thread.
            let asked = self.asked.remove(&key);
            let known = asked.is_some();
            let task = asked.unwrap_or_else(|| {
                let entry = entry.clone();
                tokio::spawn(bounded(move || look(&entry)))
            });
            tasks.push((key, task, known));
        }
        let deadline = Instant::now() + limits::FINGERPRINT_TIMEOUT;
        let mut fingerprints = Vec::new();
        for (key, mut task, known) in tasks {
            fingerprints.push(match timeout_at(deadline, &mut task).await {
                Ok(fingerprint) => fingerprint.ok().and_then(Result::ok),
                Err(_) => {
                    if !known {
                        tracing::warn!(
                            "{}: cannot read the metadata of {} in time; the next scan tries again",
                            key.0,
                            key.1.display()
                        );
                    }
                    self.asked.insert(key, task);
                    None
                }
            });
        }
        fingerprints
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::sync::{Mutex, OnceLock};

    use super::*;
    use crate::manifest;

    /// How often the handler that hangs was requested, and what ends its waiting.
    static ASKED: AtomicU32 = AtomicU32::new(0);
    static RELEASE: OnceLock<Mutex<mpsc::Receiver<()>>> = OnceLock::new();

    fn look(entry: &Entry) -> Fingerprint {
        if entry.name == "hangs" {
            ASKED.fetch_add(1, Ordering::Relaxed);
            RELEASE.get().unwrap().lock().unwrap().recv().unwrap();
        }
        Fingerprint::of(Path::new("/"))
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_delays_no_other_and_is_asked_once() {
        let (release, waits) = mpsc::channel();
        RELEASE.set(Mutex::new(waits)).unwrap();
        let text = ["hangs", "answers"].map(|name| {
            format!("[[handler]]\nname = \"{name}\"\ncomponent = \"{name}.wasm\"\nroute = \"GET /{name}\"\n")
        });
        let entries = manifest::parse(Path::new("/"), &text.concat()).unwrap().handlers;
        let mut fingerprints = Fingerprints::default();
        for _ in 0..3 {
            assert_eq!(fingerprints.each(&entries, look).await, [None, Some(Fingerprint::of(Path::new("/")))]);
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        release.send(()).unwrap();
        assert!(fingerprints.each(&entries, look).await.iter().all(Option::is_some));
    }
}
