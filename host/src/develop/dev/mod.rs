//! `galo dev`: builds the handlers, starts a private Postgres, applies `sql/`, and serves until a signal. Changed
//! sources are built again and swapped in.
//!
//! The build and the start of Postgres run side by side. Nothing is left running: the build is killed by its process
//! group, Postgres is stopped by its guard.

mod database;
mod follow;

use std::path::Path;

use anyhow::Context as _;
use http::Method;

use self::database::Database;
pub use self::database::{Place, branches, drop_branch};
use self::follow::Follower;
use crate::config::Settings;
use crate::database::{Target, apply, enter};
use crate::develop::build::{self, Cancel, Checkout, Profile};
use crate::drain::Outcome;
use crate::guest::Engine;
use crate::log;
use crate::serve::{self, Signals};

/// The options of `galo dev`.
pub struct Options {
    /// Where the sources are.
    pub checkout: Checkout,
    /// Whether data from earlier runs is discarded; with a branch, that of the branch.
    pub fresh: bool,
    /// The database to use instead of a private one.
    pub database: Option<Target>,
    /// The copy of the database to serve on, made now unless there is one.
    pub branch: Option<String>,
    /// How the node serves.
    pub settings: Settings,
}

/// The role that handlers' calls run as. `sql/` creates it and grants it EXECUTE on the procedures, and nothing else.
pub const SERVICE_ROLE: &str = "galo";

/// The database in the private cluster.
pub const DATABASE: &str = "galo";

/// Runs everything until a signal. `galo` is the path of this program, which also guards Postgres.
///
/// # Errors
/// When the build, the database or the node fails to start.
pub async fn dev(options: Options, galo: &Path) -> anyhow::Result<Outcome> {
    let mut signals = Signals::new()?;
    let cancel = Cancel::default();
    // Watched from here on, so that a change during the first build is built too.
    let follower = Follower::new(options.checkout.clone(), options.settings.handlers.clone(), cancel.clone()).await;
    let database = tokio::select! {
        database = prepare(&options, galo, &cancel) => database?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped while starting");
            // The guard of a Postgres that is still starting ends with us.
            cancel.cancel();
            return Ok(Outcome::Graceful);
        }
    };
    let Database { owner, service, cluster } = database;
    let engine = Engine::start()?;
    let mut following = None;
    let outcome = serve::serve(&options.settings, &service, &engine, &mut signals, |running| {
        banner(running);
        let orders = std::sync::Arc::clone(&running.orders);
        following = Some(running.supervisor.vital("follower", follower.run(owner, orders)));
    })
    .await;
    if let Some(following) = following {
        following.abort();
        // Only now: it may have been about to start a build.
        let _ = following.await;
        cancel.cancel();
    }
    // After the drain: calls in flight need their database.
    if let Some(cluster) = cluster {
        tokio::task::spawn_blocking(move || drop(cluster)).await?;
    }
    outcome
}

/// Builds the handlers, starts the database and applies `sql/`.
async fn prepare(options: &Options, galo: &Path, cancel: &Cancel) -> anyhow::Result<Database> {
    // Before anything slow: Postgres may have to be downloaded.
    let checkout = options.checkout.clone();
    tokio::task::spawn_blocking(move || build::prepare(&checkout)).await??;
    let build = tokio::task::spawn_blocking({
        let (checkout, cancel) = (options.checkout.clone(), cancel.clone());
        let folder = options.settings.handlers.clone();
        move || build::handlers(&checkout, Profile::Development, &cancel)?.put(&folder)
    });
    let database = database::open(options, galo);
    let (built, database) = tokio::join!(build, database);
    built??;
    let database = database?;
    apply(&database.owner, &options.checkout.sql()).await?;
    enter(&database.service).await.with_context(|| {
        format!(
            "`galo dev` serves as the role `{SERVICE_ROLE}`, with the password of DATABASE_URL if it has one; create \
             the role in sql/ if it does not exist, and give it that password (ALTER ROLE {SERVICE_ROLE} PASSWORD ...) \
             or allow it in pg_hba.conf"
        )
    })?;
    Ok(database)
}

/// Prints the addresses, the routes, and a command to try.
fn banner(running: &serve::Running) {
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
