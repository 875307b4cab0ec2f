//! Builds the handlers of a checkout with Cargo and puts them, with their manifest, into a folder that `serve` takes.
//! Cargo's own progress and errors are shown as they come.
//!
//! Called by `dev`, by `galo build`, by `test_runner` (for tests) and by the integration tests.

mod toolchain;

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::{Artifact, Message};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::example;
use crate::log;
use crate::manifest::{self, Entry, Manifest};

/// The target handlers are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// A checkout of the project.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
}

/// How handlers are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// To be deployed.
    Release,
    /// To be developed: a panic says its message, file and line.
    Development,
}

/// Ends a build early, from another thread: Cargo and its compilers are killed.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Cancelled>);

#[derive(Debug, Default)]
struct Cancelled {
    requested: AtomicBool,
    group: std::sync::Mutex<Option<Pid>>,
}

impl Checkout {
    /// The checkout that a folder lies in.
    ///
    /// # Errors
    /// When it lies in none.
    pub fn find(from: &Path) -> anyhow::Result<Self> {
        let from = fs::canonicalize(from)?;
        let root = from.ancestors().find(|folder| folder.join("handlers").join(manifest::FILE_NAME).is_file());
        let root = root.with_context(|| format!("{} is not in a checkout with handlers/galo.toml", from.display()))?;
        Ok(Self { root: root.to_owned() })
    }

    /// The folder of the handlers' sources and their manifest.
    pub fn handlers(&self) -> PathBuf {
        self.root.join("handlers")
    }

    /// The folder of the numbered SQL files.
    pub fn sql(&self) -> PathBuf {
        self.root.join("sql")
    }

    /// The folder for what the project leaves behind in a checkout; git ignores it.
    pub fn scratch(&self) -> PathBuf {
        self.root.join(".galo")
    }

    /// The names of the manifest's handlers that have a crate here.
    fn crates(&self, manifest: &Manifest) -> Vec<String> {
        let names = manifest.handlers.iter().map(|entry| entry.name.clone());
        names.filter(|name| self.handlers().join(name).join("Cargo.toml").is_file()).collect()
    }
}

/// What a build made: the manifest, and where the component of each of its handlers is.
#[derive(Debug)]
pub struct Built {
    manifest: Manifest,
    components: Vec<PathBuf>,
}

/// Builds every handler of the manifest that has a crate in the checkout. A component without a crate is taken from
/// beside the manifest.
///
/// # Errors
/// What the manifest or Cargo complains about.
pub fn handlers(checkout: &Checkout, profile: Profile, cancel: &Cancel) -> anyhow::Result<Built> {
    let manifest = manifest::read(&checkout.handlers())?;
    let components = components(checkout, &manifest, profile, cancel)?;
    Ok(Built { manifest, components })
}

impl Built {
    /// Puts the components, their examples and the manifest into a folder that `serve` takes.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn put(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (entry, component) in self.manifest.handlers.iter().zip(&self.components) {
            // The examples first: whoever sees the component finds the examples it was built with.
            mirror(&example::files(entry)?, &folder.join(&entry.name).join(example::FOLDER_NAME))?;
            let name = entry.component.file_name().context("a component has a file name")?;
            put(component, &folder.join(name))?;
        }
        put(&self.manifest.path, &folder.join(manifest::FILE_NAME))
    }
}

/// Sees to it that what compiles handlers is installed, if there is a handler to be compiled.
///
/// # Errors
/// What is missing, with the command that installs it.
pub fn prepare(checkout: &Checkout) -> anyhow::Result<()> {
    let manifest = manifest::read(&checkout.handlers())?;
    if checkout.crates(&manifest).is_empty() { Ok(()) } else { toolchain::prepare(&checkout.root) }
}

/// Builds the handlers of a manifest. Returns where the component of each is, in the order of the manifest.
///
/// # Errors
/// What Cargo complains about.
pub fn components(
    checkout: &Checkout,
    manifest: &Manifest,
    profile: Profile,
    cancel: &Cancel,
) -> anyhow::Result<Vec<PathBuf>> {
    let crates = checkout.crates(manifest);
    let profile = match profile {
        Profile::Release => "handler",
        // That of the host, so that macros and build scripts are those that were compiled with the host.
        Profile::Development => "dev",
    };
    let arguments = ["build", "--target", TARGET, "--profile", profile];
    let artifacts =
        if crates.is_empty() { Vec::new() } else { artifacts(&mut cargo(checkout, &arguments, &crates)?, cancel)? };
    let mut built: HashMap<&str, &Path> = HashMap::new();
    for artifact in &artifacts {
        let wasm = artifact.filenames.iter().find(|file| file.extension() == Some("wasm"));
        if let Some(wasm) = wasm.filter(|_| artifact.target.is_cdylib()) {
            built.insert(&artifact.target.name, wasm.as_std_path());
        }
    }
    let component = |entry: &Entry| match crates.contains(&entry.name) {
        true => {
            let component = built.get(entry.name.replace('-', "_").as_str());
            component.map(|path| path.to_path_buf()).with_context(|| format!("the crate `{}` is no cdylib", entry.name))
        }
        false => Ok(entry.component.clone()),
    };
    manifest.handlers.iter().map(component).collect()
}

/// Compiles the unit tests of handlers for wasm32-wasip2. Returns the name of each crate and its test program.
///
/// # Errors
/// What Cargo complains about, or that there is no such handler.
pub fn tests(checkout: &Checkout, handler: Option<&str>) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let manifest = manifest::read(&checkout.handlers())?;
    let mut crates = checkout.crates(&manifest);
    match handler {
        Some(name) => {
            ensure!(
                crates.iter().any(|c| c == name),
                "no handler `{name}` with a crate; there are: {}",
                crates.join(", ")
            );
            crates.retain(|c| c == name);
        }
        None => crates.push("galo-kit".to_owned()),
    }
    let mut cargo = cargo(checkout, &["test", "--no-run", "--lib", "--target", TARGET], &crates)?;
    let artifacts = artifacts(&mut cargo, &Cancel::default())?;
    let programs = artifacts.into_iter().filter(|artifact| artifact.profile.test);
    Ok(programs.filter_map(|artifact| Some((artifact.target.name.clone(), artifact.executable?.into()))).collect())
}

fn cargo(checkout: &Checkout, arguments: &[&str], crates: &[String]) -> anyhow::Result<Command> {
    toolchain::prepare(&checkout.root)?;
    // The Cargo that runs us knows which toolchain it is.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&checkout.root).args(arguments).args(["--message-format", "json-render-diagnostics"]);
    crates.iter().for_each(|name| {
        cargo.args(["--package", name]);
    });
    Ok(cargo)
}

/// Runs Cargo in a process group of its own, so that all of it can be ended.
fn artifacts(cargo: &mut Command, cancel: &Cancel) -> anyhow::Result<Vec<Artifact>> {
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot run cargo; is it in PATH?")?;
    cancel.watch(&child)?;
    let mut artifacts = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for message in Message::parse_stream(std::io::BufReader::new(stdout)) {
            match message? {
                Message::CompilerArtifact(artifact) => artifacts.push(artifact),
                Message::TextLine(line) => log::line(&line),
                _ => {}
            }
        }
    }
    let status = child.wait()?;
    cancel.unwatch();
    match status.success() {
        true => Ok(artifacts),
        false if cancel.0.requested.load(Ordering::Relaxed) => bail!("the build was stopped"),
        false => bail!("the build failed ({status})"),
    }
}

impl Cancel {
    /// Ends the build under way, and any that would follow.
    pub fn cancel(&self) {
        self.0.requested.store(true, Ordering::Relaxed);
        self.kill();
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// Lets builds begin again.
    pub fn rearm(&self) {
        self.0.requested.store(false, Ordering::Relaxed);
    }

    fn kill(&self) {
        let group = self.0.group.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(group) = *group {
            // It may just have ended by itself.
            let _ = killpg(group, Signal::SIGTERM);
        }
    }

    fn watch(&self, child: &Child) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        *self.0.group.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(pid);
        if self.0.requested.load(Ordering::Relaxed) {
            self.kill();
        }
        Ok(())
    }

    fn unwatch(&self) {
        *self.0.group.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }
}

/// Makes a folder hold exactly these files.
fn mirror(files: &[PathBuf], folder: &Path) -> anyhow::Result<()> {
    if !files.is_empty() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for old in fs::read_dir(folder).into_iter().flatten() {
        let old = old?;
        if !files.iter().any(|file| file.file_name() == Some(&old.file_name())) {
            fs::remove_file(old.path()).with_context(|| format!("cannot remove {}", old.path().display()))?;
        }
    }
    files.iter().try_for_each(|file| put(file, &folder.join(file.file_name().unwrap_or_default())))
}

/// Puts a file in place by renaming: a reader sees the old one or the new one, whole. An equal file is left alone.
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = to.parent().context("a file lies in a folder")?;
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)?;
    file.write_all(&bytes)?;
    file.persist(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}
