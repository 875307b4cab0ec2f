//! The command works: one contender, a second of it, with everything that stands around a contender. Reported as
//! ignored, loudly, where nginx, wrk or pgbench is missing.

#![expect(clippy::unwrap_used, reason = "a test without the standard harness, which clippy does not take for a test")]

use std::io::Write as _;
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
    let trial = |name: &str, test: fn()| {
        let run = move || {
            test();
            Ok::<(), Failed>(())
        };
        Trial::test(name, run).with_ignored_flag(!missing.is_empty())
    };
    let trials = vec![
        trial("a_quick_run_of_one_contender_writes_its_figures", writes),
        trial("what_was_written_by_hand_without_markers_is_not_touched", refuses),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(out: &Path, only: &str) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_galo-bench"))
        .args(["--quick", "--only", only, "--connections", "8", "--out"])
        .arg(out)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
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
