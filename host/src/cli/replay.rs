//! `galo replay CORPUS`: its arguments, its progress and its verdict.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use galo::config::Mistakes;
use galo::develop::build::{self, Cancel, Profile};
use galo::guest::{Cache, Engine};
use galo::replay::{self, Budget, Comparison, File, Survey, Tallies};
use galo::signals::Signals;
use galo::{limits, log, manifest};
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::contenders::{Contenders, Place};
use super::node::default_cache;
use super::project::ProjectArgs;
use super::runtime::{Task, block_on};

#[derive(Args)]
pub(super) struct ReplayArgs {
    /// The corpus, as `galo record` writes it; `-` is stdin
    #[arg(value_name = "CORPUS")]
    corpus: PathBuf,
    /// Component to run; without it, the project is built for release and run
    ///
    /// It runs with the grants and limits that the handler has in the manifest of --handlers or of the project; where
    /// there is none, with the default limits.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Folder with galo.toml and the components to run, instead of the project
    #[arg(long, value_name = "DIR")]
    handlers: Option<PathBuf>,
    /// Compare with this component, or with those of this folder, instead of the stored answers
    ///
    /// Records from which something was redacted can be compared in this way only.
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// Compare the records of this handler only
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// How many more instructions may be executed than by --against, such as +5%
    ///
    /// Instructions are those of WebAssembly, so that the number is the same on every machine. The budget holds for
    /// each handler.
    #[arg(long, value_name = "PERCENT", requires = "against", allow_hyphen_values = true)]
    budget: Option<String>,
    /// Threads that run the components [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Folder for compiled components [default: galo/components in the user's cache folder]
    #[arg(long, env = "GALO_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print the counts and all paths as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    project: ProjectArgs,
}

/// A comparison that has ended.
struct Ended {
    tallies: Tallies,
    budget: Option<Budget>,
    json: bool,
    begun: Instant,
}

impl ReplayArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let budget = match &self.budget {
            Some(text) => Some(mistakes.parse::<Budget>("--budget", text)?),
            None => None,
        };
        let threads = match &self.threads {
            Some(text) => mistakes.parse_within("--threads", text, 1, limits::REPLAY_THREADS_MAX)?,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        Some(Box::new(move || block_on(None, self.run(budget, threads))))
    }

    async fn run(self, budget: Option<Budget>, threads: NonZeroUsize) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        let cancel = Cancel::default();
        let mut task = spawn_blocking({
            let cancel = cancel.clone();
            let (json, begun) = (self.json, Instant::now());
            move || self.compared(&cancel, threads).map(|tallies| Ended { tallies, budget, json, begun })
        });
        tokio::select! {
            ended = &mut task => ended??.report(),
            _ = signals.next() => {
                cancel.cancel();
                // It ends after the records under way, or after the build.
                if let Ok(Ok(Ok(ended))) = timeout(limits::TESTS_STOP_MAX, task).await {
                    log::line(ended.tallies.text().trim_end());
                }
                log::line("stopped before the end of the corpus: nothing is proved");
                // As a shell reports a program that ended by Ctrl-C.
                Ok(ExitCode::from(130))
            }
        }
    }

    /// Compares the corpus, or a part of it if it is cancelled.
    fn compared(self, cancel: &Cancel, threads: NonZeroUsize) -> anyhow::Result<Tallies> {
        let file = File::open(&self.corpus)?;
        let survey = Survey::of(file.records()?)?;
        let shown = self.corpus.display();
        ensure!(survey.records() > 0, "{shown} has no record; `galo record --last 1000 >corpus.jsonl` writes some");
        let cache = opened(self.cache.clone().or_else(default_cache).as_deref());
        let contenders = self.contenders(cancel)?;
        let contenders = contenders.load(&survey, &Engine::start_counting()?, cache)?;
        let (all, mut logged) = (survey.records(), Instant::now());
        let seen = |tallies: &Tallies| {
            if logged.elapsed() >= limits::REPLAY_PROGRESS {
                logged = Instant::now();
                let done = tallies.compared() + tallies.skipped();
                log::line(&format!("{done} of {all} records, {} differ", tallies.differing()));
            }
            if cancel.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let comparison = Comparison { survey: &survey, contenders: &contenders, threads };
        Ok(replay::compare(file.records()?, comparison, seen)?)
    }

    /// What is compared; the project is built if it is.
    fn contenders(self, cancel: &Cancel) -> anyhow::Result<Contenders> {
        let entries = match &self.handlers {
            Some(folder) => manifest::read(folder)?.handlers,
            None if self.component.is_some() => {
                // A component can be compared outside of a project, too.
                self.project
                    .locate()
                    .ok()
                    .and_then(|project| project.manifest().ok())
                    .map_or_else(Vec::new, |it| it.handlers)
            }
            None => Vec::new(),
        };
        let after = match (self.component, self.handlers) {
            (Some(component), _) => Place::File(component),
            (None, Some(folder)) => Place::Folder(folder),
            (None, None) => {
                let project = self.project.find()?;
                let folder = project.scratch().join("replay");
                build::handlers(&project, Profile::Release, cancel)?.put(&folder)?;
                Place::Folder(folder)
            }
        };
        let before = self.against.map(Place::of).transpose()?;
        Ok(Contenders { after, before, handler: self.handler, entries })
    }
}

/// The cache, unless it cannot be used: it saves time only.
fn opened(folder: Option<&Path>) -> Option<Cache> {
    let opened = Cache::open(folder?);
    opened.inspect_err(|error| tracing::warn!("compiled components are not kept: {error:#}")).ok()
}

impl Ended {
    /// Prints the verdict. Nothing compared is not a success.
    fn report(self) -> anyhow::Result<ExitCode> {
        let Self { tallies, budget, json, begun } = self;
        let (compared, differing, skipped) = (tallies.compared(), tallies.differing(), tallies.skipped());
        let over = |budget: Budget| {
            let handlers = tallies.handlers.iter().filter(move |(_, tally)| budget.is_exceeded(tally.instructions));
            handlers.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        let over = budget.map(over).unwrap_or_default();
        let passed = compared > 0 && differing == 0 && over.is_empty();
        if json {
            let report = json!({
                "passed": passed, "compared": compared, "differing": differing, "over_budget": over,
                "handlers": tallies.handlers, "skipped": tallies.skipped,
            });
            log::print(format_args!("{}", log::escaped_json(&serde_json::to_string_pretty(&report)?)));
        } else {
            let text = tallies.text();
            if !text.is_empty() {
                log::print(format_args!("{}", text.trim_end()));
            }
            for name in over {
                let budget = budget.map(|budget| budget.to_string()).unwrap_or_default();
                log::print(format_args!("{name}: executes more instructions than the budget of {budget} allows"));
            }
            let (result, seconds) = (if passed { "ok" } else { "FAILED" }, begun.elapsed().as_secs_f64());
            let nothing = if compared == 0 { ": nothing was compared" } else { "" };
            log::print(format_args!(
                "result: {result}{nothing}, {differing} of {compared} differ, {skipped} skipped, in {seconds:.2} s"
            ));
        }
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
