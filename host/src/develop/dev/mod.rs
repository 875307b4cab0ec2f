//! `galo dev`: builds the handlers, starts a private Postgres, applies `sql/`, and serves until a signal. Changed
//! sources are built again and swapped in.
//!
//! A mistake in the sources ends nothing: what can be built serves, and the rest is tried again with every change.
//!
//! The build and the start of Postgres run side by side. Nothing is left running: the build is killed by its process
//! group, Postgres is stopped by its guard.

mod database;
mod follow;
mod publish;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use http::Method;

use self::database::Database;
pub use self::database::{Place, branches, drop_branch};
use self::follow::Follower;
use crate::config::{Address, Settings};
use crate::database::{Target, apply, enter};
use crate::develop::build::{self, Cancel, Project};
use crate::develop::postgres::Cluster;
use crate::drain::Outcome;
use crate::guest::Engine;
use crate::log;
use crate::manifest::Refused;
use crate::serve::{self, Signals};

/// The options of `galo dev`.
pub struct Options {
    /// Where the sources are.
    pub project: Project,
    /// Whether data from earlier runs is discarded; with a branch, that of the branch.
    pub fresh: bool,
    /// The database to use instead of a private one.
    pub database: Option<Target>,
    /// The copy of the database to serve on, made now unless there is one.
    pub branch: Option<String>,
    /// How the node serves.
    pub settings: Settings,
}

/// Runs everything until a signal. `galo` is the path of this program, which also guards Postgres.
///
/// # Errors
/// When the database or the node cannot start. A mistake in the sources is logged, and waits to be corrected.
pub async fn dev(options: Options, galo: &Path) -> anyhow::Result<Outcome> {
    let mut signals = Signals::new()?;
    let cancel = Cancel::default();
    let served = serve(&options, galo, &cancel, &mut signals).await;
    // Nothing that a build has started is left behind.
    cancel.cancel();
    tokio::task::spawn_blocking(move || cancel.wait()).await?;
    let Some((outcome, cluster)) = served? else { return Ok(Outcome::Graceful) };
    // After the drain: calls in flight need their database.
    if let Some(cluster) = cluster {
        tokio::task::spawn_blocking(move || drop(cluster)).await?;
    }
    outcome
}

/// How the serving ended, and the database that is not needed any more.
type Served = (anyhow::Result<Outcome>, Option<Cluster>);

/// Starts the database, and serves as soon as there is something to serve. `None` when a signal came before.
async fn serve(
    options: &Options,
    galo: &Path,
    cancel: &Cancel,
    signals: &mut Signals,
) -> anyhow::Result<Option<Served>> {
    // Followed from here on, so that a change during the first build is built too.
    let folder = options.settings.handlers.clone();
    let mut follower = Follower::new(options.project.clone(), folder, cancel.clone()).await;
    let started = async {
        let section = follower.section().await;
        // A compiler that cannot compile handlers is not a mistake in the sources, so nothing waits for them to change.
        let project = options.project.clone();
        tokio::task::spawn_blocking(move || build::check_toolchain(&project)).await??;
        tokio::join!(follower.first_build(), database::open(options, &section, galo)).1
    };
    // The guard of a Postgres that is still starting ends with us.
    let Some(database) = unless_stopped(started, signals).await else { return Ok(None) };
    let database = database?;
    let engine = Engine::start()?;
    loop {
        if unless_stopped(follower.until_servable(&database), signals).await.is_none() {
            return Ok(None);
        }
        let (mut waiting, mut following) = (Some(follower), None);
        let outcome = serve::serve(&options.settings, &database.service, &engine, signals, |running| {
            banner(running);
            let (orders, owner) = (Arc::clone(&running.orders), database.owner.clone());
            let run = waiting.take().map(|follower| follower.run(owner, orders));
            following = run.map(|run| running.supervisor.vital("follower", run));
        })
        .await;
        if let Some(following) = following {
            following.abort();
            // Only now: it may have been about to start a build.
            let _ = following.await;
        }
        match (waiting, outcome.map_err(anyhow::Error::downcast::<Refused>)) {
            (Some(back), Err(Ok(refused))) => {
                follower = back;
                follower.published.leave_out(&refused).await;
            }
            (_, outcome) => {
                let outcome = outcome.map_err(|error| error.map_or_else(|error| error, anyhow::Error::from));
                return Ok(Some((outcome, database.cluster)));
            }
        }
    }
}

/// Waits for something; `None` when a signal comes first.
async fn unless_stopped<T>(future: impl Future<Output = T>, signals: &mut Signals) -> Option<T> {
    tokio::select! {
        done = future => Some(done),
        name = signals.next() => {
            tracing::info!(signal = name, "stopped while starting");
            None
        }
    }
}

impl Database {
    /// Applies `sql/`, and checks that the service can log in.
    async fn apply(&self, sql: &Path) -> anyhow::Result<()> {
        apply(&self.owner, sql).await?;
        enter(&self.service).await.with_context(|| {
            format!(
                "`galo dev` serves as the role `{role}`, with the password of DATABASE_URL if it has one; create the role \
                 in sql/ if it does not exist, and give it that password (ALTER ROLE {role} PASSWORD ...) or allow it in \
                 pg_hba.conf",
                role = self.role
            )
        })?;
        Ok(())
    }
}

/// Prints the addresses, the routes, and a command to try.
fn banner(running: &serve::Running) {
    log::print(format_args!("\n  Page {}", page(&running.admin)));
    log::print(format_args!("\n  Galo serves on http://{}, admin on http://{}\n", running.listen, running.admin));
    let table = running.node.registry.table();
    for handler in &table.handlers {
        for (route, name) in
            handler.routes.iter().zip(std::iter::once(&*handler.entry.name).chain(std::iter::repeat("")))
        {
            log::print(format_args!("    {name:<20} {route}"));
        }
    }
    // A GET needs no body: the line works as it stands.
    let get = table
        .handlers
        .iter()
        .find_map(|handler| handler.entry.routes.iter().find_map(|route| route.example(&Method::GET)));
    if let Some(path) = get {
        log::print(format_args!("\n  Try\n    curl -i http://{}{path}\n", running.listen));
    }
    log::print(format_args!(
        "  Changes in galo.toml, handlers/ and sql/ go live when saved. Ctrl-C stops everything; the data is kept.\n"
    ));
}

/// The address of the page as a browser takes it. A unix socket has none, but a tunnel to it has.
fn page(admin: &Address) -> String {
    match admin {
        Address::Tcp(address) => format!("http://{address}/"),
        Address::Unix(path) => format!("http://localhost:9998/ through ssh -L 9998:{} HOST", path.display()),
    }
}
