//! Explains a handler that nothing can be made of: its folder was deleted or renamed, or nothing in it says how it is
//! built.

use std::fs;

use super::Project;
use crate::manifest::{Entry, FILE_NAME, Manifest, SOURCES};

/// Checks that the component of a handler that nobody builds is there.
///
/// # Errors
/// What is missing, and what to do.
pub(super) fn check(project: &Project, manifest: &Manifest, entry: &Entry) -> Result<(), String> {
    let (name, line, component) = (&entry.name, entry.line, entry.component.display());
    if entry.component.is_file() {
        return Ok(());
    }
    if project.handlers().join(name).is_dir() {
        return Err(format!(
            "{SOURCES}/{name} has no Cargo.toml, its entry in {FILE_NAME}, line {line}, has no `build`, and {component} \
             does not exist: add `build = {{ command = \"...\" }}`, or put the component there"
        ));
    }
    let unknown = unknown(project, manifest);
    let renamed = match unknown.as_slice() {
        [] => String::new(),
        names => format!("if it was renamed to {}, change `name` there; otherwise ", names.join(" or ")),
    };
    Err(format!(
        "the folder {SOURCES}/{name} does not exist, but {FILE_NAME} has the handler in line {line}: {renamed}restore the \
         folder, or remove the handler's [[handler]] table"
    ))
}

/// The folders that look like a handler, and are not in the manifest.
fn unknown(project: &Project, manifest: &Manifest) -> Vec<String> {
    let folders = fs::read_dir(project.handlers()).into_iter().flatten().flatten();
    let mut names: Vec<_> = folders
        .filter(|folder| ["examples", "build.rs"].iter().any(|name| folder.path().join(name).exists()))
        .filter_map(|folder| folder.file_name().into_string().ok())
        .filter(|name| manifest.handlers.iter().all(|entry| entry.name != *name))
        .map(|name| format!("{SOURCES}/{name}"))
        .collect();
    names.sort();
    names
}
