//! A whole corpus, run again record by record: on a component, compared with what was stored; or on two components,
//! compared with each other.

use std::collections::HashMap;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context as _;

use super::{Decision, Skipped, Survey, Tallies, differences, run, stored};
use crate::guest::Component;
use crate::limits;
use crate::record::{Broken, Corpus, Record};

/// The file of a corpus. It is read twice, so what comes from a pipe is put into a temporary file first.
pub struct File {
    file: std::fs::File,
    name: String,
}

/// What is compared of a handler.
pub struct Contender {
    /// The component that is compared with; `None` for what was stored.
    pub before: Option<Component>,
    /// The component that is compared.
    pub after: Component,
}

impl File {
    /// Opens a corpus; `-` is stdin.
    ///
    /// # Errors
    /// When it cannot be opened or copied.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let opened = || format!("cannot read {name}");
        let mut source = match path.to_str() {
            Some("-") => std::fs::File::from(std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned()?),
            _ => std::fs::File::open(path).with_context(opened)?,
        };
        if source.metadata().with_context(opened)?.is_file() {
            return Ok(Self { file: source, name });
        }
        let mut file = tempfile::tempfile().context("cannot make a temporary file for the corpus")?;
        std::io::copy(&mut source, &mut file).with_context(opened)?;
        Ok(Self { file, name })
    }

    /// Its records, from the first on.
    ///
    /// # Errors
    /// When it cannot be read again.
    pub fn records(&self) -> anyhow::Result<Corpus<BufReader<&std::fs::File>>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).with_context(|| format!("cannot read {}", self.name))?;
        Ok(Corpus::new(BufReader::new(file), &self.name))
    }
}

/// Compares records, until `seen` breaks, which is asked after each of them.
///
/// # Errors
/// The first line that cannot be read.
pub fn compare(
    corpus: impl Iterator<Item = Result<(u64, Record), Broken>>,
    survey: &Survey,
    contenders: &HashMap<String, Contender>,
    mut seen: impl FnMut(&Tallies) -> ControlFlow<()>,
) -> Result<Tallies, Broken> {
    let mut tallies = Tallies::default();
    for record in corpus {
        let (line, record) = record?;
        match contenders.get(&record.handler) {
            None => tallies.skip(format!("of `{}`, which is not compared", record.handler)),
            Some(contender) => match contender.decide(survey, &record) {
                Ok(Decided { before, after, instructions }) => {
                    let found = differences(&before, &after, limits::DIFFERENCES_PER_RECORD_MAX);
                    let tally = tallies.handlers.entry(record.handler).or_default();
                    tally.add((line, &record.request.id), found, instructions);
                }
                Err(skipped) => tallies.skip(skipped.to_string()),
            },
        }
        if seen(&tallies).is_break() {
            break;
        }
    }
    Ok(tallies)
}

/// Two decisions, and what they took.
struct Decided {
    before: Decision,
    after: Decision,
    instructions: (u64, u64),
}

impl Contender {
    fn decide(&self, survey: &Survey, record: &Record) -> Result<Decided, Skipped> {
        survey.check(record)?;
        let (before, was) = match &self.before {
            Some(component) => counted(component, record)?,
            None => (stored(record)?, 0),
        };
        let (after, is) = counted(&self.after, record)?;
        Ok(Decided { before, after, instructions: (was, is) })
    }
}

/// What a component decides, and the instructions that it executes, if its engine counts them.
fn counted(component: &Component, record: &Record) -> Result<(Decision, u64), Skipped> {
    let begun = component.executed();
    let decision = run(component, record)?;
    Ok((decision, component.executed() - begun))
}
