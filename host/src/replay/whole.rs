//! A whole corpus, run again record by record: on a component, compared with what was stored; or on two components,
//! compared with each other.

use std::collections::HashMap;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::{Decision, Difference, Skipped, Survey, Tallies, differences, is_undecided, run, stored};
use crate::guest::{Component, Engine};
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

/// What is compared, and on how many threads.
#[derive(Clone, Copy)]
pub struct Comparison<'a> {
    /// What the corpus holds.
    pub survey: &'a Survey,
    /// The components, by their handlers.
    pub contenders: &'a HashMap<String, Contender>,
    /// How many threads run them.
    pub threads: NonZeroUsize,
}

/// Compares records, until `seen` breaks, which is asked after each of them. They are run on several threads, and
/// counted in the order of the corpus: what comes out does not depend on the threads.
///
/// # Errors
/// The first line that cannot be read.
pub fn compare(
    mut corpus: impl Iterator<Item = Result<(u64, Record), Broken>>,
    comparison: Comparison<'_>,
    mut seen: impl FnMut(&Tallies) -> ControlFlow<()>,
) -> Result<Tallies, Broken> {
    let mut tallies = Tallies::default();
    loop {
        let (mut records, mut broken) = (Vec::new(), None);
        for record in corpus.by_ref().take(comparison.threads.get() * limits::REPLAY_RECORDS_AHEAD) {
            match record {
                Ok(record) => records.push(record),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        let ends = records.is_empty();
        for ((line, record), compared) in records.iter().zip(comparison.each(&records)) {
            match compared {
                Some(Ok((found, instructions))) => {
                    let tally = tallies.handlers.entry(record.handler.clone()).or_default();
                    tally.add((*line, &record.request.id), found, instructions);
                }
                Some(Err(skipped)) => tallies.skip(skipped.to_string()),
                None => tallies.skip(format!("of `{}`, which is not compared", record.handler)),
            }
            if seen(&tallies).is_break() {
                return Ok(tallies);
            }
        }
        match broken {
            Some(broken) => return Err(broken),
            None if ends => return Ok(tallies),
            None => {}
        }
    }
}

/// Where two decisions differ, and the instructions that both took; or why they cannot be compared. `None` for a
/// handler that is not compared.
type Compared = Option<Result<(Vec<Difference>, (u64, u64)), Skipped>>;

impl Comparison<'_> {
    /// Compares each of these records, in their order.
    fn each(self, records: &[(u64, Record)]) -> Vec<Compared> {
        let next = AtomicUsize::new(0);
        let runtime = Handle::try_current().ok();
        let work = || {
            // wasmtime-wasi looks for the current runtime.
            let _inside = runtime.as_ref().map(Handle::enter);
            let mut done: Vec<(usize, Compared)> = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some((_, record)) = records.get(place) else { return done };
                done.push((place, self.one(record)));
            }
        };
        let mut done = std::thread::scope(|scope| {
            let more = 1..self.threads.get().min(records.len());
            let thread = || std::thread::Builder::new().stack_size(limits::WORKER_STACK_BYTES);
            let threads: Vec<_> = more.filter_map(|_| thread().spawn_scoped(scope, work).ok()).collect();
            let mut done = work();
            for thread in threads {
                match thread.join() {
                    Ok(its) => done.extend(its),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        });
        done.sort_by_key(|(place, _)| *place);
        done.into_iter().map(|(_, compared)| compared).collect()
    }

    fn one(self, record: &Record) -> Compared {
        let contender = self.contenders.get(&record.handler)?;
        Some(contender.decide(self.survey, record).map(|Decided { before, after, instructions }| {
            (differences(&before, &after, limits::DIFFERENCES_PER_RECORD_MAX, &[]), instructions)
        }))
    }
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
        if is_undecided(record) {
            return Err(Skipped::Undecided);
        }
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
    let begun = Engine::executed();
    let decision = run(component, record)?;
    Ok((decision, Engine::executed() - begun))
}
