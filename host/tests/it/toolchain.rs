//! On a machine without the target wasm32-wasip2, `galo` prints the remedy before Cargo is started. The compiler, Cargo
//! and rustup are scripts here, so that the machine's own stay as they are.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::cli::run;
use crate::harness::{GALO, checkout};

/// A machine whose compiler lacks the target. Its Cargo, if started, creates the file `cargo`.
struct Machine(TempDir);

impl Machine {
    fn without_target() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(machine.path().join("library")).unwrap();
        machine.script("rustc", &format!("echo '{}'", machine.path().join("library").display()));
        machine.script("fake-cargo", &format!(": >'{}'", machine.path().join("cargo").display()));
        machine
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Written by another process: one that is started by this one at the same moment would hold the file open.
    fn script(&self, name: &str, text: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#, "sh"]);
        assert!(shell.arg(self.path().join(name)).arg(text).status().unwrap().success());
    }

    /// Runs galo in the checkout, with only this machine's programs.
    fn galo(&self, arguments: &[&str]) -> String {
        let mut galo = Command::new(GALO);
        galo.args(arguments).current_dir(checkout().root).env("PATH", self.path()).env_remove("RUSTC");
        let (success, _, stderr) = run(galo.env("CARGO", self.path().join("fake-cargo")));
        assert!(!success, "it should fail without the target: {stderr}");
        stderr
    }

    fn cargo_ran(&self) -> bool {
        self.path().join("cargo").exists()
    }
}

#[test]
fn without_the_target_and_rustup_the_remedy_is_named_and_nothing_is_compiled() {
    let machine = Machine::without_target();
    let out = machine.path().join("out");
    let out = out.to_str().unwrap();
    for arguments in [&["build", "--out", out][..], &["test"], &["dev", "--listen", "127.0.0.1:0"]] {
        let stderr = machine.galo(arguments);
        assert!(stderr.contains("target wasm32-wasip2 is not installed"), "{arguments:?}: {stderr}");
        assert!(stderr.contains("https://rustup.rs"), "{arguments:?}: {stderr}");
        assert!(stderr.contains("rustup target add wasm32-wasip2"), "{arguments:?}: {stderr}");
        assert!(!machine.cargo_ran(), "{arguments:?} started Cargo");
    }
}

#[test]
fn a_missing_target_is_installed_before_cargo_is_started() {
    for arguments in [&["build"][..], &["test"]] {
        let machine = Machine::without_target();
        let library = machine.path().join("library/libcore-0.rlib");
        let asked = machine.path().join("asked");
        machine.script("rustup", &format!("echo \"$@\" >'{}'; : >'{}'", asked.display(), library.display()));
        machine.galo(arguments);
        assert_eq!(std::fs::read_to_string(asked).unwrap(), "target add wasm32-wasip2\n");
        assert!(machine.cargo_ran(), "{arguments:?} did not go on");
    }
}
