//! Checks that the compiler has the target of handlers, and has rustup install it if not. It runs before Cargo, whose
//! own error about a missing target comes late and names no remedy.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail, ensure};

/// The target that handlers are compiled for.
pub(super) const TARGET: &str = "wasm32-wasip2";

/// The remedy on a machine without rustup.
const BY_HAND: &str = "install rustup (https://rustup.rs) and run `rustup target add wasm32-wasip2`, or install the \
                       target with the package manager that installed the compiler";

/// Makes sure that the compiler which Cargo would run in `root` can compile handlers.
///
/// # Errors
/// When the target is not installed and rustup is missing or fails; the error names the remedy.
pub(super) fn prepare(root: &Path) -> anyhow::Result<()> {
    static PREPARED: OnceLock<()> = OnceLock::new();
    if PREPARED.get().is_none() {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        prepare_with(&rustc, OsStr::new("rustup"), root)?;
        // `dev` builds at every change of a source, and the compiler takes a while to print its folder.
        let _ = PREPARED.set(());
    }
    Ok(())
}

fn prepare_with(rustc: &OsStr, rustup: &OsStr, root: &Path) -> anyhow::Result<()> {
    let folder = library(rustc, root)?;
    if is_installed(&folder) {
        return Ok(());
    }
    let folder = folder.display();
    tracing::info!("the target {TARGET} is not installed ({folder}); running `rustup target add {TARGET}`");
    // When rustup runs us, its variables select the toolchain.
    let added = Command::new(rustup).current_dir(root).args(["target", "add", TARGET]).status();
    match added {
        Err(error) => {
            bail!("the target {TARGET} is not installed ({folder}), and rustup cannot be run ({error}); {BY_HAND}")
        }
        Ok(status) if !status.success() => {
            bail!(
                "the target {TARGET} is not installed ({folder}), and `rustup target add {TARGET}` failed ({status}); \
                 run it by hand to see why"
            )
        }
        Ok(_) => ensure!(
            is_installed(&library(rustc, root)?),
            "rustup installed the target {TARGET}, but not for the compiler in use ({folder}); {BY_HAND}"
        ),
    }
    Ok(())
}

/// Where the compiler expects the target's standard library.
fn library(rustc: &OsStr, root: &Path) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(rustc);
    command.current_dir(root).args(["--print", "target-libdir", "--target", TARGET]);
    let output = command.output().with_context(|| format!("cannot run {}; {BY_HAND}", rustc.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} cannot compile for {TARGET}: {}", rustc.display(), errors.trim());
    Ok(PathBuf::from(String::from_utf8(output.stdout).context("the compiler's folder is not valid UTF-8")?.trim_end()))
}

fn is_installed(folder: &Path) -> bool {
    let core = |name: &OsStr| name.as_encoded_bytes().starts_with(b"libcore-");
    fs::read_dir(folder).is_ok_and(|files| files.flatten().any(|file| core(&file.file_name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compiler whose target's folder is `library`, and a rustup that writes its arguments to `asked` and then runs
    /// `act`.
    fn machine(act: &str) -> (tempfile::TempDir, [PathBuf; 3]) {
        let folder = tempfile::tempdir().unwrap();
        let [rustc, rustup, library] = ["rustc", "rustup", "library"].map(|name| folder.path().join(name));
        // Written by another process: one that is started by this one at the same moment would hold the file open.
        let script = |path: &Path, text: String| {
            let mut shell = Command::new("sh");
            shell.args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#, "sh"]);
            assert!(shell.arg(path).arg(text).status().unwrap().success());
        };
        fs::create_dir(&library).unwrap();
        script(&rustc, format!("echo {}", library.display()));
        script(&rustup, format!("echo \"$@\" >{}\n{act}", folder.path().join("asked").display()));
        (folder, [rustc, rustup, library])
    }

    fn prepared(folder: &Path, rustc: &Path, rustup: &Path) -> Result<(), String> {
        prepare_with(rustc.as_ref(), rustup.as_ref(), folder).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn an_installed_target_is_not_installed_again() {
        let (folder, [rustc, rustup, library]) = machine("");
        fs::write(library.join("libcore-0123.rlib"), "").unwrap();
        prepared(folder.path(), &rustc, &rustup).unwrap();
        assert!(!folder.path().join("asked").exists());
    }

    #[test]
    fn a_missing_target_is_installed() {
        let (folder, [rustc, rustup, library]) = machine("touch library/libcore-0123.rlib");
        prepared(folder.path(), &rustc, &rustup).unwrap();
        assert!(is_installed(&library));
        assert_eq!(fs::read_to_string(folder.path().join("asked")).unwrap(), "target add wasm32-wasip2\n");
    }

    #[test]
    fn what_cannot_be_installed_is_named_with_the_command() {
        let (folder, [rustc, rustup, library]) = machine("exit 1");
        let failed = prepared(folder.path(), &rustc, &rustup).unwrap_err();
        assert!(failed.contains(&library.display().to_string()) && failed.contains("failed"), "{failed}");
        let missing = prepared(folder.path(), &rustc, Path::new("/nowhere/rustup")).unwrap_err();
        assert!(
            missing.contains("https://rustup.rs") && missing.contains("rustup target add wasm32-wasip2"),
            "{missing}"
        );
        let without_compiler = prepared(folder.path(), Path::new("/nowhere/rustc"), &rustup).unwrap_err();
        assert!(without_compiler.contains("https://rustup.rs"), "{without_compiler}");
    }

    #[test]
    fn a_target_for_another_compiler_is_an_error() {
        let (folder, [rustc, rustup, _]) = machine("");
        let elsewhere = prepared(folder.path(), &rustc, &rustup).unwrap_err();
        assert!(elsewhere.contains("not for the compiler"), "{elsewhere}");
    }
}
