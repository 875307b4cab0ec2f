//! How far a run is: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two drawings of the time that passes.
const TICK: Duration = Duration::from_millis(500);

/// The progress of a run.
pub struct Progress {
    bar: ProgressBar,
    lines: bool,
}

impl Progress {
    /// Of so many steps.
    pub fn new(steps: usize) -> Self {
        let lines = !std::io::stderr().is_terminal();
        let target = if lines { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(u64::try_from(steps).ok(), target);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {elapsed} of {duration}\n{msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar, lines }
    }

    /// What is done now.
    pub fn begin(&self, what: impl Into<String>) {
        let what = what.into();
        if self.lines {
            print(&format!("{}/{}: {what}", self.bar.position() + 1, self.bar.length().unwrap_or_default()));
        }
        self.bar.set_message(what);
    }

    /// What came of it.
    pub fn end(&self, outcome: &str) {
        if self.lines {
            print(&format!("    {outcome}"));
        } else {
            self.bar.println(format!("{}: {outcome}", self.bar.message()));
        }
        self.bar.inc(1);
    }

    /// All is done.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A line on stderr. A pipe without a reader is not a reason to end.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
