//! The database of `galo dev`: the one that was given, or one of a private cluster; and its branches.

use std::path::{Path, PathBuf};

use super::Options;
use crate::config::Secret;
use crate::database::{self, Branch, Target};
use crate::develop::build::Project;
use crate::develop::postgres::{self, Cluster, Data, SUPERUSER};
use crate::manifest::ProjectEntry;

/// A database, reached in two ways.
pub(super) struct Database {
    /// As the role that applies `sql/`.
    pub(super) owner: Target,
    /// As the role that the manifest names.
    pub(super) service: Target,
    /// The name of that role.
    pub(super) role: String,
    /// The private cluster it is in, if it is in one.
    pub(super) cluster: Option<Cluster>,
}

/// The database to serve on, or the branch of it that is asked for.
pub(super) async fn open(options: &Options, section: &ProjectEntry, galo: &Path) -> anyhow::Result<Database> {
    // Only the branch is discarded, if there is one.
    let fresh = options.fresh && options.branch.is_none();
    let Place { mut owner, cluster } = match &options.database {
        Some(owner) => {
            // A database that cannot be reached is not a mistake in the sources, so nothing waits for them to change.
            database::enter(owner).await?;
            Place { owner: owner.clone(), cluster: None }
        }
        None => start(&options.project, &section.database, fresh, galo).await?,
    };
    if let Some(branch) = &options.branch {
        if options.fresh {
            database::drop_branch(&owner, branch).await?;
        }
        owner = database::branch(&owner, branch).await?;
    }
    Ok(Database { service: owner.of_role(&section.role), role: section.role.clone(), owner, cluster })
}

/// Where the database of a project is, as its owner reaches it.
pub struct Place {
    /// The database.
    pub owner: Target,
    /// The private cluster, if it was started for this.
    pub cluster: Option<Cluster>,
}

impl Place {
    /// The database that was given, or that of the private cluster, which is started unless a `galo dev` runs it.
    ///
    /// # Errors
    /// When the manifest is not valid, or the cluster does not start.
    pub async fn find(project: &Project, given: Option<Target>, galo: &Path) -> anyhow::Result<Self> {
        if let Some(owner) = given {
            return Ok(Self { owner, cluster: None });
        }
        let name = project.section()?.database;
        match postgres::running(&Self::data(project)) {
            Some((socket, port)) => {
                Ok(Self { owner: target(&postgres::url(&socket, port, SUPERUSER, &name))?, cluster: None })
            }
            None => start(project, &name, false, galo).await,
        }
    }

    /// The folder of the private cluster.
    pub fn data(project: &Project) -> PathBuf {
        project.scratch().join("postgres")
    }

    /// Ends the cluster, if it was started for this.
    ///
    /// # Errors
    /// When its thread panics.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(tokio::task::spawn_blocking(move || drop(self.cluster)).await?)
    }
}

/// The branches of the database.
///
/// # Errors
/// When the database does not answer.
pub async fn branches(place: &Place) -> anyhow::Result<Vec<Branch>> {
    database::branches(&place.owner).await
}

/// Drops a branch. Returns whether there was one.
///
/// # Errors
/// When something is connected to it.
pub async fn drop_branch(place: &Place, name: &str) -> anyhow::Result<bool> {
    database::drop_branch(&place.owner, name).await
}

async fn start(project: &Project, name: &str, fresh: bool, galo: &Path) -> anyhow::Result<Place> {
    let data = Place::data(project);
    let data = if fresh { Data::Fresh(data) } else { Data::Lasting(data) };
    let galo = galo.to_owned();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&galo, data)).await??;
    database::create(&target(&cluster.url(SUPERUSER, "postgres"))?, name).await?;
    Ok(Place { owner: target(&cluster.url(SUPERUSER, name))?, cluster: Some(cluster) })
}

fn target(url: &str) -> anyhow::Result<Target> {
    Target::parse(&Secret::new(url)).map_err(anyhow::Error::msg)
}
