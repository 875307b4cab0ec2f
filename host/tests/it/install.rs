//! `cargo install --path host`, and the installed program where there is no checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

use galo::develop::build::Profile;
use tempfile::TempDir;

use crate::cli::{Program, run};
use crate::harness::{TestDatabase, checkout, handlers, one_build_at_a_time, request, scratch};

/// The program, installed into a temporary folder.
fn installed() -> (TempDir, PathBuf) {
    let (folder, program) = scratch("bin/galo");
    let _turn = one_build_at_a_time();
    // The profile and the target folder of the tests, so that nothing is compiled twice.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(checkout().root).args(["install", "--path", "host", "--debug", "--locked", "--root"]);
    let (success, _, stderr) = run(cargo.arg(folder.path()));
    assert!(success && program.is_file(), "{stderr}");
    (folder, program)
}

/// The program in an empty folder, with only `PATH` of this environment.
fn alone(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap();
    command.current_dir(folder).env_clear().env("PATH", path).env("HOME", folder);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_installed_program_works_where_there_is_no_checkout() {
    let (_installed, program) = tokio::task::block_in_place(installed);
    let (_folder, empty) = scratch("empty");
    std::fs::create_dir(&empty).unwrap();
    let (success, help, _) = run(alone(&program, &empty).arg("--help"));
    assert!(success && help.contains("Usage: galo"), "{help}");
    let (success, version, _) = run(alone(&program, &empty).arg("--version"));
    assert!(success && version == concat!("galo ", env!("CARGO_PKG_VERSION"), "\n"), "{version}");
    // Commands that need a project name the remedy.
    let new = ["new", "probe", "--route", "GET /probe/{id}", "--procedure", "probe"];
    for command in [&new[..], &["dev"], &["build"], &["test"]] {
        let (success, _, stderr) = run(alone(&program, &empty).args(command));
        assert!(!success && stderr.contains("change to the folder of your project"), "{command:?}: {stderr}");
    }
    assert_eq!(empty.read_dir().unwrap().count(), 0, "something was left behind");
    // It serves: the program compiles components itself.
    let database = TestDatabase::new().await;
    let mut serve = alone(&program, &empty);
    serve.arg("serve");
    let node = Program::serve_with(serve, &database, handlers(Profile::Release));
    let answer = request(&node.listen, http::Method::GET, "/clientes/1/extrato", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
