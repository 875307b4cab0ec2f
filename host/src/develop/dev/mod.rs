//! `galo dev`: builds the handlers, starts a private Postgres, applies `sql/`, and serves until a signal; what is
//! changed meanwhile is built again and goes live.
//!
//! The build and the start of Postgres go side by side. Whatever happens, nothing of it is left running: the build is
//! killed by its process group, Postgres by its guard.

mod follow;

use std::path::Path;

use anyhow::Context as _;
use http::Method;

use self::follow::Follower;
use crate::config::{Secret, Settings};
use crate::database::{self, Target};
use crate::develop::build::{self, Cancel, Checkout, Profile};
use crate::develop::postgres::{Cluster, Data, SUPERUSER};
use crate::drain::Outcome;
use crate::guest::Engine;
use crate::log;
use crate::serve::{self, Signals};

/// What `galo dev` was asked for.
pub struct Options {
    /// Where the sources are.
    pub checkout: Checkout,
    /// Whether the data of earlier runs is thrown away.
    pub fresh: bool,
    /// The database to use instead of a private one.
    pub database: Option<Target>,
    /// How the node serves.
    pub settings: Settings,
}

/// The role that `sql/3_grants.sql` lets execute the procedures, and nothing else.
pub const SERVICE_ROLE: &str = "galo";

/// The database that is made in the private cluster.
pub const DATABASE: &str = "galo";

/// The database as its owner sees it.
struct Owned {
    target: Target,
    /// The same for the role that serves.
    service: Target,
    /// The private cluster it is in.
    cluster: Option<Cluster>,
}

/// Runs everything until a signal. `galo` is the path of this program: it is its own guard of Postgres.
///
/// # Errors
/// Whatever keeps it from serving.
pub async fn dev(options: Options, galo: &Path) -> anyhow::Result<Outcome> {
    let mut signals = Signals::new()?;
    let cancel = Cancel::default();
    // Watched from the first moment: what is saved while the first build runs is built again.
    let follower = Follower::new(&options, &cancel).await;
    let database = tokio::select! {
        database = prepare(&options, galo, &cancel) => database?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped while starting");
            // The guard of a Postgres that is only starting sees our end, and ends it.
            cancel.cancel();
            return Ok(Outcome::Graceful);
        }
    };
    let Owned { target, service, cluster } = database;
    let engine = Engine::start()?;
    let mut following = None;
    let outcome = serve::serve(&options.settings, &service, &engine, &mut signals, |running| {
        banner(running);
        let orders = std::sync::Arc::clone(&running.orders);
        following = Some(running.supervisor.vital("follower", follower.run(target, orders)));
    })
    .await;
    if let Some(following) = following {
        following.abort();
        // Only then: it may have been about to begin a build.
        let _ = following.await;
        cancel.cancel();
    }
    // After the drain: the calls in flight had their database.
    if let Some(cluster) = cluster {
        tokio::task::spawn_blocking(move || drop(cluster)).await?;
    }
    outcome
}

/// Builds the handlers, starts the database and applies `sql/`.
async fn prepare(options: &Options, galo: &Path, cancel: &Cancel) -> anyhow::Result<Owned> {
    // Before anything that takes long: Postgres may have to be downloaded.
    let checkout = options.checkout.clone();
    tokio::task::spawn_blocking(move || build::prepare(&checkout)).await??;
    let build = tokio::task::spawn_blocking({
        let (checkout, cancel) = (options.checkout.clone(), cancel.clone());
        let folder = options.settings.handlers.clone();
        move || build::handlers(&checkout, Profile::Development, &cancel)?.put(&folder)
    });
    let database = database(options, galo);
    let (built, database) = tokio::join!(build, database);
    built??;
    let database = database?;
    database::apply(&database.target, &options.checkout.sql()).await?;
    database::enter(&database.service).await.with_context(|| {
        format!(
            "`galo dev` serves as the role {SERVICE_ROLE}, with the password of DATABASE_URL if it has one; \
             give the role that password (ALTER ROLE {SERVICE_ROLE} PASSWORD ...), or let it in by pg_hba.conf"
        )
    })?;
    Ok(database)
}

/// The database that was given, or a private one.
async fn database(options: &Options, galo: &Path) -> anyhow::Result<Owned> {
    if let Some(target) = &options.database {
        return Ok(Owned { service: target.of_role(SERVICE_ROLE), target: target.clone(), cluster: None });
    }
    let data = options.checkout.scratch().join("postgres");
    let data = if options.fresh { Data::Fresh(data) } else { Data::Lasting(data) };
    let galo = galo.to_owned();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&galo, data)).await??;
    let target = |role: &str, database: &str| {
        Target::parse(&Secret::new(cluster.url(role, database))).map_err(anyhow::Error::msg)
    };
    database::create(&target(SUPERUSER, "postgres")?, DATABASE).await?;
    let (owner, service) = (target(SUPERUSER, DATABASE)?, target(SERVICE_ROLE, DATABASE)?);
    Ok(Owned { target: owner, service, cluster: Some(cluster) })
}

/// What a person wants to know: where it is, what it answers, and a line to try.
fn banner(running: &serve::Running) {
    log::print(format_args!("\n  Galo serves on http://{}, admin on http://{}\n", running.listen, running.admin));
    let table = running.node.registry.table();
    for handler in &table.handlers {
        log::print(format_args!("    {:<20} {}", handler.entry.name, handler.entry.route));
    }
    // A GET needs no body: the line works as it stands.
    let get = table.handlers.iter().find_map(|handler| handler.entry.route.example(&Method::GET));
    if let Some(path) = get {
        log::print(format_args!("\n  Try\n    curl -i http://{}{path}\n", running.listen));
    }
    log::print(format_args!(
        "  What you save in handlers/, wit/ and sql/ goes live. Ctrl-C ends everything; the data stays.\n"
    ));
}
