//! Builds a handler with the command of its manifest entry. The command runs in the handler's folder and writes the
//! file that the entry names as `component`. Its output is shown as it comes, each line with the handler's name, up to
//! a bound.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use super::Project;
use super::group::{self, Cancel};
use crate::manifest::{Build, Entry, FILE_NAME};
use crate::{limits, log};

/// Runs the command, and returns the path of the component.
///
/// # Errors
/// When the command fails, or leaves no component.
pub(super) fn run(project: &Project, entry: &Entry, build: &Build, cancel: &Cancel) -> anyhow::Result<PathBuf> {
    let (name, text) = (&entry.name, &build.command);
    let (output, writer) = io::pipe()?;
    let mut command = Command::new("sh");
    command.args(["-c", text]).current_dir(project.handlers().join(name));
    command.stdout(writer.try_clone()?).stderr(writer);
    if let Some(galo) = galo() {
        command.env("GALO", galo);
    }
    log::line(&format!("{name} | building with `{text}`"));
    let begun = Instant::now();
    let (status, ()) = group::run(command, output, cancel, |output| relay(output, |line| log::line(&line), name))
        .with_context(|| format!("`{text}`"))?;
    if cancel.is_requested() {
        bail!("the build was stopped");
    }
    ensure!(status.success(), "`{text}` failed ({status}); its output is above, marked `{name} |`");
    ensure!(
        entry.component.is_file(),
        "`{text}` ended without an error, but {} does not exist; have it write that file, or change `component` in \
         {FILE_NAME}, line {}",
        entry.component.display(),
        entry.line
    );
    log::line(&format!("{name} | built in {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(entry.component.clone())
}

/// The path of this program, for a command that calls it, as `galo componentize`: it need not be on the PATH. `None`
/// where the caller's variable decides, and in a program that is not Galo.
fn galo() -> Option<PathBuf> {
    let program = std::env::current_exe().ok().filter(|path| path.file_stem().is_some_and(|stem| stem == "galo"));
    program.filter(|_| std::env::var_os("GALO").is_none())
}

/// Shows the output of a command line by line: the first lines as they come, and after them the last ones.
fn relay(output: impl io::Read, mut show: impl FnMut(String), name: &str) {
    let mut output = BufReader::new(output);
    let (mut shown, mut left_out, mut last) = (0, 0_usize, VecDeque::new());
    while let Some(line) = line(&mut output) {
        if shown < limits::BUILD_LINES_MAX {
            shown += 1;
            show(format!("{name} | {line}"));
            continue;
        }
        if last.len() == limits::BUILD_LINES_LAST {
            last.pop_front();
            left_out += 1;
        }
        last.push_back(line);
    }
    if left_out > 0 {
        show(format!("{name} | ({left_out} lines are left out)"));
    }
    last.into_iter().for_each(|line| show(format!("{name} | {line}")));
}

/// The next line without its end, cut to a bound. What a progress bar has overwritten is left out.
fn line(output: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    let most = limits::BUILD_LINE_BYTES_MAX as u64;
    if output.by_ref().take(most).read_until(b'\n', &mut bytes).ok()? == 0 {
        return None;
    }
    if bytes.last() != Some(&b'\n') {
        skip_line(output);
    }
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_end().rsplit('\r').next().unwrap_or_default().to_owned())
}

fn skip_line(output: &mut impl BufRead) {
    while let Ok(bytes) = output.fill_buf() {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(bytes.len(), |end| end + 1);
        output.consume(length);
        if length == 0 || end.is_some() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(output: &str) -> Vec<String> {
        let mut lines = Vec::new();
        relay(output.as_bytes(), |line| lines.push(line), "x");
        lines
    }

    #[test]
    fn each_line_has_the_handlers_name_and_a_progress_bar_is_one_line() {
        assert_eq!(shown("a\n10 %\r20 %\r\n\nlast"), ["x | a", "x | 20 %", "x | ", "x | last"]);
    }

    #[test]
    fn output_without_end_is_bounded_and_its_last_lines_are_shown() {
        let long = "y".repeat(limits::BUILD_LINE_BYTES_MAX * 3);
        let lines = shown(&format!("{}{long}\nlast\n", "line\n".repeat(limits::BUILD_LINES_MAX * 2)));
        assert_eq!(lines.len(), limits::BUILD_LINES_MAX + 1 + limits::BUILD_LINES_LAST);
        assert_eq!(lines.last().unwrap(), "x | last");
        assert_eq!(lines[lines.len() - 2].len(), limits::BUILD_LINE_BYTES_MAX + 4);
        assert!(lines[limits::BUILD_LINES_MAX].contains("lines are left out"));
    }
}
