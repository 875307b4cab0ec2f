//! `galo test`: the unit tests of handlers on WebAssembly, and their examples, the end-to-end ones on a scratch
//! database, with one summary; with `--watch` again after each change.
//!
//! `galo test FILE.wasm [ARGS]` runs one test program with the arguments of libtest, so that it can be Cargo's runner
//! for the target, also for `cargo nextest`. Nothing is left behind: the build is killed by its process group, scratch
//! databases are dropped, and a private Postgres is stopped by its guard.

mod application;
mod corpora;
mod examples;
mod report;
mod selection;
mod units;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::application::Server;
use self::examples::{Examples, Prepared};
use self::report::{Case, Kind, Report, Verdict};
pub use self::selection::Selection;
pub use self::units::run_program;
use crate::database::Target;
use crate::develop::build::{self, Built, Cancel, Profile, Project};
use crate::guest::command::Command;
use crate::guest::{Compiler, Engine};
use crate::limits::{self, CompileLimits};
use crate::log;
use crate::manifest::{Entry, Manifest};
use crate::signals::Signals;
use crate::wire::Messages;

/// What is tested, and how.
pub struct Options {
    /// Where the sources are.
    pub project: Project,
    /// The handler to test. `None` for all of them, and for the kit if it is developed here.
    pub handler: Option<String>,
    /// Which of its tests and examples.
    pub selection: Selection,
    /// The database beside which scratch databases are made. `None` for a private server.
    pub database: Option<Target>,
    /// Where a report in the format of JUnit is written to.
    pub junit: Option<PathBuf>,
    /// Whether to run the corpora of the handlers, too.
    pub corpus: bool,
    /// Whether to test again after each change.
    pub watch: bool,
}

/// How `galo test` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything passed; or the watch was ended.
    Passed,
    /// Something failed, or could not be run.
    Failed,
    /// By a signal, before its end.
    Interrupted,
}

/// Builds and tests until the end, or until a signal. `galo` is the path of this program, which compiles and guards
/// Postgres.
///
/// # Errors
/// When the build fails, or there is nothing to test.
pub async fn test(options: Options, galo: &Path) -> anyhow::Result<Ended> {
    let mut signals = Signals::new()?;
    let run = Arc::new(Run { options, galo: galo.to_owned(), cancel: Cancel::default(), server: OnceCell::new() });
    // A task of its own, so that a signal is heard while an example runs.
    let mut task = tokio::spawn(Arc::clone(&run).run());
    let ended = tokio::select! {
        ended = &mut task => ended?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped");
            run.cancel.cancel();
            task.abort();
            // It ends with the build or the example under way.
            let _ = timeout(limits::TESTS_STOP_MAX, task).await;
            Ok(if run.options.watch { Ended::Passed } else { Ended::Interrupted })
        }
    };
    if let Some(server) = run.server.get()
        && let Err(error) = server.end().await
    {
        tracing::warn!("a scratch database may be left; the next `galo test` drops it: {error:#}");
    }
    ended
}

struct Run {
    options: Options,
    galo: PathBuf,
    /// Ends the build and the tests under way.
    cancel: Cancel,
    /// Started when it is needed.
    server: OnceCell<Server>,
}

/// What a run needs: programs, components and a database, which is dropped with it.
struct Ready<'a> {
    begun: Instant,
    /// The name of each crate, and the program of its unit tests.
    programs: Vec<(String, PathBuf)>,
    examples: Vec<Examples>,
    /// The corpora of handlers, by their names.
    corpora: HashMap<String, PathBuf>,
    /// The components of the handlers with examples, in the same order.
    built: Built,
    /// If an example needs one.
    application: Option<Prepared<'a>>,
    messages: Messages,
}

impl Run {
    async fn run(self: Arc<Self>) -> anyhow::Result<Ended> {
        if self.options.watch {
            return Box::pin(self.watch()).await;
        }
        let ready = self.build(self.prepare().await?, None).await?;
        Ok(if self.test(ready).await? { Ended::Passed } else { Ended::Failed })
    }

    /// Reads the manifest and the workspace.
    async fn prepare(&self) -> anyhow::Result<build::Prepared> {
        let (project, cancel) = (self.options.project.clone(), self.cancel.clone());
        spawn_blocking(move || build::prepare(&project, &cancel)).await?
    }

    /// Builds what is tested, for development. Of the handlers with a build command, only those that are `due` are
    /// built, or all of them.
    async fn build(&self, mut prepared: build::Prepared, due: Option<BTreeSet<String>>) -> anyhow::Result<Ready<'_>> {
        let (begun, Options { project, selection, .. }) = (Instant::now(), &self.options);
        let wanted = self.wanted(&prepared.manifest)?;
        let read = wanted.iter().map(|entry| Examples::read(entry, selection)).collect::<anyhow::Result<Vec<_>>>()?;
        let corpora = self.corpora(&wanted)?;
        let has_some = |it: &Examples| !it.is_empty() || corpora.contains_key(&it.entry.name);
        let examples: Vec<_> = read.into_iter().filter(has_some).collect();
        prepared.retain(|name| examples.iter().any(|examples| examples.entry.name == name));
        let manifest = Arc::clone(&prepared.manifest);
        let application = async {
            if !examples.iter().any(Examples::need_a_database) {
                return None;
            }
            let start = || Server::start(self.options.database.as_ref(), &self.galo);
            let started = async {
                let server = self.server.get_or_try_init(start).await?;
                server.application(&project.sql(), &manifest.project.role, &manifest.handlers).await
            };
            Some(started.await.map_err(|error: anyhow::Error| format!("{error:#}")))
        };
        let (project, handler, cancel) = (project.clone(), self.options.handler.clone(), self.cancel.clone());
        let built = spawn_blocking(move || {
            let programs = build::tests(&project, handler.as_deref(), &cancel)?;
            let is_due = |name: &str| due.as_ref().is_none_or(|due| due.contains(name));
            Ok::<_, anyhow::Error>((programs, prepared.build(Profile::Development, is_due, &cancel)?))
        });
        let (built, application) = tokio::join!(built, application);
        let (programs, built) = built??;
        Ok(Ready { begun, programs, examples, corpora, built, application, messages: manifest.messages.clone() })
    }

    /// Runs the unit tests and the examples. Returns whether everything passed.
    async fn test(&self, mut ready: Ready<'_>) -> anyhow::Result<bool> {
        let mut report = Report { cases: self.unit_tests(std::mem::take(&mut ready.programs)).await? };
        let compiler = Compiler::new(&Engine::start()?, &self.galo, CompileLimits::default(), None);
        for (examples, built) in ready.examples.iter().zip(ready.built.components()) {
            let component = match built {
                Ok(path) => examples::component(&examples.entry, path, &compiler).await,
                Err(why) => Err(why.clone()),
            };
            match component {
                Ok(component) => {
                    let application = ready.application.as_ref();
                    report.cases.extend(examples.run(&component, &ready.messages, application, &self.cancel).await);
                    if let Some(path) = ready.corpora.get(&examples.entry.name) {
                        report.cases.push(corpora::run(&examples.entry, path, component, &self.cancel));
                    }
                }
                Err(refusal) => report.cases.push(rejected(&examples.entry, refusal)),
            }
        }
        let begun = ready.begun;
        drop(ready);
        ensure!(!self.cancel.is_requested(), "the tests were stopped");
        self.check_some(&report)?;
        log::print(format_args!("\n{}", report.summary(begun.elapsed())));
        if let Some(path) = &self.options.junit {
            report.write_junit(path, begun.elapsed())?;
        }
        Ok(report.passed())
    }

    /// The handlers to test.
    fn wanted(&self, manifest: &Manifest) -> anyhow::Result<Vec<Entry>> {
        let Some(name) = &self.options.handler else { return Ok(manifest.handlers.clone()) };
        let found = manifest.handlers.iter().find(|entry| entry.name == *name);
        let Some(found) = found else {
            let names: Vec<_> = manifest.handlers.iter().map(|entry| entry.name.as_str()).collect();
            bail!("no handler `{name}`; there are: {}", names.join(", "));
        };
        Ok(vec![found.clone()])
    }

    /// The corpora of these handlers, if they are to be run.
    fn corpora(&self, wanted: &[Entry]) -> anyhow::Result<HashMap<String, PathBuf>> {
        if !self.options.corpus {
            return Ok(HashMap::new());
        }
        let found = wanted.iter().filter_map(|entry| Some((entry.name.clone(), corpora::path(entry)?)));
        let found: HashMap<_, _> = found.collect();
        ensure!(
            !found.is_empty(),
            "no handler has a corpus; this writes one from a running node: \
             galo record --handler NAME >handlers/NAME/{}",
            crate::record::CORPUS_NAME
        );
        Ok(found)
    }

    async fn unit_tests(&self, programs: Vec<(String, PathBuf)>) -> anyhow::Result<Vec<Case>> {
        let mut cases = Vec::new();
        for (name, program) in programs {
            log::print(format_args!("\n     Running tests of {name} on wasm32-wasip2"));
            let (galo, selection, cancel) = (self.galo.clone(), self.options.selection.clone(), self.cancel.clone());
            let run = move || units::run(&Command::load(&program, &galo)?, &name, &selection, &cancel);
            cases.extend(spawn_blocking(run).await??);
        }
        Ok(cases)
    }

    /// A run of nothing is a mistake, and not a success.
    fn check_some(&self, report: &Report) -> anyhow::Result<()> {
        let Options { handler, selection, .. } = &self.options;
        match (selection.filters(), handler) {
            _ if !report.cases.is_empty() => Ok(()),
            ([], Some(name)) => bail!(
                "nothing to test: `{name}` has neither unit tests nor examples; add `#[test]` functions to its crate, or \
                 files to handlers/{name}/examples"
            ),
            ([], None) => bail!("nothing to test: there are neither unit tests nor examples"),
            (filters, _) => bail!("no test and no example has `{}` in its name", filters.join("` or `")),
        }
    }
}

fn rejected(entry: &Entry, refusal: String) -> Case {
    log::print(format_args!("\n     The component of {} is rejected: {refusal}", entry.name));
    let (name, took) = ("component".to_owned(), Duration::ZERO);
    Case { kind: Kind::Example, of: entry.name.clone(), name, verdict: Verdict::Failed(refusal), took }
}
