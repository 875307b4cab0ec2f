//! `galo new`: a handler that builds, passes its tests and has its place in the manifest, to be changed from there on.
//!
//! Everything is checked before anything is written; then the folder and the manifest are each put in place by a
//! rename, the manifest last. It asks no database: whether a procedure exists is found out by who serves. Called by
//! `cli` and by the tests.

mod files;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::develop::build::Checkout;
use crate::manifest;
use crate::route::{Route, Routes};
use files::Draft;

/// What `galo new` was asked for.
#[derive(Debug)]
pub struct Options {
    /// The name of the handler, its crate and its folder.
    pub name: String,
    /// Where it answers, as the manifest writes it.
    pub route: String,
    /// The procedure it calls.
    pub procedure: Option<String>,
}

/// Makes a handler.
///
/// # Errors
/// What is wrong with the options, or why it does not fit beside the other handlers; then nothing was written. Or that
/// it could not be written.
pub fn new(checkout: &Checkout, options: &Options) -> anyhow::Result<()> {
    let Options { name, procedure, .. } = options;
    check_name(name)?;
    let route: Route = options.route.parse().map_err(|error| anyhow::anyhow!("route `{}`: {error}", options.route))?;
    if let Some(procedure) = procedure {
        check_procedure(procedure)?;
    }
    check_free(checkout, name)?;
    let draft = Draft { name, route: &route, procedure: procedure.as_deref() };
    let manifest = manifest_with(checkout, &draft)?;

    let scratch = checkout.scratch();
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    // Not inside of handlers/, where every folder is a crate of the workspace.
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in(&scratch)?;
    write_files(folder.path(), &draft)?;
    let home = checkout.handlers().join(name);
    fs::rename(folder.path(), &home).with_context(|| format!("cannot put {} in place", home.display()))?;
    replace(&checkout.handlers().join(manifest::FILE_NAME), &manifest, &scratch).inspect_err(|_| {
        // A crate that no handler is made of would only be in the way of the next try.
        let _ = fs::remove_dir_all(&home);
    })
}

/// Words that no crate can be called: of the language, and the crates that are always there.
const RESERVED: &str = "abstract as async await become box break const continue crate do dyn else enum extern false \
                        final fn for gen if impl in let loop macro match mod move mut override priv pub ref return \
                        self static struct super trait true try type typeof unsafe unsized use virtual where while \
                        yield alloc core proc_macro std test";

/// A handler's name is a crate's, a folder's and a file's.
fn check_name(name: &str) -> anyhow::Result<()> {
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    // The compiler wants snake case of a crate: no capital letter, and no two separators in a row.
    let words = || name.split(['-', '_']);
    ensure!(
        words().all(|word| !word.is_empty() && word.chars().all(small))
            && name.starts_with(|c: char| !c.is_ascii_digit()),
        "`{name}` is no name for a handler: words of small letters and digits, joined by `-` or `_`, make one; \
         a letter comes first"
    );
    ensure!(
        !RESERVED.split_whitespace().any(|word| word == crate_name(name)),
        "`{name}` is a word of the language; a crate cannot be called so"
    );
    Ok(())
}

/// It becomes a word of the manifest and of the handler, and the name of a function or `schema.function`, with the
/// types of its parameters where the name alone would not do.
fn check_procedure(procedure: &str) -> anyhow::Result<()> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, types) = procedure.split_once('(').unwrap_or((procedure, ")"));
    let parts: Vec<_> = name.split('.').collect();
    let of_types = |c: char| letter(c) || " ,.[]".contains(c);
    ensure!(
        parts.len() <= 2
            && parts.iter().all(|part| !part.is_empty() && part.chars().all(letter))
            && types.strip_suffix(')').is_some_and(|types| types.chars().all(of_types)),
        "`{procedure}` is no procedure's name: letters, digits and `_` make one, a schema with `.` may stand before it, \
         and the types of its parameters behind it, as in `f(integer, text)`"
    );
    Ok(())
}

/// Neither a folder nor a crate of the workspace or of its dependencies has the name.
fn check_free(checkout: &Checkout, name: &str) -> anyhow::Result<()> {
    ensure!(fs::symlink_metadata(checkout.handlers().join(name)).is_err(), "handlers/{name} is there already");
    // Without a lock file nothing was ever built here; Cargo finds out then.
    let lock = fs::read_to_string(checkout.root.join("Cargo.lock")).unwrap_or_default();
    let mut crates = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let taken = crates.find(|taken| crate_name(taken) == crate_name(name));
    taken.map_or(Ok(()), |taken| bail!("there is a crate `{taken}` already; Cargo could not tell them apart"))
}

/// A crate as the compiler calls it: `a-b` and `a_b` end in the same file.
fn crate_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The text of the manifest with the new handler at its end, found good.
fn manifest_with(checkout: &Checkout, draft: &Draft<'_>) -> anyhow::Result<String> {
    let path = checkout.handlers().join(manifest::FILE_NAME);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = format!("{}\n\n{}", text.trim_end(), draft.manifest_table());
    let entries = manifest::parse(&path, &text)?.handlers;
    let twin = entries.iter().filter(|entry| entry.name != draft.name);
    if let Some(twin) = twin.into_iter().find(|entry| crate_name(&entry.name) == crate_name(draft.name)) {
        bail!("there is a handler `{}` already; Cargo could not tell them apart", twin.name);
    }
    Routes::new(entries.iter().map(|entry| (entry.route.clone(), ()))).map_err(|ambiguous| {
        let [first, second] = [ambiguous.first, ambiguous.second].map(|index| &entries[index]);
        anyhow::anyhow!(
            "`{}` of `{}` takes the requests of `{}` of `{}`",
            second.route,
            second.name,
            first.route,
            first.name
        )
    })?;
    Ok(text)
}

fn write_files(folder: &Path, draft: &Draft<'_>) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    for (name, text) in draft.files() {
        let file = folder.join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        if name.ends_with(".rs") {
            sources.push(file);
        }
    }
    // The lines are as long as the names in them.
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.current_dir(folder).args(["--edition", "2024"]).args(sources).stdin(Stdio::null());
    let status = rustfmt.status().context("cannot run rustfmt; is it in PATH?")?;
    ensure!(status.success(), "rustfmt does not take what was made for it ({status})");
    Ok(())
}

/// Puts a text in the place of a file by renaming, with the permissions the file has.
fn replace(path: &Path, text: &str, scratch: &Path) -> anyhow::Result<()> {
    let permissions = fs::metadata(path)?.permissions();
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(scratch)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
