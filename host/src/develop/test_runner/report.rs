//! The results of a run: a summary for people, and a file in the format of JUnit for CI.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

/// What a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A unit test of a crate.
    Unit,
    /// An example that needs no database.
    Example,
    /// An example whose rows come from the scratch database.
    EndToEnd,
    /// Recorded requests.
    Corpus,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// With what differs, or what it printed.
    Failed(String),
    /// Marked `#[ignore]`.
    Ignored,
    /// With the reason.
    NotRun(String),
}

/// One unit test or example.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) kind: Kind,
    /// The handler, or the crate.
    pub(super) of: String,
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
}

/// The cases of a run, in the order in which they ran.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) cases: Vec<Case>,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Unit, Self::Example, Self::EndToEnd, Self::Corpus];

    fn plural(self) -> &'static str {
        match self {
            Self::Unit => "unit tests",
            Self::Example => "examples",
            Self::EndToEnd => "end-to-end examples",
            Self::Corpus => "corpora",
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Self::Unit => "test",
            Self::Example => "example",
            Self::EndToEnd => "end-to-end example",
            Self::Corpus => "corpus",
        }
    }
}

impl Report {
    /// Whether nothing failed, and everything was run.
    pub(super) fn passed(&self) -> bool {
        self.cases.iter().all(|case| matches!(case.verdict, Verdict::Passed | Verdict::Ignored))
    }

    /// What passed and what did not, by kind, and the names of what did not.
    pub(super) fn summary(&self, took: Duration) -> String {
        let mut text = "Summary\n".to_owned();
        // Writing to a text does not fail.
        for kind in Kind::ALL {
            let count = |is: fn(&Verdict) -> bool| self.of(kind).filter(|case| is(&case.verdict)).count();
            if self.of(kind).next().is_none() {
                continue;
            }
            let passed = count(|verdict| *verdict == Verdict::Passed);
            let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
            let _ = write!(text, "  {:<20} {passed} passed, {failed} failed", kind.plural());
            for (others, word) in [
                (count(|verdict| *verdict == Verdict::Ignored), "ignored"),
                (count(|verdict| matches!(verdict, Verdict::NotRun(_))), "not run"),
            ] {
                if others > 0 {
                    let _ = write!(text, ", {others} {word}");
                }
            }
            text.push('\n');
        }
        for case in self.cases.iter().filter(|case| matches!(case.verdict, Verdict::Failed(_))) {
            let _ = writeln!(text, "  failed: {}, {} {}", case.of, case.kind.singular(), case.name);
        }
        let mut reasons: Vec<&str> = Vec::new();
        for case in &self.cases {
            if let Verdict::NotRun(reason) = &case.verdict
                && !reasons.contains(&reason.as_str())
            {
                let _ = writeln!(text, "  not run: {}", reason.replace('\n', "\n    "));
                reasons.push(reason);
            }
        }
        let result = if self.passed() { "ok" } else { "FAILED" };
        let _ = write!(text, "result: {result}, in {:.2} s", took.as_secs_f64());
        text
    }

    /// Writes a file in the format of JUnit: a suite for each handler and kind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write_junit(&self, path: &Path, took: Duration) -> anyhow::Result<()> {
        let mut report = quick_junit::Report::new("galo test");
        report.set_time(took);
        let mut suites: Vec<TestSuite> = Vec::new();
        for case in &self.cases {
            let name = format!("{} {}", case.of, case.kind.plural());
            let place = suites.iter().position(|suite| suite.name.as_str() == name).unwrap_or_else(|| {
                suites.push(TestSuite::new(name.clone()));
                suites.len() - 1
            });
            let mut shown = TestCase::new(case.name.clone(), status(&case.verdict));
            shown.set_classname(name).set_time(case.took);
            suites[place].add_test_case(shown);
        }
        report.add_test_suites(suites);
        let text = report.to_string().context("cannot write the report as XML")?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(move |case| case.kind == kind)
    }
}

fn status(verdict: &Verdict) -> TestCaseStatus {
    let unsuccessful = |kind, text: &str| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(text.lines().next().unwrap_or_default()).set_description(text);
        status
    };
    match verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Ignored => TestCaseStatus::skipped(),
        Verdict::Failed(text) => unsuccessful(NonSuccessKind::Failure, text),
        Verdict::NotRun(text) => unsuccessful(NonSuccessKind::Error, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(kind: Kind, name: &str, verdict: Verdict) -> Case {
        Case { kind, of: "orders".to_owned(), name: name.to_owned(), verdict, took: Duration::from_millis(2) }
    }

    #[test]
    fn what_was_not_run_is_neither_passed_nor_unnoticed() {
        let none = "no server\ninstall one";
        let report = Report {
            cases: vec![
                case(Kind::Unit, "a", Verdict::Passed),
                case(Kind::Unit, "b", Verdict::Ignored),
                case(Kind::Example, "c", Verdict::Failed("- 1\n+ 2".to_owned())),
                case(Kind::EndToEnd, "d", Verdict::NotRun(none.to_owned())),
                case(Kind::EndToEnd, "e", Verdict::NotRun(none.to_owned())),
            ],
        };
        let expected = "Summary\n  unit tests           1 passed, 0 failed, 1 ignored\n  examples             0 passed, 1 \
                        failed\n  end-to-end examples  0 passed, 0 failed, 2 not run\n  failed: orders, example \
                        c\n  not run: no server\n    install one\nresult: FAILED, in 1.50 s";
        assert_eq!(report.summary(Duration::from_millis(1500)), expected);
        assert!(!report.passed());
        assert!(!Report { cases: vec![case(Kind::EndToEnd, "d", Verdict::NotRun(String::new()))] }.passed());
        assert!(Report { cases: vec![case(Kind::Unit, "b", Verdict::Ignored)] }.passed());
    }
}
