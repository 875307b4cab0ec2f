//! Examples: files beside a handler, each with a request and its expected plan, or rows and their expected response, or
//! both in sequence. They are parsed strictly, and differences are reported line by line.
//!
//! They document a handler, and prove a candidate before it serves: run by `reload` and by `test_runner`. The rows of
//! an end-to-end example come from a database, which only `test_runner` has; without one it is run up to its call.

mod ask;
mod cell;
mod filled;
mod json;
mod layout;
mod outcome;
mod pattern;
mod response;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::time::{ClockId, clock_gettime};
use similar::TextDiff;

pub use self::filled::Filled;
pub use self::write::write;
use crate::contract::{Call, Outcome, Plan, Request, Response};
use crate::database::Procedure;
use crate::file;
use crate::guest::Component;
use crate::limits;
use crate::manifest::Entry;
use crate::members::Members;

/// One example, read from its file.
pub struct Example {
    /// The file, as messages name it.
    pub path: PathBuf,
    file: json::File,
    /// The names of members of JSON in it.
    members: Members,
}

/// What an example gives to a handler.
pub struct Inputs {
    /// The request, if it has one.
    pub request: Option<Request>,
    /// How the call ends, if it says so.
    pub outcome: Option<Outcome>,
    /// What `respond` gets without a request.
    pub carry: Vec<u8>,
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
    ensure!(count <= most, "{} holds {count} examples, {most} are allowed", entry.shown(&folder).display());
    files.sort();
    Ok(files)
}

/// Reads all examples of a handler.
///
/// # Errors
/// The first invalid file, with the line if there is one.
pub fn read(entry: &Entry) -> anyhow::Result<Vec<Example>> {
    files(entry)?.into_iter().map(|path| Example::read(&path, entry.shown(&path))).collect()
}

impl Example {
    /// Reads a file. Messages name it as `shown`.
    ///
    /// # Errors
    /// What is wrong with it, with the line if there is one.
    pub fn read(path: &Path, shown: PathBuf) -> anyhow::Result<Self> {
        let text = file::read(path, limits::EXAMPLE_BYTES_MAX).with_context(|| shown.display().to_string())?;
        Self::parse(shown, &text)
    }

    /// Parses the text of an example that was found at `path`.
    ///
    /// # Errors
    /// What is wrong with it, with the line where there is one.
    pub fn parse(path: PathBuf, text: &[u8]) -> anyhow::Result<Self> {
        let shown = path.display();
        let file: json::File = serde_json::from_slice(text).with_context(|| format!("{shown}: not an example"))?;
        file.check().map_err(|mistake| anyhow::anyhow!("{shown}: {mistake}"))?;
        let mut members = Members::default();
        members.add_all(&serde_json::from_slice(text).unwrap_or_default());
        Ok(Self { path, file, members })
    }

    /// Whether its rows come from a database.
    pub fn is_end_to_end(&self) -> bool {
        self.file.is_end_to_end()
    }

    /// The SQL that runs before the request of an end-to-end example.
    pub fn before(&self) -> Option<String> {
        self.file.before.as_ref().map(json::Before::sql)
    }

    /// Runs it, an end-to-end example only up to its call. `procedures` are those the handler may call, where the
    /// database is there to tell: the planned call must fit one of them, and the rows must have its columns.
    ///
    /// # Errors
    /// The differences from the expectation, as a text of several lines.
    pub fn check(
        &self,
        entry: &Entry,
        component: &Component,
        procedures: Option<&[Arc<Procedure>]>,
    ) -> Result<(), String> {
        let call = self.plan(entry, component, procedures)?;
        let Some(outcome) = self.file.outcome()? else { return Ok(()) };
        let given = || self.file.carry.clone().unwrap_or_default().into_bytes();
        let carry = call.map_or_else(given, |call| call.carry);
        let response = component.respond(&carry, &outcome).map_err(|fault| format!("respond: {fault}"))?;
        match (&self.file.response, &response) {
            (Some(expected), Some(response)) => {
                differ("response", &expected.as_json(), &response::Response::of(response, expected).as_json())
                    .map_err(|difference| difference + &response::logged(response))
            }
            (Some(_), None) => {
                Err("respond: it left the outcome to the host; for an error, leave `response` out if that \
                                    is meant"
                    .to_owned())
            }
            (None, Some(_)) => {
                Err("respond: it answered the error; without `response` it is expected to leave it to the \
                                    host"
                    .to_owned())
            }
            (None, None) => Ok(()),
        }
    }

    /// Runs its request, if it has one. Returns the call that the handler planned, if it planned one.
    ///
    /// # Errors
    /// As [`Example::check`].
    pub fn plan(
        &self,
        entry: &Entry,
        component: &Component,
        procedures: Option<&[Arc<Procedure>]>,
    ) -> Result<Option<Call>, String> {
        let Some(request) = &self.file.request else { return Ok(None) };
        let request = ask::request(request, entry)?;
        let plan = component.prepare(&request).map_err(|fault| format!("prepare: {fault}"))?;
        if let Some(expected) = &self.file.plan {
            let compared = differ("plan", &expected.as_json(), &json::Plan::of(&plan, expected).as_json());
            compared.map_err(|difference| match &plan {
                Plan::Reply(reply) => difference + &response::logged(reply),
                Plan::Call(_) => difference,
            })?;
        }
        match plan {
            Plan::Reply(reply) => self.compare(&reply).map(|()| None),
            Plan::Call(call) => {
                fits(&call, procedures, self.file.rows.as_ref())?;
                Ok(Some(call))
            }
        }
    }

    /// What it gives to a handler.
    ///
    /// # Errors
    /// Why no node would pass it to this handler.
    pub fn inputs(&self, entry: &Entry) -> Result<Inputs, String> {
        let request = self.file.request.as_ref().map(|request| ask::request(request, entry)).transpose()?;
        let carry = self.file.carry.clone().unwrap_or_default().into_bytes();
        Ok(Inputs { request, outcome: self.file.outcome()?, carry })
    }

    /// Compares the response to an end-to-end example with the expected one, except for what may vary. A difference is
    /// followed by the lines that the handler logs.
    ///
    /// # Errors
    /// As [`Example::check`].
    pub fn compare(&self, response: &Response) -> Result<(), String> {
        let Some(expected) = self.file.response.as_ref().filter(|_| self.is_end_to_end()) else { return Ok(()) };
        differ("response", &expected.as_json(), &response::Response::matched(response, expected).as_json())
            .map_err(|difference| difference + &response::logged(response))
    }

    /// Its file, as a person finds it beside the manifest.
    pub fn shown(&self, entry: &Entry) -> String {
        shown(&self.path, entry)
    }
}

/// The names of members of JSON that are a handler's own: those of its examples and of the paths of its manifest.
pub fn members(entry: &Entry, examples: &[Example]) -> Members {
    let mut members = entry.record.redact.members();
    examples.iter().for_each(|example| members.extend(&example.members));
    members
}

fn fits(call: &Call, procedures: Option<&[Arc<Procedure>]>, rows: Option<&outcome::Rows>) -> Result<(), String> {
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
            failed.push(format!("{}: {difference}", shown(&example.path, entry)));
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(failed.join("\n")),
    }
}

/// The path of an example from the manifest's folder.
fn shown(path: &Path, entry: &Entry) -> String {
    let root = entry.sources.as_deref().and_then(|sources| sources.parent()?.parent()).unwrap_or(&entry.folder);
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
