//! Runs the unit tests of handlers, compiled to wasm32-wasip2, in the sandbox: every test on an instance of its own, so
//! that one that traps does not end the others. It takes libtest's arguments, so it can be Cargo's runner for the
//! target, also for `cargo nextest`.
//!
//! `galo test [HANDLER]` builds first and then also runs the examples; `galo test FILE.wasm [ARGS]` runs one program.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;

use crate::develop::build::{self, Cancel, Checkout, Profile};
use crate::guest::command::{Command, Exit};
use crate::guest::{Compiler, Declared, Engine, Grants};
use crate::limits::CompileLimits;
use crate::{example, log};

/// The results of some tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests marked `#[ignore]`.
    pub ignored: usize,
}

/// Builds and runs the tests and the examples of one handler, or of all and the kit. Returns whether all passed. `galo`
/// is the path of this program, which compiles.
///
/// # Errors
/// When Cargo fails, or there is nothing to run.
pub fn run_handlers(checkout: &Checkout, handler: Option<&str>, galo: &Path) -> anyhow::Result<bool> {
    let programs = build::tests(checkout, handler)?;
    let mut total = Tally::default();
    for (name, program) in &programs {
        log::print(format_args!("\n     Running tests of {name} on wasm32-wasip2"));
        let tally = run_tests(&Command::load(program, galo)?, &Selection::default())?;
        total.passed += tally.passed;
        total.failed += tally.failed;
        total.ignored += tally.ignored;
    }
    if total.passed + total.failed == 0 {
        bail!("no tests found; add `#[test]` functions to the handler");
    }
    total.failed += run_examples(checkout, handler, galo)?;
    Ok(total.failed == 0)
}

/// Builds the components for development, and runs their examples. Returns how many failed.
fn run_examples(checkout: &Checkout, handler: Option<&str>, galo: &Path) -> anyhow::Result<usize> {
    let manifest = checkout.manifest()?;
    let components = build::components(checkout, &manifest, Profile::Development, &Cancel::default())?;
    let compiler = Compiler::new(&Engine::start()?, galo, CompileLimits::default(), None);
    let mut failed = 0;
    for (entry, path) in manifest.handlers.iter().zip(components) {
        if handler.is_some_and(|handler| handler != entry.name) {
            continue;
        }
        let examples = example::read(entry)?;
        log::print(format_args!("\n     Running examples of {}\n\nrunning {} examples", entry.name, examples.len()));
        let (bytes, grants) = (std::fs::read(&path)?, Grants { wasi: entry.wasi });
        Declared::read(&bytes).map_or(Ok(()), |declared| declared.check(grants, &entry.limits))?;
        let component = compiler.compile_here(&bytes)?.fit(grants, entry.limits)?;
        for example in &examples {
            // Without a database: a node compares the procedures as well.
            let checked = example.check(entry, &component, None);
            log::print(format_args!(
                "example {} ... {}",
                example.name(),
                if checked.is_ok() { "ok" } else { "FAILED" }
            ));
            if let Err(difference) = checked {
                log::print(format_args!("{difference}"));
                failed += 1;
            }
        }
    }
    log::print(format_args!("\nexample result: {}. {failed} failed\n", if failed == 0 { "ok" } else { "FAILED" }));
    Ok(failed)
}

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
    Ok(run_tests(&command, &Selection::parse(arguments)?)?.failed == 0)
}

/// Which tests are run, and what is shown of them.
#[derive(Debug, Default)]
struct Selection {
    filters: Vec<String>,
    exact: bool,
    show_output: bool,
    /// libtest's own flag for tests marked `#[ignore]`, handed on.
    ignored: Option<&'static str>,
}

impl Selection {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut selection = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--exact" => selection.exact = true,
                "--nocapture" | "--no-capture" | "--show-output" => selection.show_output = true,
                "--include-ignored" => selection.ignored = Some("--include-ignored"),
                "--ignored" => selection.ignored = Some("--ignored"),
                // Tests always run one at a time.
                "--test-threads=1" | "--quiet" | "-q" => {}
                flag if flag.starts_with('-') => bail!("`{flag}` is not supported by `galo test`"),
                filter => selection.filters.push(filter.to_owned()),
            }
        }
        Ok(selection)
    }

    fn takes(&self, test: &str) -> bool {
        let matches = |filter: &String| if self.exact { test == filter } else { test.contains(filter.as_str()) };
        self.filters.is_empty() || self.filters.iter().any(matches)
    }
}

fn run_tests(command: &Command, selection: &Selection) -> anyhow::Result<Tally> {
    let mut arguments = vec!["tests", "--list", "--format", "terse"];
    arguments.extend(selection.ignored);
    let listed = command.run(&arguments)?;
    if !listed.success {
        bail!("cannot list the tests: {}\n{}", listed.cause.unwrap_or_default(), listed.output);
    }
    let tests = listed.output.lines().filter_map(|line| line.strip_suffix(": test"));
    let tests: Vec<_> = tests.filter(|test| selection.takes(test)).collect();
    log::print(format_args!("\nrunning {} test{}", tests.len(), if tests.len() == 1 { "" } else { "s" }));
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for test in tests {
        let mut arguments = vec!["tests", test, "--exact", "--nocapture"];
        arguments.extend(selection.ignored);
        let exit = command.run(&arguments)?;
        let word = verdict(&exit);
        log::print(format_args!("test {test} ... {word}"));
        match word {
            "ok" => tally.passed += 1,
            "ignored" => tally.ignored += 1,
            _ => tally.failed += 1,
        }
        if word == "FAILED" {
            failures.push((test, exit));
        } else if selection.show_output {
            log::print(format_args!("{}", exit.output.trim_end()));
        }
    }
    for (test, exit) in &failures {
        log::print(format_args!("\n---- {test} ----\n{}", exit.output.trim()));
        log::print(format_args!("{}", exit.cause.as_deref().unwrap_or("the test did not report a result")));
    }
    let Tally { passed, failed, ignored } = tally;
    let result = if failed == 0 { "ok" } else { "FAILED" };
    let seconds = begun.elapsed().as_secs_f64();
    log::print(format_args!(
        "\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored; finished in {seconds:.2}s\n"
    ));
    Ok(tally)
}

/// A test passes only when libtest reports that it ran: a program may exit with 0 and have run nothing.
fn verdict(exit: &Exit) -> &'static str {
    match exit.success {
        true if exit.output.contains("test result: ok. 1 passed") => "ok",
        true if exit.output.contains("; 1 ignored;") => "ignored",
        _ => "FAILED",
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
        assert_eq!(verdict(&exit(true, "test result: ok. 1 passed; 0 failed; 0 ignored; x")), "ok");
        assert_eq!(verdict(&exit(true, "test result: ok. 0 passed; 0 failed; 1 ignored; x")), "ignored");
        assert_eq!(verdict(&exit(true, "test result: ok. 0 passed; 0 failed; 0 ignored; x")), "FAILED");
        assert_eq!(verdict(&exit(false, "test result: ok. 1 passed")), "FAILED");
        assert_eq!(verdict(&exit(true, "")), "FAILED");
    }

    #[test]
    fn an_unknown_flag_is_refused_not_ignored() {
        let parse =
            |arguments: &[&str]| Selection::parse(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert!(parse(&["--shuffle"]).is_err());
        let selection = parse(&["rules", "--exact"]).unwrap();
        assert!(selection.takes("rules") && !selection.takes("rules::x"));
        assert!(parse(&["rules"]).unwrap().takes("rules::x"));
    }
}
