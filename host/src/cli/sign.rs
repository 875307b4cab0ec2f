//! `galo sign`: makes keys, and signs the handlers of a folder or one component for `galo deploy`. Signatures are those
//! of minisign and lie beside what they sign.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use galo::guest::Digest;
use galo::manifest::{self, Entry};
use galo::trust::{self, Signer};
use galo::{file, limits, log};

/// Not an option of clap's: arguments are shown by `ps`.
pub(super) const PASSWORD_VARIABLE: &str = "GALO_SIGN_PASSWORD";

#[derive(Args)]
pub(super) struct SignArgs {
    /// Sign only this handler, whose component is X.wasm
    #[arg(value_name = "NAME", requires = "component")]
    name: Option<String>,
    /// The component that is to be deployed
    #[arg(value_name = "X.wasm")]
    component: Option<PathBuf>,
    /// Folder with galo.toml, whose handlers and grants are signed
    #[arg(long, env = "GALO_HANDLERS", value_name = "DIR", default_value = "handlers")]
    handlers: PathBuf,
    /// File with the secret key, as minisign or --new-key writes it
    ///
    /// If it is encrypted, set its password in GALO_SIGN_PASSWORD.
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    key: Option<PathBuf>,
    /// Make a pair of keys: the secret one in FILE, the public one in FILE.pub
    ///
    /// The secret key is encrypted if GALO_SIGN_PASSWORD is set.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "name"])]
    new_key: Option<PathBuf>,
}

impl SignArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let password = std::env::var(PASSWORD_VARIABLE).ok().filter(|password| !password.is_empty());
        if let Some(path) = &self.new_key {
            let public = trust::make_keys(path, password.as_deref())?;
            let how = if password.is_some() { "encrypted" } else { "not encrypted" };
            log::print(format_args!("{}: the secret key, {how}; keep it where no node is", path.display()));
            log::print(format_args!("{}: the public key, for `galo serve --trust`", public.display()));
            return Ok(ExitCode::SUCCESS);
        }
        let key = self.key.context("give the secret key, with --key FILE")?;
        let signer = Signer::read(&key, password.as_deref())?;
        let manifest = manifest::read(&self.handlers)?;
        if let (Some(name), Some(component)) = (&self.name, &self.component) {
            let Some(entry) = manifest.handlers.iter().find(|entry| entry.name == *name) else {
                bail!("{} has no handler {name}", manifest.path.display());
            };
            return component_of(&signer, entry, component).map(|()| ExitCode::SUCCESS);
        }
        for entry in &manifest.handlers {
            component_of(&signer, entry, &entry.component)?;
        }
        let path = &manifest.path;
        let bytes =
            file::read(path, limits::MANIFEST_BYTES_MAX).with_context(|| format!("cannot read {}", path.display()))?;
        write(path, &signer.sign(&bytes, "galo manifest")?)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn component_of(signer: &Signer, entry: &Entry, path: &Path) -> anyhow::Result<()> {
    let bytes =
        file::read(path, limits::COMPONENT_BYTES_MAX).with_context(|| format!("cannot read {}", path.display()))?;
    let sha256 = Digest::of(&bytes).to_string();
    let comment = format!("galo handler {} sha256 {sha256}", entry.name);
    write(path, &signer.sign(entry.statement(&sha256).as_bytes(), &comment)?)
}

/// Replaces the signature of a file by renaming.
fn write(of: &Path, signature: &str) -> anyhow::Result<()> {
    let path = trust::path_of(of);
    galo::put::replace(&path, signature.as_bytes())?;
    log::print(format_args!("{}", path.display()));
    Ok(())
}
