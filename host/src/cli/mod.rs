//! The command line. It parses, checks the settings (all mistakes at once), starts log and runtime, and hands over.
//! The environment is read here and nowhere else.

mod access;
mod check;
mod compile;
mod database;
mod doors;
mod new;
mod node;
mod proxy;
mod put;
mod runtime;
mod serve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use galo::config::{AccessLog, Mistakes, OWN_PROGRAM};
use galo::develop::build::{self, Cancel, Checkout, Profile};
use galo::develop::postgres::{self, GuardOptions};
use galo::develop::{dev, test_runner};
use galo::drain::Outcome;
use galo::guest::Engine;
use galo::log;
use galo::operator::{self, Access, Listing};
use galo::serve::Signals;

use self::access::AccessArgs;
use self::node::NodeArgs;
use self::runtime::run_on;

/// A host that runs WASM component handlers in front of Postgres.
///
/// Try `galo dev` in a checkout: it builds the handlers, starts a private Postgres and serves on 127.0.0.1:9999.
#[derive(Parser)]
#[command(name = "galo", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Which log lines are written: `info`, `debug`, `galo=debug,warn`, ...
    #[arg(long, env = "GALO_LOG", default_value = "info,tokio_postgres=warn", global = true)]
    log: String,
    /// How log lines look: `text` or `json`
    #[arg(long, env = "GALO_LOG_FORMAT", default_value = "text", global = true)]
    log_format: String,
}

#[derive(Subcommand)]
enum Command {
    /// Build the handlers of this checkout and serve them on a private Postgres
    ///
    /// Everything is set up: the handlers are compiled, a private Postgres is started (or downloaded first), `sql/` is
    /// applied. Ctrl-C ends everything. The data stays in `.galo/` until `--fresh`. With DATABASE_URL set, that
    /// database is used instead, by a role that may own and grant what `sql/` creates.
    Dev(DevArgs),
    /// Serve the handlers of a folder
    Serve(serve::ServeArgs),
    /// Verify the handlers of a folder, their manifest and the database, without serving
    Check(check::CheckArgs),
    /// List the handlers of a running node: what serves, what was refused, what was taken back
    Handlers {
        /// Print the node's JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Have the previous generation of a running node's handler serve again
    Rollback {
        /// The handler, by its name in the manifest
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Build the handlers of this checkout into a folder that `serve` takes
    Build {
        /// Where to put the components and the manifest
        #[arg(long, value_name = "DIR", default_value = "dist")]
        out: PathBuf,
    },
    /// Make a handler in this checkout: its crate, a test, examples, and its place in the manifest
    New(new::NewArgs),
    /// Run the unit tests of the handlers, compiled to wasm32-wasip2, in the sandbox
    Test {
        /// The handler to test; all of them and the kit when it is missing. A file that ends in .wasm is a test
        /// program, run with the arguments that follow: so `galo test` serves as Cargo's runner.
        #[arg(value_name = "HANDLER")]
        what: Option<String>,
        /// Arguments of the test program, as libtest takes them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Compile the handlers of a folder into the cache, so that a node finds them compiled
    ///
    /// A node compiles what it does not find there, each component in a process of its own. Compiled components fit
    /// this version of galo on this kind of CPU; any other compiles them again.
    Compile(compile::CompileArgs),
    /// Put the handlers of a folder into the one that nodes watch, so that they swap
    ///
    /// They are compiled into the nodes' cache and verified with the database first. What was put there last is not put
    /// again: a component that came by another way stays until FROM changes.
    Put(put::PutArgs),
    /// Write the configuration of a proxy: which requests it may send to another node after a first one failed
    Proxy(proxy::ProxyArgs),
    /// Compile the component on stdin to stdout
    #[command(hide = true)]
    Compiler(compile::CompilerArgs),
    /// Run a private Postgres until stdin is closed
    #[command(hide = true)]
    Postgres {
        /// The folder of the cluster; made when it is not there
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Delete the data first
        #[arg(long)]
        fresh: bool,
        /// Flush nothing to disk, and delete the data at the end
        #[arg(long)]
        throwaway: bool,
        /// A setting of Postgres; wins over those a private cluster has
        #[arg(long = "set", value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
}

#[derive(Args)]
struct DevArgs {
    /// Throw the data of earlier runs away
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    node: NodeArgs,
}

/// Variables of the environment that are ours.
const PREFIX: &str = "GALO_";

/// Runs what the command line asks for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut mistakes = unknown_variables();
    let format = mistakes.parse("--log-format", &cli.log_format);
    let filter = mistakes.parse("--log", &cli.log);
    // Every command notes its own mistakes first, so that all are told at once.
    let begin = |mistakes: Mistakes| {
        mistakes.into_result()?;
        if let (Some(format), Some(filter)) = (format, filter) {
            log::start(format, filter);
        }
        Ok::<_, Mistakes>(())
    };
    match cli.command {
        Command::Dev(arguments) => {
            let database = arguments.node.database.given(&mut mistakes);
            if arguments.fresh && arguments.node.database.is_given() {
                mistakes.note("--fresh", "the database of DATABASE_URL is not thrown away; empty it yourself");
            }
            let checkout = Checkout::find(Path::new(".")).map_err(|error| mistakes.note("dev", error)).ok();
            let folder = checkout.as_ref().map(|checkout| checkout.scratch().join("handlers")).unwrap_or_default();
            let node = arguments.node.parse(folder, AccessLog::All, &mut mistakes);
            begin(mistakes)?;
            let (checkout, (settings, workers)) =
                checkout.zip(node).context("settings without a mistake are complete")?;
            let options = dev::Options { checkout, fresh: arguments.fresh, database, settings };
            let galo = std::env::current_exe().context("cannot find the galo program itself")?;
            run_on(workers, dev::dev(options, &galo))
        }
        Command::Serve(arguments) => {
            let target = arguments.node.database.required(&mut mistakes);
            let node = arguments.parse(&mut mistakes);
            begin(mistakes)?;
            let (target, (settings, workers)) = target.zip(node).context("settings without a mistake are complete")?;
            run_on(workers, async {
                galo::serve::serve(&settings, &target, &Engine::start()?, &mut Signals::of_a_node()?, |_| {}).await
            })
        }
        Command::Check(arguments) => {
            let target = arguments.database.required(&mut mistakes);
            begin(mistakes)?;
            let target = target.context("settings without a mistake are complete")?;
            run_on(None, async { arguments.run(&target).await.map(|()| Outcome::Graceful) })
        }
        Command::Handlers { json, access } => {
            let access = access.parse(&mut mistakes);
            begin(mistakes)?;
            let listing = if json { Listing::Json } else { Listing::Table };
            tell(access, async |access| operator::handlers(&access, listing).await)
        }
        Command::Rollback { name, access } => {
            let access = access.parse(&mut mistakes);
            begin(mistakes)?;
            tell(access, async |access| operator::rollback(&access, &name).await)
        }
        Command::Build { out } => {
            begin(mistakes)?;
            let checkout = Checkout::find(Path::new("."))?;
            build::handlers(&checkout, Profile::Release, &Cancel::default())?.put(&out)?;
            log::print(format_args!("{}", out.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::New(arguments) => begin(mistakes).map_err(anyhow::Error::from).and_then(|()| arguments.run()),
        Command::Test { what, arguments } => {
            begin(mistakes)?;
            let galo = Path::new(OWN_PROGRAM);
            let passed = match what.as_deref() {
                Some(file) if file.ends_with(".wasm") => test_runner::run_program(Path::new(file), &arguments, galo)?,
                handler => test_runner::run_handlers(&Checkout::find(Path::new("."))?, handler, galo)?,
            };
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Compile(arguments) => {
            let compile = arguments.parse(&mut mistakes);
            begin(mistakes)?;
            let compile = compile.context("settings without a mistake are complete")?;
            run_on(Some(1), compile.run())
        }
        Command::Put(arguments) => {
            let put = arguments.parse(&mut mistakes);
            begin(mistakes)?;
            run_on(None, put.context("settings without a mistake are complete")?.run())
        }
        Command::Proxy(arguments) => begin(mistakes).map_err(anyhow::Error::from).and_then(|()| arguments.run()),
        Command::Compiler(arguments) => {
            mistakes.into_result()?;
            arguments.run()
        }
        Command::Postgres { data, fresh, throwaway, settings } => {
            begin(mistakes)?;
            postgres::guard(GuardOptions { data, fresh, throwaway, settings })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Asks a node, and prints what it said.
fn tell(access: Option<Access>, ask: impl AsyncFnOnce(Access) -> anyhow::Result<String>) -> anyhow::Result<ExitCode> {
    let access = access.context("settings without a mistake are complete")?;
    run_on(Some(1), async {
        let text = ask(access).await?;
        log::print(format_args!("{}", text.trim_end()));
        Ok(Outcome::Graceful)
    })
}

/// A variable that is ours by its name and that nothing reads is a typing error.
fn unknown_variables() -> Mistakes {
    let mut mistakes = Mistakes::default();
    let command = Cli::command();
    let all = command.get_subcommands().chain(std::iter::once(&command)).flat_map(clap::Command::get_arguments);
    let known: Vec<_> =
        all.filter_map(|argument| argument.get_env()).chain([access::TOKEN_VARIABLE.as_ref()]).collect();
    for (name, value) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX)) {
        if !known.contains(&name.as_os_str()) && !is_service_link(&name.to_string_lossy(), &value.to_string_lossy()) {
            let mut names: Vec<_> = known.iter().map(|name| name.to_string_lossy()).collect();
            names.sort();
            names.dedup();
            mistakes.note(&name.to_string_lossy(), format!("no such variable; there are {}", names.join(", ")));
        }
    }
    mistakes
}

/// Whether Kubernetes sets it, for a service whose name begins with `galo`: `GALO_SERVICE_HOST`, `GALO_SERVICE_PORT`,
/// `GALO_PORT=tcp://10.0.0.1:80`, `GALO_PORT_80_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let of_port = || name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && value.contains("://")
        || of_port()
}
