//! Examples: files beside a handler, each with a request and its expected plan, or rows and their expected response, or
//! both in sequence. They are parsed strictly, and differences are reported line by line.
//!
//! They document a handler, and prove a candidate before it serves: run by `reload` and by `test_runner`.

mod ask;
mod json;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::time::{ClockId, clock_gettime};
use similar::TextDiff;

use crate::contract::{Outcome, Plan};
use crate::database::Procedure;
use crate::file;
use crate::guest::Component;
use crate::limits;
use crate::manifest::Entry;

/// One example, read from its file.
pub struct Example {
    /// The file.
    pub path: PathBuf,
    file: json::File,
}

/// The name of the folder of a handler's examples, in a folder of the handler's name beside the manifest.
pub const FOLDER_NAME: &str = "examples";

/// The folder of a handler's examples: `NAME/examples` beside the manifest.
pub fn folder(entry: &Entry) -> PathBuf {
    entry.folder.join(&entry.name).join(FOLDER_NAME)
}

/// The paths of a handler's examples, in order; none when there is no folder.
///
/// # Errors
/// When the folder cannot be read, or holds more than a handler may have.
pub fn files(entry: &Entry) -> anyhow::Result<Vec<PathBuf>> {
    let folder = folder(entry);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut files = Vec::new();
    for found in entries {
        let path = found.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    let (count, most) = (files.len(), limits::EXAMPLES_MAX);
    ensure!(count <= most, "{} holds {count} examples, {most} are allowed", folder.display());
    files.sort();
    Ok(files)
}

/// Reads all examples of a handler.
///
/// # Errors
/// The first invalid file, with the line if there is one.
pub fn read(entry: &Entry) -> anyhow::Result<Vec<Example>> {
    files(entry)?.into_iter().map(Example::read).collect()
}

impl Example {
    fn read(path: PathBuf) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = file::read(&path, limits::EXAMPLE_BYTES_MAX).with_context(|| shown.to_string())?;
        Self::parse(path, &text)
    }

    /// Parses the text of an example that was found at `path`.
    ///
    /// # Errors
    /// What is wrong with it, with the line where there is one.
    pub fn parse(path: PathBuf, text: &[u8]) -> anyhow::Result<Self> {
        let shown = path.display();
        let file: json::File = serde_json::from_slice(text).with_context(|| format!("{shown}: no example"))?;
        file.check().map_err(|mistake| anyhow::anyhow!("{shown}: {mistake}"))?;
        Ok(Self { path, file })
    }

    /// Runs it. `procedures` are those the handler may call, where the database is there to tell: the planned call must
    /// fit one of them, and the rows must have its columns.
    ///
    /// # Errors
    /// The differences from the expectation, as a text of several lines.
    pub fn check(
        &self,
        entry: &Entry,
        component: &Component,
        procedures: Option<&[Arc<Procedure>]>,
    ) -> Result<(), String> {
        let mut carry = self.file.carry.clone().unwrap_or_default().into_bytes();
        if let Some((request, expected)) = self.file.request.as_ref().zip(self.file.plan.as_ref()) {
            let request = ask::request(request, entry)?;
            let plan = component.prepare(&request).map_err(|fault| format!("prepare: {fault}"))?;
            differ("plan", &expected.as_json(), &json::Plan::of(&plan, expected).as_json())?;
            if let Plan::Call(call) = plan {
                fits(&call, procedures, self.file.rows.as_ref())?;
                carry = call.carry;
            }
        }
        if let Some((rows, expected)) = self.file.rows.as_ref().zip(self.file.response.as_ref()) {
            let outcome = Outcome::Rows(rows.to_contract()?);
            let response = component.respond(&carry, &outcome).map_err(|fault| format!("respond: {fault}"))?;
            let response = response.ok_or("respond: it left the rows to the host")?;
            differ("response", &expected.as_json(), &json::Response::of(&response, expected).as_json())?;
        }
        Ok(())
    }

    /// Its name: the file's.
    pub fn name(&self) -> &str {
        self.path.file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or("?")
    }
}

fn fits(
    call: &crate::contract::Call,
    procedures: Option<&[Arc<Procedure>]>,
    rows: Option<&json::Rows>,
) -> Result<(), String> {
    let Some(procedures) = procedures else { return Ok(()) };
    let granted = procedures.iter().find(|procedure| procedure.name == call.procedure);
    let granted = granted.ok_or_else(|| format!("the manifest does not grant the procedure `{}`", call.procedure))?;
    granted.check(&call.arguments)?;
    match rows {
        Some(rows) => granted.check_columns(&rows.columns),
        None => Ok(()),
    }
}

/// Compares expected and actual values line by line.
fn differ(what: &str, expected: &str, actual: &str) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    let difference = TextDiff::from_lines(expected, actual);
    let shown = difference.unified_diff().context_radius(3).header("expected", "actual").to_string();
    Err(format!("the {what} is not the expected one\n{}", shown.trim_end()))
}

/// Runs all examples of a handler.
///
/// # Errors
/// Everything that differs, each with its file.
pub fn check_all(
    examples: &[Example],
    entry: &Entry,
    component: &Component,
    procedures: Option<&[Arc<Procedure>]>,
) -> Result<(), String> {
    // The limit is in CPU time, so that a busy machine does not cause a rejection.
    let spent = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
    let (begun, mut failed) = (spent(), Vec::new());
    for (done, example) in examples.iter().enumerate() {
        if spent().saturating_sub(begun) > limits::EXAMPLES_CPU_MAX {
            let (left, most) = (examples.len() - done, limits::EXAMPLES_CPU_MAX.as_secs());
            failed.push(format!("{left} examples were not run: those before them took over {most} s of CPU"));
            break;
        }
        if let Err(difference) = example.check(entry, component, procedures) {
            failed.push(format!("{}: {difference}", shown(&example.path, &entry.folder)));
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(failed.join("\n")),
    }
}

fn shown(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}
