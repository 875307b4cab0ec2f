//! `galo check [DIR]`: verifies the handlers of a folder or of the project, their manifest and the database, as a
//! starting node does.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use galo::config::{Address, Missing, Mistakes, Settings, Sources};
use galo::database::Target;
use galo::develop::build::{self, Cancel, Profile, Project};
use galo::drain::Outcome;
use galo::guest::Engine;
use galo::manifest::{Entry, IDEMPOTENCY_KEY, Retry};
use galo::metrics::Metrics;
use galo::registry::Handler;
use galo::serve::Signals;
use galo::{example, log, serve};

use super::build::unless_stopped;
use super::database::DatabaseArgs;
use super::project::ProjectArgs;
use super::runtime::{Task, decline_huge_pages, run_on};
use super::size::Size;
use super::{folder, memory, proofs, variables};

#[derive(Args)]
pub(super) struct CheckArgs {
    /// Folder with galo.toml and the components; without it, the project is built for release and checked
    #[arg(env = "GALO_HANDLERS", value_name = "DIR")]
    pub(super) handlers: Option<PathBuf>,
    /// Memory that a node would have, such as 80M; handlers that need more are refused
    ///
    /// The need is estimated from what this process holds after it has loaded them as a node does, with as many workers
    /// as this machine has cores.
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// Refuse what is not signed by one of the public keys in this file, as `galo serve --trust` does
    #[arg(long, env = "GALO_TRUST", value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Run the SQL files of this folder instead, each of which returns a row for each violation
    ///
    /// With --shard they run on every shard, and those in DIR/across compare the shards with one another.
    #[arg(long, value_name = "DIR", conflicts_with = "memory")]
    pub(super) sql: Option<PathBuf>,
    /// A shard to prove, in the order of the partitions: a Postgres URL, or libpq's key=value pairs; repeat it for each
    #[arg(long = "shard", value_name = "URL", requires = "sql")]
    pub(super) shards: Vec<String>,
    #[command(flatten)]
    pub(super) project: ProjectArgs,
    #[command(flatten)]
    pub(super) database: DatabaseArgs,
}

/// How handlers are checked.
pub(super) struct Check {
    /// What follows where a secret is missing.
    pub(super) missing: Missing,
    /// The file with the keys of which one must have signed them, if there are any.
    pub(super) trust: Option<PathBuf>,
    /// The memory that a node would have.
    pub(super) memory: Option<Size>,
}

/// What is checked.
enum Checked {
    /// A folder of components.
    Folder(PathBuf),
    /// A project, which is built first.
    Project(Project),
}

impl CheckArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        if let Some(folder) = self.sql {
            return proofs::task(folder, &self.shards, &self.database, mistakes);
        }
        // What a node needs is known once it has loaded the handlers.
        let memory = Size::of_memory(self.memory.as_deref(), None, mistakes);
        let target = self.database.required(mistakes);
        let place = match self.handlers {
            Some(folder) => Some(Checked::Folder(folder)),
            None => self.project.find().map(Checked::Project).map_err(|error| mistakes.note("check", error)).ok(),
        };
        let ((memory, target), place) = memory.zip(target).zip(place)?;
        let how = Check { missing: Missing::Refused, trust: self.trust, memory };
        Some(Box::new(move || {
            // It estimates the memory of a node.
            decline_huge_pages();
            run_on(None, Self::check(place, target, how))
        }))
    }

    /// Checks until a signal.
    async fn check(place: Checked, target: Target, how: Check) -> anyhow::Result<Outcome> {
        let mut signals = Signals::new()?;
        let folder = match place {
            Checked::Folder(folder) => folder,
            Checked::Project(project) => unless_stopped(&mut signals, move |cancel| built(&project, cancel)).await?,
        };
        folder::check_built(&folder)?;
        tokio::select! {
            checked = Self::run(folder, &target, how) => checked.map(|()| Outcome::Graceful),
            name = signals.next() => bail!("stopped by {name}"),
        }
    }

    /// Loads everything a node would serve with, and prints it.
    pub(super) async fn run(handlers: PathBuf, target: &Target, how: Check) -> anyhow::Result<()> {
        let Check { missing, trust, memory } = how;
        let nowhere = Address::Unix(PathBuf::new());
        // Without a cache: a check proves that the components compile, not that they once did.
        let sources = Sources { variables: variables::snapshot(), missing };
        let settings = Settings { is_check: true, sources, trust, ..Settings::new(handlers, nowhere.clone(), nowhere) };
        let serve::Loaded { table, database, .. } =
            serve::load(&settings, target, &Engine::start()?, &Metrics::new()).await?;
        for handler in &table.handlers {
            let procedures: Vec<_> = handler.procedures.iter().map(|procedure| procedure.to_string()).collect();
            let (name, first) = (&handler.entry.name, handler.routes.first().map_or("", |route| &**route));
            log::print(format_args!("{name:<20} {first:<40} {}", procedures.join(", ")));
            for route in handler.routes.iter().skip(1) {
                log::print(format_args!("{:<20} {route}", ""));
            }
        }
        for warning in table.handlers.iter().filter_map(|handler| warning(handler)) {
            log::print(format_args!("warning: {warning}"));
        }
        log::print(format_args!("{}", examples(&table.handlers)?));
        log::print(format_args!("{} handlers verified", table.handlers.len()));
        if let Some(missing) = database.missing_timeouts() {
            log::print(format_args!(
                "warning: the connections go through a pooler, and the role has no timeouts. Run this as an \
                 administrator of the database, then make the pooler reconnect (RECONNECT in PgBouncer's console):\n    {}",
                missing.replace("; ", ";\n    ")
            ));
        }
        memory.map_or(Ok(()), |given| memory::check(&table, given))
    }
}

/// What was proved by examples. The rows of an end-to-end example are made on a scratch database, which a check has
/// not.
fn examples(handlers: &[Arc<Handler>]) -> anyhow::Result<String> {
    let (mut whole, mut end_to_end) = (0, 0);
    for handler in handlers {
        for example in example::read(&handler.entry)? {
            *if example.is_end_to_end() { &mut end_to_end } else { &mut whole } += 1;
        }
    }
    Ok(match end_to_end {
        0 => format!("{whole} examples passed"),
        _ => format!(
            "{whole} examples passed; of {end_to_end} end-to-end ones only the plan was checked (`galo test` runs them)"
        ),
    })
}

/// The folder of a project's components, which are built for this. Their manifest is a copy: what it names beside
/// itself, such as a secret, is in the project.
fn built(project: &Project, cancel: &Cancel) -> anyhow::Result<PathBuf> {
    let folder = project.scratch().join("check");
    build::handlers(project, Profile::Release, cancel)?.put_copy(&folder, &BTreeSet::new())?;
    Ok(folder)
}

/// Why a request that is sent twice may be recorded twice.
fn warning(handler: &Handler) -> Option<String> {
    let Entry { name, routes, retry, headers, .. } = &handler.entry;
    let writer = &handler.procedures.iter().find(|procedure| procedure.writes())?.name;
    let method = routes.first()?.method();
    // Which of several routes call it is known to the handler only.
    let only_reads = routes.iter().all(|route| route.method().is_safe());
    let why = match retry {
        Retry::Key => return None,
        Retry::Never if only_reads => format!("browsers and proxies repeat a {method} request; use POST"),
        Retry::Never if headers.contains(&IDEMPOTENCY_KEY) => return None,
        Retry::Never => "a request that a client sends again is carried out again; grant the header \
                         idempotency-key, and record each key once"
            .to_owned(),
    };
    Some(format!(
        "{name} (line {}): `{writer}` may write, and {why}. If it only reads, declare it STABLE",
        handler.entry.line
    ))
}
