//! `galo psql`: runs psql on the database that was given, or on that of `galo dev`, whether or not that runs. The
//! password is passed in the environment, where no list of processes shows it.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::config::Secret;
use crate::database::{self, Defaults, Source, VARIABLES};
use crate::develop::build::Project;
use crate::develop::dev::Place;
use crate::develop::postgres::{self, SUPERUSER};
use crate::signals::Signals;

/// The options of `galo psql`.
pub struct Options {
    /// The database.
    pub database: Database,
    /// The branch of the database.
    pub branch: Option<String>,
    /// Arguments for psql.
    pub arguments: Vec<OsString>,
}

/// The database that psql opens.
pub enum Database {
    /// The one that was given, as libpq's variables.
    Given(Vec<(&'static str, Secret)>),
    /// That of a project.
    Private(Project),
}

/// Runs psql to its end. `galo` is the path of this program, which guards Postgres. Returns the exit status of psql.
///
/// # Errors
/// When psql is not installed, or the private Postgres does not start.
pub async fn psql(options: Options, galo: &Path) -> anyhow::Result<u8> {
    let program = postgres::psql()?;
    let (mut variables, place) = match options.database {
        Database::Given(variables) => (variables, None),
        Database::Private(project) => private(&project, options.branch.as_deref(), galo).await?,
    };
    if let Some(branch) = &options.branch {
        let at = variables.iter().position(|(name, _)| *name == "PGDATABASE");
        let original = at.map(|at| variables.remove(at).1);
        let original = original.context("the connection string names no database; add dbname=")?;
        variables.push(("PGDATABASE", Secret::new(database::branch_name(original.expose(), branch)?)));
    }
    let mut command = Command::new(&program);
    command.args(&options.arguments).kill_on_drop(true);
    for (name, _) in VARIABLES {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value.expose())));
    // Ctrl-C is for psql, which cancels a statement with it. The handlers are not inherited.
    let mut signals = Signals::new()?;
    let mut psql = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    let status = loop {
        tokio::select! {
            status = psql.wait() => break status?,
            name = signals.next() => if name != "SIGINT" {
                psql.kill().await?;
            },
        }
    };
    if let Some(place) = place {
        place.close().await?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The database of a project, whose branch is there if one is named. The cluster lasts as long as the place.
async fn private(
    project: &Project,
    branch: Option<&str>,
    galo: &Path,
) -> anyhow::Result<(Vec<(&'static str, Secret)>, Option<Place>)> {
    let place = Place::find(project, None, galo).await?;
    if let Some(name) = branch {
        let branches = database::branches(&place.owner).await?;
        ensure!(
            branches.iter().any(|branch| branch.name == name),
            "there is no branch {name}; `galo dev --branches` lists them, and `galo dev --branch {name}` makes it"
        );
    }
    let (socket, port) = match &place.cluster {
        Some(cluster) => (cluster.socket.clone(), cluster.port),
        None => postgres::running(&Place::data(project)).context("`galo dev` has just ended; try again")?,
    };
    let database = project.section()?.database;
    let url = Secret::new(postgres::url(&socket, port, SUPERUSER, &database));
    let variables = database::variables(&Source::Text(url), &Defaults::default()).map_err(anyhow::Error::msg)?;
    Ok((variables, Some(place)))
}
