//! Runs the unit tests of handlers, compiled to wasm32-wasip2, in the sandbox: every test on an instance of its own, so
//! that one that traps does not end the others.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;

use super::report::{Case, Kind, Verdict};
use super::selection::Selection;
use crate::develop::build::Cancel;
use crate::guest::command::{Command, Exit};
use crate::log;

/// Runs one test program with the arguments of libtest. Returns whether all passed.
///
/// # Errors
/// When an argument is not supported, or the file is not a test program.
pub fn run_program(file: &Path, arguments: &[String], galo: &Path) -> anyhow::Result<bool> {
    let command = Command::load(file, galo)?;
    if arguments.iter().any(|argument| argument == "--list") {
        let mut listed = vec!["tests"];
        listed.extend(arguments.iter().map(String::as_str));
        let exit = command.run(&listed)?;
        log::print(format_args!("{}", exit.output.trim_end()));
        return Ok(exit.success);
    }
    let cases = run(&command, "", &Selection::parse(arguments)?, &Cancel::default())?;
    Ok(cases.iter().all(|case| !matches!(case.verdict, Verdict::Failed(_))))
}

/// Runs the tests of a program that a selection takes, until it is cancelled. `of` is the name of their crate.
///
/// # Errors
/// When the tests cannot be listed.
pub(super) fn run(command: &Command, of: &str, selection: &Selection, cancel: &Cancel) -> anyhow::Result<Vec<Case>> {
    let mut arguments = vec!["tests", "--list", "--format", "terse"];
    arguments.extend(selection.ignored);
    let listed = command.run(&arguments)?;
    if !listed.success {
        bail!("cannot list the tests: {}\n{}", listed.cause.unwrap_or_default(), listed.output);
    }
    let tests = listed.output.lines().filter_map(|line| line.strip_suffix(": test"));
    let tests: Vec<_> = tests.filter(|test| selection.takes(test)).collect();
    log::print(format_args!("\nrunning {} test{}", tests.len(), if tests.len() == 1 { "" } else { "s" }));
    let (begun, mut cases) = (Instant::now(), Vec::new());
    for test in tests {
        if cancel.is_requested() {
            break;
        }
        let mut arguments = vec!["tests", test, "--exact", "--nocapture"];
        arguments.extend(selection.ignored);
        let started = Instant::now();
        let exit = command.run(&arguments)?;
        let verdict = verdict(&exit);
        let word = match verdict {
            Verdict::Passed => "ok",
            Verdict::Ignored => "ignored",
            Verdict::Failed(_) | Verdict::NotRun(_) => "FAILED",
        };
        log::print(format_args!("test {test} ... {word}"));
        if word != "FAILED" && selection.show_output {
            log::print(format_args!("{}", exit.output.trim_end()));
        }
        let took = started.elapsed();
        cases.push(Case { kind: Kind::Unit, of: of.to_owned(), name: test.to_owned(), verdict, took });
    }
    for case in &cases {
        if let Verdict::Failed(text) = &case.verdict {
            log::print(format_args!("\n---- {} ----\n{text}", case.name));
        }
    }
    let count = |is: fn(&Verdict) -> bool| cases.iter().filter(|case| is(&case.verdict)).count();
    let (passed, ignored) = (count(|v| *v == Verdict::Passed), count(|v| *v == Verdict::Ignored));
    let failed = cases.len() - passed - ignored;
    let result = if failed == 0 { "ok" } else { "FAILED" };
    let seconds = begun.elapsed().as_secs_f64();
    log::print(format_args!(
        "\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored; finished in {seconds:.2}s\n"
    ));
    Ok(cases)
}

/// A test passes only when libtest reports that it ran: a program may exit with 0 and have run nothing.
fn verdict(exit: &Exit) -> Verdict {
    match exit.success {
        true if exit.output.contains("test result: ok. 1 passed") => Verdict::Passed,
        true if exit.output.contains("; 1 ignored;") => Verdict::Ignored,
        _ => {
            let cause = exit.cause.as_deref().unwrap_or("the test did not report a result");
            Verdict::Failed(format!("{}\n{cause}", exit.output.trim()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(success: bool, output: &str) -> Exit {
        Exit { success, cause: None, output: output.to_owned() }
    }

    #[test]
    fn a_program_that_ran_no_test_has_passed_none() {
        let failed = |success, output| matches!(verdict(&exit(success, output)), Verdict::Failed(_));
        assert_eq!(verdict(&exit(true, "test result: ok. 1 passed; 0 failed; 0 ignored; x")), Verdict::Passed);
        assert_eq!(verdict(&exit(true, "test result: ok. 0 passed; 0 failed; 1 ignored; x")), Verdict::Ignored);
        assert!(failed(true, "test result: ok. 0 passed; 0 failed; 0 ignored; x"));
        assert!(failed(false, "test result: ok. 1 passed"));
        assert!(failed(true, ""));
    }
}
