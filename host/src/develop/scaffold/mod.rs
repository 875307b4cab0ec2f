//! `galo new`: makes a handler that builds, passes its tests and is in the manifest.
//!
//! Everything is checked before anything is written; then the folder and the manifest are each put in place by a
//! rename, the manifest last. The database is not asked: the node that serves the handler finds out whether the
//! procedure exists.

mod files;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::develop::build::Project;
use crate::develop::languages::Language;
use crate::manifest;
use crate::route::Route;
use files::Draft;

/// The options of `galo new`.
#[derive(Debug)]
pub struct Options {
    /// The name of the handler, its crate and its folder.
    pub name: String,
    /// Its route, as the manifest has it: `GET /items/{id}`.
    pub route: String,
    /// Further routes of it, with the same parameters.
    pub further: Vec<String>,
    /// The procedure it calls.
    pub procedure: Option<String>,
    /// The language it is written in.
    pub language: Language,
}

/// Makes a handler.
///
/// # Errors
/// When an option is not valid or the handler does not fit beside the others; then nothing was written. Or when a file
/// cannot be written.
pub fn new(project: &Project, options: &Options) -> anyhow::Result<()> {
    let Options { name, procedure, .. } = options;
    check_name(name, options.language)?;
    let route = parsed(&options.route)?;
    let further = options.further.iter().map(|text| parsed(text)).collect::<anyhow::Result<Vec<_>>>()?;
    check_parameters(&route, &further)?;
    if let Some(procedure) = procedure {
        check_procedure(procedure)?;
    }
    check_free(project, name, options.language)?;
    let draft = Draft { name, route: &route, procedure: procedure.as_deref(), language: options.language };
    let manifest = manifest_with(project, &draft, &further)?;

    let scratch = project.scratch();
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    // Not inside handlers/, where every folder is a crate of the workspace.
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in(&scratch)?;
    write_files(folder.path(), &draft)?;
    let home = project.handlers().join(name);
    fs::rename(folder.path(), &home).with_context(|| format!("cannot put {} in place", home.display()))?;
    replace(&project.root.join(manifest::FILE_NAME), &manifest, &scratch).inspect_err(|_| {
        // A crate that is not in the manifest would block the next try.
        let _ = fs::remove_dir_all(&home);
    })
}

fn parsed(route: &str) -> anyhow::Result<Route> {
    route.parse().map_err(|error| anyhow::anyhow!("route `{route}`: {error}"))
}

/// The handler is made for the parameters of its first route.
fn check_parameters(route: &Route, further: &[Route]) -> anyhow::Result<()> {
    let names = |route: &Route| route.parameters().map(str::to_owned).collect::<Vec<_>>();
    match further.iter().find(|other| names(other) != names(route)) {
        Some(other) => bail!(
            "`{other}` has other parameters than `{route}`; add it to `routes` in galo.toml when the handler is made"
        ),
        None => Ok(()),
    }
}

/// Names that a crate cannot have: keywords, and the crates that come with the compiler.
const RESERVED: &str = "abstract as async await become box break const continue crate do dyn else enum extern false \
                        final fn for gen if impl in let loop macro match mod move mut override priv pub ref return \
                        self static struct super trait true try type typeof unsafe unsized use virtual where while \
                        yield alloc core proc_macro std test";

/// A handler's name is also that of its folder and its component, and in Rust that of its crate.
fn check_name(name: &str, language: Language) -> anyhow::Result<()> {
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    // The compiler wants a crate in snake case: no capital letter, and no two separators in a row.
    let words = || name.split(['-', '_']);
    ensure!(
        words().all(|word| !word.is_empty() && word.chars().all(small))
            && name.starts_with(|c: char| !c.is_ascii_digit()),
        "invalid handler name `{name}`: use lower-case letters and digits, with single `-` or `_` between words, and \
         begin with a letter"
    );
    ensure!(
        language != Language::Rust || !RESERVED.split_whitespace().any(|word| word == crate_name(name)),
        "invalid handler name `{name}`: a crate cannot have the name of a keyword or of a standard crate"
    );
    Ok(())
}

/// A procedure is `function` or `schema.function`, with the types of its parameters where the name is overloaded. It is
/// written into the manifest and into the handler.
fn check_procedure(procedure: &str) -> anyhow::Result<()> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, types) = procedure.split_once('(').unwrap_or((procedure, ")"));
    let parts: Vec<_> = name.split('.').collect();
    let of_types = |c: char| letter(c) || " ,.[]".contains(c);
    ensure!(
        parts.len() <= 2
            && parts.iter().all(|part| !part.is_empty() && part.chars().all(letter))
            && types.strip_suffix(')').is_some_and(|types| types.chars().all(of_types)),
        "invalid procedure `{procedure}`: use letters, digits and `_`, as in `f`, `schema.f` or `f(integer, text)`"
    );
    Ok(())
}

/// Checks that no folder has the name; and if the handler is a crate, that no crate of the workspace or of its
/// dependencies has it.
fn check_free(project: &Project, name: &str, language: Language) -> anyhow::Result<()> {
    ensure!(
        fs::symlink_metadata(project.handlers().join(name)).is_err(),
        "handlers/{name} already exists; choose another name"
    );
    if language != Language::Rust {
        return Ok(());
    }
    // Without a lock file nothing was built here yet; then Cargo finds out.
    let lock = fs::read_to_string(project.root.join("Cargo.lock")).unwrap_or_default();
    let mut crates = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let taken = crates.find(|taken| crate_name(taken) == crate_name(name));
    taken.map_or(Ok(()), |taken| {
        bail!("there already is a crate `{taken}`, of the workspace or of its dependencies; choose another name")
    })
}

/// The name that the compiler gives a crate: `a-b` and `a_b` would be the same file.
fn crate_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The text of the manifest with the new handler at its end, checked.
fn manifest_with(project: &Project, draft: &Draft<'_>, further: &[Route]) -> anyhow::Result<String> {
    let path = project.root.join(manifest::FILE_NAME);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = format!("{}\n\n{}", text.trim_end(), with_routes(&draft.manifest_table(), draft.route, further));
    let manifest = manifest::parse(&path, &text)?;
    let twin = manifest.handlers.iter().filter(|entry| entry.name != draft.name);
    if let Some(twin) = twin.into_iter().find(|entry| crate_name(&entry.name) == crate_name(draft.name)) {
        bail!(
            "there already is a handler `{}`, whose component would be the same file; choose another name",
            twin.name
        );
    }
    if let Some([(first, same), (second, route)]) = manifest.ambiguity() {
        bail!(
            "the route `{route}` of `{}` takes the same requests as `{same}` of `{}`; choose another path or method",
            second.name,
            first.name
        );
    }
    Ok(text)
}

/// A table of the manifest with all routes instead of the first one.
fn with_routes(table: &str, first: &Route, further: &[Route]) -> String {
    if further.is_empty() {
        return table.to_owned();
    }
    let routes: Vec<_> = std::iter::once(first).chain(further).map(|route| format!("\"{route}\"")).collect();
    table.replacen(&format!("route = \"{first}\""), &format!("routes = [{}]", routes.join(", ")), 1)
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
    if sources.is_empty() {
        return Ok(());
    }
    // Where lines break depends on the names in them.
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.current_dir(folder).args(["--edition", "2024"]).args(sources).stdin(Stdio::null());
    let status = rustfmt.status().context("cannot run rustfmt; install it with `rustup component add rustfmt`")?;
    ensure!(status.success(), "rustfmt failed on the new files ({status}); its message is above");
    Ok(())
}

/// Replaces the text of a file by a rename; its permissions stay.
fn replace(path: &Path, text: &str, scratch: &Path) -> anyhow::Result<()> {
    let permissions = fs::metadata(path)?.permissions();
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(scratch)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
