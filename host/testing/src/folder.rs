//! Folders: the handlers of the checkout, built once for each profile; guests of a test, with a manifest; scratch.

#![expect(clippy::unwrap_used, reason = "set-up for tests: what fails here fails the test")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use galo::develop::build::{self, Cancel, Profile};
use galo::serve;
use tempfile::TempDir;

use crate::database::TestDatabase;
use crate::engine::{engine, settings};
use crate::program::checkout;

/// Builds of a handler end in the same file of the target folder, whichever copy of the checkout they are of.
pub fn one_build_at_a_time() -> MutexGuard<'static, ()> {
    static BUILD: Mutex<()> = Mutex::new(());
    // A test that failed while it built leaves nothing half-done.
    BUILD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handlers of the checkout, built once per run and profile.
pub fn handlers(profile: Profile) -> &'static Path {
    static RELEASE: OnceLock<TempDir> = OnceLock::new();
    static DEVELOPMENT: OnceLock<TempDir> = OnceLock::new();
    let folder = match profile {
        Profile::Release => &RELEASE,
        Profile::Development => &DEVELOPMENT,
    };
    let folder = folder.get_or_init(|| {
        let _turn = one_build_at_a_time();
        let folder = tempfile::tempdir().unwrap();
        build::handlers(&checkout(), profile, &Cancel::default()).unwrap().put(folder.path()).unwrap();
        folder
    });
    folder.path()
}

/// A folder of guests for a node: components with a manifest.
pub struct Guests {
    /// Deleted when this is dropped.
    pub folder: TempDir,
    manifest: String,
}

impl Default for Guests {
    fn default() -> Self {
        Self::new()
    }
}

impl Guests {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), manifest: String::new() }
    }

    /// Adds a guest that answers `GET /NAME`. `more` is manifest text: `procedures = [...]`, `limits = {...}`.
    pub fn add(mut self, name: &str, component: &[u8], more: &str) -> Self {
        std::fs::write(self.folder.path().join(format!("{name}.wasm")), component).unwrap();
        self.manifest +=
            &format!("[[handler]]\nname = \"{name}\"\ncomponent = \"{name}.wasm\"\nroute = \"GET /{name}\"\n{more}\n");
        std::fs::write(self.folder.path().join("galo.toml"), &self.manifest).unwrap();
        self
    }

    /// Replaces a guest's component the way a deployment should: whole, by renaming.
    pub fn put(&self, name: &str, component: &[u8]) {
        self.put_file(&format!("{name}.wasm"), component);
    }

    /// Replaces a file by renaming; its folder is made.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file.persist(path).unwrap();
    }

    /// The text of the manifest.
    pub fn manifest(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("galo.toml")).unwrap()
    }

    /// The error with which a node refuses to start with them.
    pub async fn refusal(&self, database: &TestDatabase) -> String {
        let settings = settings(self.folder.path());
        match serve::start(&settings, &database.target(), engine()).await {
            Ok(_) => panic!("the node started"),
            Err(error) => format!("{error:#}"),
        }
    }
}

/// A scratch folder, and the path of something in it.
pub fn scratch(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}
