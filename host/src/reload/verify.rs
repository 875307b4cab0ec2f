//! The steps from a manifest's entry to a component that may serve: read, fit, examples. The first step that fails is
//! the refusal. Nothing here changes what serves.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compiling::Form;
use crate::database::Procedure;
use crate::example::Example;
use crate::guest::{Compiled, Component, Grants};
use crate::manifest::Entry;
use crate::registry::{Refusal, Stage};
use crate::{example, file, limits};

/// A verified component, and how long the steps took.
pub(super) struct Proved {
    pub(super) component: Component,
    pub(super) times: Times,
}

/// How long the steps took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) compile: Duration,
    /// The compiled form was found in the cache.
    pub(super) cached: bool,
    /// Fit and examples.
    pub(super) verify: Duration,
}

/// Proves a candidate. Takes a core for as long as its examples take.
pub(super) fn prove(
    form: Form,
    entry: &Entry,
    procedures: &[Arc<Procedure>],
    examples: &Examples,
) -> Result<Proved, Refusal> {
    let (compiled, compile) = form;
    let begun = Instant::now();
    let component = refit(&compiled, entry, procedures, examples)?;
    let times = Times { compile, cached: compiled.cached, verify: begun.elapsed() };
    Ok(Proved { component, times })
}

/// Proves a compiled component under a manifest's entry.
pub(super) fn refit(
    compiled: &Compiled,
    entry: &Entry,
    procedures: &[Arc<Procedure>],
    examples: &Examples,
) -> Result<Component, Refusal> {
    let mut component = fit(compiled, entry)?;
    component.members = Arc::new(example::members(entry, examples.as_deref().unwrap_or_default()));
    match run_examples(&component, entry, procedures, examples) {
        Ok(()) => Ok(component),
        Err(refusal) => Err(refusal.of(compiled.digest).of_candidate(component)),
    }
}

/// Proves that a compiled component fits a manifest's entry.
pub(super) fn fit(compiled: &Compiled, entry: &Entry) -> Result<Component, Refusal> {
    compiled.fit(Grants { wasi: entry.wasi }, entry.limits).map_err(|refusal| {
        let passing = refusal.may_pass();
        Refusal { passing, ..Refusal::new(Stage::Fit, refusal.to_string()).of(compiled.digest) }
    })
}

/// The examples of a handler, or why they cannot be read.
pub(super) type Examples = Result<Vec<Example>, Refusal>;

/// Reads the examples of a handler.
pub(super) fn read_examples(entry: &Entry) -> Examples {
    example::read(entry).map_err(|error| {
        let unreadable = |cause: &file::Unreadable| cause.may_pass();
        let passing =
            error.chain().any(|cause| cause.is::<io::Error>() || cause.downcast_ref().is_some_and(unreadable));
        Refusal { passing, ..Refusal::new(Stage::Examples, format!("{error:#}")) }
    })
}

/// Runs the examples of a handler on a component.
pub(super) fn run_examples(
    component: &Component,
    entry: &Entry,
    procedures: &[Arc<Procedure>],
    examples: &Examples,
) -> Result<(), Refusal> {
    let examples = examples.as_ref().map_err(Refusal::clone)?;
    let checked = example::check_all(examples, entry, component, Some(procedures));
    checked.map_err(|message| Refusal::new(Stage::Examples, message))
}

/// Proves a component that is kept only for a rollback. The examples are not run, because they belong to a later
/// component. `None` when it does not fit; a refusal that may pass is an error, so that the component is not lost.
pub(super) fn refit_previous(compiled: &Compiled, entry: &Entry) -> Result<Option<Component>, Refusal> {
    match fit(compiled, entry) {
        Ok(component) => Ok(Some(component)),
        Err(refusal) if refusal.passing => Err(refusal),
        Err(_) => Ok(None),
    }
}

/// Reads the file of a component.
///
/// # Errors
/// When it cannot be read, is not a file, or has more bytes than a component may have.
pub fn read(entry: &Entry) -> Result<Vec<u8>, Refusal> {
    let path = &entry.component;
    file::read(path, limits::COMPONENT_BYTES_MAX).map_err(|error| {
        let refusal = Refusal::new(Stage::Read, format!("{}: {error}", entry.shown(path).display()));
        // A file that exists but cannot be read now may be readable later.
        Refusal { passing: error.may_pass(), ..refusal }
    })
}
