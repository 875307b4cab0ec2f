//! The command works: one contender, a second of it, with everything that stands around a contender. Reported as
//! ignored, loudly, where nginx, wrk or pgbench is missing, and that of the peer where Go or its libraries are.

#![expect(clippy::unwrap_used, reason = "a test without the standard harness, which clippy does not take for a test")]

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};

use galo_testing::program;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing: Vec<_> =
        ["nginx", "wrk", "pgbench"].into_iter().filter(|name| program::find(name).is_none()).collect();
    if !missing.is_empty() && !arguments.list {
        // A closed stderr is not a reason to fail.
        let _ =
            writeln!(std::io::stderr(), "\n*** {} not installed: galo-bench is NOT tested. ***\n", missing.join(", "));
    }
    let library = |name: &str| Path::new("/usr/share/gocode/src/github.com").join(name).is_dir();
    let go = program::find("go").is_some() && library("jackc/pgx/v4") && library("julienschmidt/httprouter");
    if !go && !arguments.list {
        let _ = writeln!(std::io::stderr(), "\n*** Go or its libraries not installed: the peer is NOT tested. ***\n");
    }
    let trial = |name: &str, possible: bool, test: fn()| {
        let run = move || {
            test();
            Ok::<(), Failed>(())
        };
        Trial::test(name, run).with_ignored_flag(!(possible && missing.is_empty()))
    };
    let trials = vec![
        trial("a_quick_run_of_one_contender_writes_its_figures", true, writes),
        trial("what_was_written_by_hand_without_markers_is_not_touched", true, refuses),
        trial("the_peer_in_go_answers_as_the_others_and_is_measured", go, measures_the_peer),
        trial("what_a_feature_costs_is_measured_in_pairs", true, measures_a_feature),
        trial("go_that_is_missing_is_named_with_its_packages", true, names_what_is_missing),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn command(out: &Path, only: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_galo-bench"));
    command.args(["--quick", "--only", only, "--connections", "8", "--out"]).arg(out);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn run(out: &Path, only: &str) -> std::process::Output {
    command(out, only).output().unwrap()
}

fn writes() {
    let out = tempfile::tempdir().unwrap();
    let output = run(out.path(), "plain,pgbench");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(out.path().join("BENCHMARKS.md")).unwrap();
    for row in ["| plain | ", "| pgbench, 16 connections | ", "| build | "] {
        assert!(text.contains(row), "{row} is missing in {text}");
    }
    let plot = std::fs::read_to_string(out.path().join("host/bench/plots/throughput.svg")).unwrap();
    assert!(plot.contains("plain"));
}

fn refuses() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("BENCHMARKS.md");
    std::fs::write(&file, "by hand\n").unwrap();
    let output = run(out.path(), "limit");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("markers"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "by hand\n");
}

/// A run ends with an error where two services answer a request otherwise.
fn measures_the_peer() {
    let out = tempfile::tempdir().unwrap();
    let output = command(out.path(), "galo,plain,peer").arg("--galo").arg(program::galo()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(out.path().join("BENCHMARKS.md")).unwrap();
    for row in ["| Galo to Go peer | ", "| context switches | ", "| Go | 1."] {
        assert!(text.contains(row), "{row} is missing in {text}");
    }
}

/// A second does not decide whether the costs are within their bounds; traces that do not arrive are an error.
fn measures_a_feature() {
    for feature in ["records", "traces"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_galo-bench"));
        command.args(["--quick", "--cost-of", feature, "--every", "10", "--galo"]).arg(program::galo());
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let (printed, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(printed.contains("of 1 request in 10: throughput "), "{printed}{error}");
        assert!(!error.contains("no trace arrived"), "{error}");
    }
}

fn names_what_is_missing() {
    let (out, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["nginx", "wrk", "pgbench", "chrt"] {
        symlink(program::find(name).unwrap(), programs.path().join(name)).unwrap();
    }
    let output = command(out.path(), "peer").env("PATH", programs.path()).output().unwrap();
    assert!(!output.status.success());
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("apt-get install") && printed.contains("golang-go"), "{printed}");
    assert!(printed.contains("--without peer"), "{printed}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}
