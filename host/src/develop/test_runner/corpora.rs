//! Runs the recorded requests of a handler, `NAME/corpus.jsonl` beside its examples, and compares with what was stored.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::task::block_in_place;

use super::report::{Case, Kind, Verdict};
use crate::develop::build::Cancel;
use crate::guest::Component;
use crate::manifest::Entry;
use crate::record::CORPUS_NAME;
use crate::replay::{self, Comparison, Contender, File, Survey, Tallies};
use crate::{gate, log};

/// The corpus of a handler, if it has one.
pub(super) fn path(entry: &Entry) -> Option<PathBuf> {
    let path = gate::path(entry);
    path.is_file().then_some(path)
}

/// Compares a corpus, until it is cancelled, and prints the result.
pub(super) fn run(entry: &Entry, path: &Path, component: Component, cancel: &Cancel) -> Case {
    let of = &entry.name;
    log::print(format_args!("\n     Running the corpus of {of}\n"));
    let begun = Instant::now();
    let contenders = HashMap::from([(of.clone(), Contender { before: None, after: component })]);
    let compared = block_in_place(|| compared(path, &contenders, cancel));
    let (verdict, shown) = match compared {
        Ok(tallies) => match (tallies.compared(), tallies.differing()) {
            (0, _) => (Verdict::Failed(format!("nothing was compared\n{}", tallies.text())), None),
            (_, 0) => (Verdict::Passed, Some(tallies.text())),
            _ => (Verdict::Failed(tallies.text()), None),
        },
        Err(error) => (Verdict::Failed(format!("{error:#}")), None),
    };
    let (word, details) = match &verdict {
        Verdict::Failed(details) => ("FAILED", details.as_str()),
        _ => ("ok", shown.as_deref().unwrap_or_default()),
    };
    log::print(format_args!("corpus {} ... {word}\n{}", path.display(), details.trim_end()));
    Case { kind: Kind::Corpus, of: of.clone(), name: CORPUS_NAME.to_owned(), verdict, took: begun.elapsed() }
}

fn compared(path: &Path, contenders: &HashMap<String, Contender>, cancel: &Cancel) -> anyhow::Result<Tallies> {
    let file = File::open(path)?;
    let survey = Survey::of(file.records()?)?;
    let seen = |_: &Tallies| if cancel.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let comparison = Comparison { survey: &survey, contenders, threads };
    Ok(replay::compare(file.records()?, comparison, seen)?)
}
