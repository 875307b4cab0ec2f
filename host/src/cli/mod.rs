//! The command line. It parses the arguments, checks all settings and reports every mistake at once, starts the log,
//! and runs the command. The environment is read here and nowhere else.

mod access;
mod build;
mod check;
mod clients;
mod compile;
mod componentize;
mod contenders;
mod database;
mod deploy;
mod dev;
mod environment;
mod explain;
mod folder;
mod init;
mod memory;
mod migrate;
mod new;
mod node;
mod operator;
mod postgres;
mod project;
mod proofs;
mod proxy;
mod psql;
mod put;
mod record;
mod replay;
mod runtime;
mod serve;
mod shadow;
mod shards;
mod sign;
mod size;
mod tap;
mod test;
mod upgrade;
mod variables;
mod who;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use galo::config::Mistakes;
use galo::log;

use self::runtime::Task;

/// Serve WASM component handlers in front of Postgres.
///
/// In a project, `galo dev` builds the handlers, starts a private Postgres and serves on 127.0.0.1:9999.
///
/// Every option with an environment variable can be set by it; an argument takes precedence.
#[derive(Parser)]
#[command(name = "galo", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Which log lines to write: a level, or levels by module
    ///
    /// Examples: `info`, `debug`, `galo=debug,warn`.
    #[arg(long, env = "GALO_LOG", value_name = "FILTER", default_value = "info,tokio_postgres=warn", global = true)]
    log: String,
    /// Format of log lines: `text` or `json`
    #[arg(long, env = "GALO_LOG_FORMAT", value_name = "FORMAT", default_value = "text", global = true)]
    log_format: String,
}

#[derive(Subcommand)]
enum Command {
    /// Create a project
    ///
    /// Writes a folder with a handler, its tests, its SQL and a stack, all of it from this program. Nothing is
    /// downloaded.
    Init(init::InitArgs),
    /// Move a project to the version of this program
    ///
    /// Replaces what `galo init` wrote and nobody has changed since, and prints what changed. A file that was changed
    /// is kept.
    Upgrade(upgrade::UpgradeArgs),
    /// Build this project's handlers and serve them on a private Postgres
    ///
    /// Compiles the handlers, starts a private Postgres (an installed one, or one that is downloaded first), applies
    /// what is pending in `sql/`, and serves. Changes in `galo.toml`, `handlers/` and `sql/` go live when saved. Ctrl-C
    /// stops everything. The data is kept in `.galo/` until `--fresh`.
    ///
    /// If DATABASE_URL is set, that database is used instead. Its role must be able to create and grant what `sql/`
    /// describes. Calls run as the role that `galo.toml` names, which `sql/` creates.
    Dev(dev::DevArgs),
    /// Serve the handlers of a folder
    Serve(serve::ServeArgs),
    /// Verify handlers, manifest and database without serving
    ///
    /// Loads a folder as a starting node does: components are compiled and their examples run, and the procedures
    /// that the manifest grants are looked up in the database. Prints each handler with its route and procedures.
    Check(check::CheckArgs),
    /// List the handlers of a running node
    ///
    /// Shows which generation of each handler serves, what was refused, and what was rolled back.
    Handlers(operator::HandlersArgs),
    /// Deploy a component to running nodes, step by step
    ///
    /// The new generation first answers a small share of the requests, beside the old one. It is taken back, on all
    /// nodes, when it faults, answers otherwise or takes longer. Ctrl-C ends the command; each node then holds its
    /// step.
    Deploy(deploy::DeployArgs),
    /// Roll a handler back to its previous generation, or to one that was kept
    ///
    /// Acts on a running node, which serves the component before this one again, with the config that it had. A
    /// component that was replaced during its probation is passed over. A canary is ended first. What was rolled back
    /// is not tried again until its component or its `config` in galo.toml changes.
    Rollback(operator::RollbackArgs),
    /// Show who changed the handlers of a running node, when and why
    Audit(operator::AuditArgs),
    /// Sign handlers and their manifest, for nodes that serve only what is signed
    ///
    /// Writes X.wasm.minisig beside each component and galo.toml.minisig beside the manifest, in the format of
    /// minisign. A component's signature is over its handler's name, its digest and what the manifest grants it.
    Sign(sign::SignArgs),
    /// Accept what a candidate decides otherwise
    ///
    /// For a handler with `gate = "refuse"` in the manifest: a component that decides otherwise on recorded requests is
    /// refused until the change is accepted. The node remembers it, and tries the component again at once.
    Accept(operator::AcceptArgs),
    /// Run a component beside the live requests of a handler, and show what it decides otherwise
    ///
    /// A sample of the requests to a running node is run on the component too, after they were answered. It never
    /// serves, and nothing that it plans is carried out. Ends by itself, or at Ctrl-C. The exit status is 1 if a
    /// request was decided otherwise.
    Shadow(shadow::ShadowArgs),
    /// Build this project's handlers into a folder for `galo serve`
    Build(build::BuildArgs),
    /// Create a handler in this project
    ///
    /// Writes its source, its build and its examples to `handlers/NAME/`, and adds the handler to `galo.toml`. In Rust
    /// it is a crate with tests.
    New(new::NewArgs),
    /// Write the contract and the bindings of a language into a folder
    ///
    /// For the build of a handler in C, JavaScript or Python: `handler.wit`, and the bindings and helpers that its
    /// source includes. They always fit this version of galo.
    Bindings(componentize::BindingsArgs),
    /// Make a component of a core module, as clang links it
    ///
    /// The module exports the functions of the contract, as `handler.c` of `galo bindings c` does. The component
    /// imports nothing: functions of the system fail.
    Componentize(componentize::ComponentizeArgs),
    /// Apply the migrations and procedures of a folder to a database
    ///
    /// Prints the version that the database has and what is pending. Each file of migrations/ is applied once, in the
    /// order of the versions, in a transaction of its own; the files of procedures/ are applied again whenever one of
    /// them has changed. One migration at a time runs on a database, others wait. The role must own the database.
    Migrate(migrate::MigrateArgs),
    /// Open psql on the database of `galo dev`, or on the one in DATABASE_URL
    Psql(psql::PsqlArgs),
    /// Run the handlers' unit tests and examples
    ///
    /// Unit tests are compiled to wasm32-wasip2 and run as the handlers do, each on an instance of its own. Examples
    /// run on the components. An end-to-end example, one without `rows`, gets them from the procedure on a scratch
    /// database of its own, to which `sql/` is applied: on a private Postgres, or on that of `--database`.
    Test(test::TestArgs),
    /// Follow the requests of running nodes
    ///
    /// Prints a line for each request that a node records, as it is answered: with `galo dev` every one. Ends with
    /// Ctrl-C. A node that is restarted is followed further.
    Tap(tap::TapArgs),
    /// Print what became of a request
    ///
    /// Joins its record, the generation that decided, its trace, the log lines of its handler, and the rows that the
    /// procedure finds which the manifest names for it (`explain`).
    Explain(explain::ExplainArgs),
    /// Write the last recorded requests of nodes to stdout, as JSON lines
    ///
    /// `galo replay` runs them again.
    Record(record::RecordArgs),
    /// Run recorded requests again and print what is decided otherwise
    ///
    /// Runs the records of a corpus (`galo record`) on the project's handlers, on those of a folder or on one
    /// component, without a database and without a network, and compares calls and responses with the stored ones, or
    /// with those of another component. Exits with 1 if one differs, if more instructions are executed than the budget
    /// allows, or if nothing was compared.
    Replay(replay::ReplayArgs),
    /// Compile the handlers of a folder into the cache
    ///
    /// A node that starts with this cache finds its components compiled. Compiled components are valid for this version
    /// of galo and this kind of CPU; any other compiles them again. No database is needed.
    Compile(compile::CompileArgs),
    /// Put the handlers of a folder into the one that nodes watch, so that they swap
    ///
    /// They are compiled into the nodes' cache and verified with the database first. What was put there last is not put
    /// again: a component that came by another way stays until FROM changes.
    Put(put::PutArgs),
    /// Print the configuration of a proxy in front of the nodes
    ///
    /// The configuration decides, for each route of the manifest, which requests the proxy may send to another node
    /// after a first one failed.
    Proxy(proxy::ProxyArgs),
    /// Prepare several Postgres servers to be used as one
    ///
    /// Each has a part of the data, and nodes connect to a router: a Postgres without data, whose procedures are stubs
    /// of PL/Proxy.
    Shards(shards::ShardsArgs),
    /// Compile the component on stdin to stdout
    #[command(hide = true)]
    Compiler(compile::CompilerArgs),
    /// Run a private Postgres until stdin is closed
    #[command(hide = true)]
    Postgres(postgres::PostgresArgs),
}

/// Runs the command, once every setting is valid.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut mistakes = Mistakes::default();
    environment::check(&Cli::command(), &mut mistakes);
    let format = mistakes.parse("--log-format", &cli.log_format);
    let filter = mistakes.parse("--log", &cli.log);
    // A compiler's process may have no second thread.
    let has_log = !matches!(cli.command, Command::Compiler(_));
    // Before the settings of the command are parsed, which may log a warning.
    if let Some((format, filter)) = format.zip(filter).filter(|_| has_log) {
        log::start(format, filter);
    }
    let task = cli.command.task(&mut mistakes);
    mistakes.into_result()?;
    task.context("settings without a mistake are complete")?()
}

impl Command {
    /// Parses the settings of the command; mistakes are noted, and `None` is returned only then.
    fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        match self {
            Self::Dev(arguments) => arguments.task(mistakes),
            Self::Serve(arguments) => arguments.task(mistakes),
            Self::Check(arguments) => arguments.task(mistakes),
            Self::Handlers(arguments) => arguments.task(mistakes),
            Self::Rollback(arguments) => arguments.task(mistakes),
            Self::Deploy(arguments) => arguments.task(mistakes),
            Self::Audit(arguments) => arguments.task(mistakes),
            Self::Accept(arguments) => arguments.task(mistakes),
            Self::Shadow(arguments) => arguments.task(mistakes),
            Self::Tap(arguments) => arguments.task(mistakes),
            Self::Explain(arguments) => arguments.task(mistakes),
            Self::Record(arguments) => arguments.task(mistakes),
            Self::Replay(arguments) => arguments.task(mistakes),
            Self::Compile(arguments) => arguments.task(mistakes),
            Self::Put(arguments) => arguments.task(mistakes),
            Self::Test(arguments) => arguments.task(mistakes),
            Self::Init(arguments) => Some(Box::new(|| arguments.run())),
            Self::Upgrade(arguments) => Some(Box::new(|| arguments.run())),
            Self::Migrate(arguments) => arguments.task(mistakes),
            Self::Psql(arguments) => arguments.task(mistakes),
            Self::Shards(arguments) => arguments.task(mistakes),
            Self::Sign(arguments) => Some(Box::new(|| arguments.run())),
            Self::Build(arguments) => Some(Box::new(|| arguments.run())),
            Self::New(arguments) => Some(Box::new(|| arguments.run())),
            Self::Bindings(arguments) => Some(Box::new(|| arguments.run())),
            Self::Componentize(arguments) => Some(Box::new(|| arguments.run())),
            Self::Proxy(arguments) => Some(Box::new(|| arguments.run())),
            Self::Compiler(arguments) => Some(Box::new(|| arguments.run())),
            Self::Postgres(arguments) => Some(Box::new(|| arguments.run())),
        }
    }
}
