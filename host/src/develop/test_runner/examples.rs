//! Runs the examples of a handler: those that need no database as a node does, and the end-to-end ones with the rows
//! that the procedure returns on a copy of the scratch database.

use std::path::PathBuf;
use std::time::Instant;

use tokio::task::block_in_place;

use super::application::Application;
use super::report::{Case, Kind, Verdict};
use super::selection::Selection;
use crate::contract::{DatabaseError, Field, Outcome, Response};
use crate::develop::build::Cancel;
use crate::example::{self, Example};
use crate::failure::{self, Failure, Phase, Raised};
use crate::guest::{Compiler, Component, Declared, Digest, Grants};
use crate::manifest::Entry;
use crate::wire::{self, Messages};
use crate::{file, limits, log};

/// The examples of a handler that a selection takes.
pub(super) struct Examples {
    pub(super) entry: Entry,
    examples: Vec<(String, Result<Example, String>)>,
}

/// The scratch database, or why there is none.
pub(super) type Prepared<'a> = Result<Application<'a>, String>;

impl Examples {
    /// Reads them.
    ///
    /// # Errors
    /// When their folder cannot be read.
    pub(super) fn read(entry: &Entry, selection: &Selection) -> anyhow::Result<Self> {
        let name =
            |path: &PathBuf| path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let files = example::files(entry)?.into_iter().map(|path| (name(&path), path));
        let files = files.filter(|(name, _)| selection.takes_example(name));
        let read = |path: PathBuf| Example::read(&path, entry.shown(&path)).map_err(|error| format!("{error:#}"));
        Ok(Self { entry: entry.clone(), examples: files.map(|(name, path)| (name, read(path))).collect() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Whether one of them needs a database.
    pub(super) fn need_a_database(&self) -> bool {
        self.examples.iter().any(|(_, example)| example.as_ref().is_ok_and(Example::is_end_to_end))
    }

    /// Runs them on a component, until it is cancelled, and prints each result.
    pub(super) async fn run(
        &self,
        component: &Component,
        messages: &Messages,
        prepared: Option<&Prepared<'_>>,
        cancel: &Cancel,
    ) -> Vec<Case> {
        if self.is_empty() {
            return Vec::new();
        }
        let of = &self.entry.name;
        let (count, s) = (self.examples.len(), if self.examples.len() == 1 { "" } else { "s" });
        log::print(format_args!("\n     Running examples of {of}\n\nrunning {count} example{s}"));
        let mut cases = Vec::new();
        for (name, example) in &self.examples {
            if cancel.is_requested() {
                break;
            }
            let begun = Instant::now();
            let (kind, verdict) = match example {
                Err(mistake) => (Kind::Example, Verdict::Failed(mistake.clone())),
                Ok(example) if !example.is_end_to_end() => {
                    let checked = block_in_place(|| example.check(&self.entry, component, None));
                    (Kind::Example, checked.map_or_else(Verdict::Failed, |()| Verdict::Passed))
                }
                Ok(example) => {
                    let verdict = match prepared {
                        Some(Ok(application)) => {
                            let asked = self.ask(example, component, messages, application).await;
                            asked.map_or_else(Verdict::Failed, |()| Verdict::Passed)
                        }
                        Some(Err(reason)) => Verdict::NotRun(reason.clone()),
                        None => Verdict::NotRun("there is no database".to_owned()),
                    };
                    (Kind::EndToEnd, verdict)
                }
            };
            let (word, details) = match &verdict {
                Verdict::Passed => ("ok", None),
                Verdict::Failed(details) => ("FAILED", Some(details)),
                Verdict::Ignored | Verdict::NotRun(_) => ("not run", None),
            };
            let what = if kind == Kind::EndToEnd { "end-to-end example" } else { "example" };
            log::print(format_args!("{what} {name} ... {word}"));
            if let Some(details) = details {
                log::print(format_args!("{details}"));
            }
            cases.push(Case { kind, of: of.clone(), name: name.clone(), verdict, took: begun.elapsed() });
        }
        cases
    }

    /// Runs an end-to-end example. Its mistakes are named with its file.
    async fn ask(
        &self,
        example: &Example,
        component: &Component,
        messages: &Messages,
        application: &Application<'_>,
    ) -> Result<(), String> {
        let procedures = application.procedures(&self.entry)?;
        let planned = block_in_place(|| example.plan(&self.entry, component, Some(&procedures)))?;
        let Some(call) = planned else { return Ok(()) };
        let procedure = procedures.iter().find(|procedure| procedure.name == call.procedure);
        let procedure = procedure.ok_or_else(|| format!("the manifest does not grant `{}`", call.procedure))?;
        let outcome = application.call(example.before().as_deref(), procedure, call.arguments).await;
        let outcome = outcome.map_err(|mistake| format!("{}: {mistake}", example.shown(&self.entry)))?;
        let outcome = match failure::outcome_of(outcome) {
            Ok(outcome) => outcome,
            Err(failure) => return failed(example, &failure, messages),
        };
        let respond = || component.respond(&call.carry, &outcome).map_err(|fault| format!("respond: {fault}"));
        match (block_in_place(respond)?, outcome) {
            (Some(response), outcome) => {
                // What a node would refuse to send.
                wire::respond(response.clone(), Phase::Respond).map_err(|fault| format!("respond: {fault}"))?;
                let cause = match outcome {
                    Outcome::Rows(_) => String::new(),
                    Outcome::Error(DatabaseError { sqlstate, message, .. }) => {
                        format!("\n`{}` raised {sqlstate}: {message}", call.procedure)
                    }
                };
                example.compare(&response).map_err(|difference| difference + &cause)
            }
            (None, Outcome::Error(error)) => {
                let raised = Raised { procedure: call.procedure, error };
                failed(example, &Failure::Raised(Box::new(raised)), messages)
            }
            (None, Outcome::Rows(_)) => Err("respond: it left the rows to the host".to_owned()),
        }
    }
}

/// Compares what a node answers when a call fails.
fn failed(example: &Example, failure: &Failure, messages: &Messages) -> Result<(), String> {
    let answered = Response {
        status: failure.status().as_u16(),
        headers: vec![Field { name: "content-type".to_owned(), value: "application/json".to_owned() }],
        body: wire::failure_body(failure, messages).to_vec(),
        log: Vec::new(),
    };
    example.compare(&answered).map_err(|difference| format!("{difference}\n{failure}"))
}

/// Compiles a component, and proves that it fits its entry.
///
/// # Errors
/// Why a node would reject it.
pub(super) async fn component(entry: &Entry, path: &std::path::Path, compiler: &Compiler) -> Result<Component, String> {
    let bytes =
        file::read(path, limits::COMPONENT_BYTES_MAX).map_err(|error| format!("{}: {error}", path.display()))?;
    let grants = Grants { wasi: entry.wasi };
    Declared::read(&bytes)
        .map_or(Ok(()), |declared| declared.check(grants, &entry.limits))
        .map_err(|e| e.to_string())?;
    let compiled = compiler.compile(Digest::of(&bytes), &bytes, 0).await.map_err(|error| error.to_string())?;
    let fit = || compiled.fit(grants, entry.limits);
    block_in_place(fit).map_err(|error| error.to_string())
}
