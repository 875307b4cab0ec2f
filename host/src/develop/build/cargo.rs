//! Runs Cargo. Its progress and its errors go to the terminal as they come.

use std::io::{self, BufReader, Read as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::{Artifact, Message, Metadata, MetadataCommand};

use super::group::{self, Cancel, Output};
use crate::log;

/// What Cargo made, fresh or not, and why it did not make the rest.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) artifacts: Vec<Artifact>,
    pub(super) failed: Option<String>,
}

/// Runs `cargo ARGUMENTS` for some crates of a workspace.
///
/// # Errors
/// When Cargo cannot be run, or the build was stopped.
pub(super) fn run(root: &Path, arguments: &[&str], crates: &[String], cancel: &Cancel) -> anyhow::Result<Outcome> {
    let mut command = cargo(root);
    command.args(arguments).args(["--message-format", "json-render-diagnostics"]);
    command.args(crates.iter().flat_map(|name| ["--package", name]));
    let read = |output: Output<'_>| -> io::Result<Vec<Artifact>> {
        let mut artifacts = Vec::new();
        for message in Message::parse_stream(BufReader::new(output)) {
            match message? {
                Message::CompilerArtifact(artifact) => artifacts.push(artifact),
                Message::TextLine(line) => log::line(&line),
                _ => {}
            }
        }
        Ok(artifacts)
    };
    let (status, artifacts) = piped(command, cancel, read)?;
    if cancel.is_requested() {
        bail!("the build was stopped");
    }
    let failed = (!status.success()).then(|| format!("the build failed ({status}); Cargo's errors are above"));
    Ok(Outcome { artifacts: artifacts?, failed })
}

/// The packages of a workspace and everything that they depend on.
///
/// # Errors
/// When Cargo cannot read the workspace.
pub(super) fn metadata(root: &Path, cancel: &Cancel) -> anyhow::Result<Metadata> {
    let mut command = cargo(root);
    command.args(["metadata", "--format-version", "1"]);
    let read = |mut output: Output<'_>| -> io::Result<String> {
        let mut text = String::new();
        output.read_to_string(&mut text)?;
        Ok(text)
    };
    let (status, text) = piped(command, cancel, read)?;
    if cancel.is_requested() {
        bail!("the build was stopped");
    }
    ensure!(status.success(), "Cargo cannot read the workspace ({status}); its errors are above");
    Ok(MetadataCommand::parse(text?)?)
}

/// Discards what Cargo has made of one package, so that it is compiled again.
///
/// # Errors
/// When Cargo cannot do so.
pub(super) fn discard(root: &Path, package: &str, arguments: &[&str], cancel: &Cancel) -> anyhow::Result<()> {
    let mut command = cargo(root);
    command.args(["clean", "--quiet", "--package", package]).args(arguments);
    let (status, _) = piped(command, cancel, |output| io::read_to_string(output))?;
    ensure!(status.success(), "`cargo clean --package {package}` failed ({status}); its errors are above");
    Ok(())
}

fn cargo(root: &Path) -> Command {
    // The Cargo that runs us knows its toolchain.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a command whose stdout is read.
fn piped<T: Send>(
    mut command: Command,
    cancel: &Cancel,
    read: impl FnOnce(Output<'_>) -> T + Send,
) -> anyhow::Result<(std::process::ExitStatus, T)> {
    let (output, writer) = io::pipe()?;
    let program = command.get_program().to_owned();
    command.stdout(writer);
    group::run(command, output, cancel, read)
        .with_context(|| format!("cannot run {}; install Rust with rustup (https://rustup.rs)", program.display()))
}
