//! The database that end-to-end examples ask: a server, one scratch database to which `sql/` is applied, and a copy of
//! it for each example. So no example sees another, and ids begin at the same number in each.
//!
//! Calls are sent as a node sends them: on a pool of the service's role, which may execute what `sql/` grants it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::config::Secret;
use crate::contract::{Rows, Value};
use crate::database::{self, Database, GrantedProcedure, Procedure, Scratch, Target};
use crate::develop::postgres::{Cluster, Data, SUPERUSER};
use crate::failure::Failure;
use crate::manifest::Entry;
use crate::metrics::Metrics;

/// A server on which scratch databases can be made.
pub(super) struct Server {
    scratch: Scratch,
    /// The private one, if no other was given.
    cluster: Option<Mutex<Option<Cluster>>>,
}

/// A scratch database, which is dropped when nobody needs it any more, however that comes.
struct Made<'a> {
    target: Target,
    scratch: &'a Scratch,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        self.scratch.remove(&self.target);
    }
}

/// A scratch database with everything that `sql/` makes.
pub(super) struct Application<'a> {
    server: &'a Server,
    /// What each example gets a copy of.
    template: Made<'a>,
    /// The role that nodes serve as.
    role: String,
    /// What the manifest grants, as the database describes it.
    procedures: HashMap<GrantedProcedure, Result<Arc<Procedure>, String>>,
}

impl Server {
    /// The server of this database, or a private one. `galo` is the path of this program, which guards Postgres.
    ///
    /// # Errors
    /// When the server cannot be reached or started.
    pub(super) async fn start(database: Option<&Target>, galo: &Path) -> anyhow::Result<Self> {
        if let Some(owner) = database {
            return Ok(Self { scratch: Scratch::open(owner).await?, cluster: None });
        }
        let galo = galo.to_owned();
        let cluster = tokio::task::spawn_blocking(move || Cluster::start(&galo, Data::Throwaway)).await?;
        let cluster = cluster.context("end-to-end examples need a Postgres server")?;
        let owner = Target::parse(&Secret::new(cluster.url(SUPERUSER, "postgres"))).map_err(anyhow::Error::msg)?;
        Ok(Self { scratch: Scratch::open(&owner).await?, cluster: Some(Mutex::new(Some(cluster))) })
    }

    /// Creates a scratch database, empty or a copy.
    async fn create(&self, template: Option<&Target>) -> anyhow::Result<Made<'_>> {
        Ok(Made { target: self.scratch.create(template).await?, scratch: &self.scratch })
    }

    /// Applies `sql/` to a new scratch database, and looks up what these handlers may call.
    ///
    /// # Errors
    /// A mistake in `sql/`, with file and line; or that the service's role cannot connect.
    pub(super) async fn application(
        &self,
        sql: &Path,
        role: &str,
        entries: &[Entry],
    ) -> anyhow::Result<Application<'_>> {
        let template = self.create(None).await?;
        database::apply(&template.target, sql).await?;
        let copy = self.create(Some(&template.target)).await?;
        let service = copy.target.of_role(role);
        database::enter(&service).await.with_context(|| {
            format!(
                "end-to-end examples call as the role `{role}`, with the password of the URL if it has one; \
                 create the role in sql/, and allow it to log in (ALTER ROLE {role} PASSWORD ..., pg_hba.conf)"
            )
        })?;
        let database = Database::new(&service, 1, &Metrics::new());
        let mut procedures = HashMap::new();
        for granted in entries.iter().flat_map(|entry| &entry.procedures) {
            if !procedures.contains_key(granted) {
                let described = database.describe(granted).await;
                procedures.insert(granted.clone(), described.map(Arc::new).map_err(|unusable| unusable.to_string()));
            }
        }
        Ok(Application { server: self, template, role: role.to_owned(), procedures })
    }

    /// Drops every scratch database, and stops the private server.
    ///
    /// # Errors
    /// When a database is still there.
    pub(super) async fn end(&self) -> anyhow::Result<()> {
        let Some(cluster) = &self.cluster else { return self.scratch.end().await };
        // With all that is in it.
        let cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(tokio::task::spawn_blocking(move || drop(cluster)).await?)
    }
}

impl Application<'_> {
    /// The procedures of a handler.
    ///
    /// # Errors
    /// Why one of them cannot be called.
    pub(super) fn procedures(&self, entry: &Entry) -> Result<Vec<Arc<Procedure>>, String> {
        entry.procedures.iter().filter_map(|granted| self.procedures.get(granted).cloned()).collect()
    }

    /// Runs SQL on a copy of the database, and then one call. Returns its outcome.
    ///
    /// # Errors
    /// A mistake in the SQL, or that the copy cannot be made.
    pub(super) async fn call(
        &self,
        before: Option<&str>,
        procedure: &Arc<Procedure>,
        arguments: Vec<Value>,
    ) -> Result<Result<Rows, Failure>, String> {
        let made = self.server.create(Some(&self.template.target)).await.map_err(|error| format!("{error:#}"))?;
        let copy = &made.target;
        call_on(copy, &copy.of_role(&self.role), before, procedure, arguments).await
    }
}

async fn call_on(
    copy: &Target,
    service: &Target,
    before: Option<&str>,
    procedure: &Arc<Procedure>,
    arguments: Vec<Value>,
) -> Result<Result<Rows, Failure>, String> {
    if let Some(sql) = before {
        database::run_sql(copy, sql).await.map_err(|error| {
            let line = error.line.map(|line| format!(", line {line}")).unwrap_or_default();
            format!("`before`{line}: {error}")
        })?;
    }
    // No task looks after it: it lives for one call.
    let database = Arc::new(Database::new(service, 1, &Metrics::new()));
    database.start(vec![Arc::clone(procedure)]).await.map_err(|error| format!("{error:#}"))?;
    let outcome = database.call(procedure, arguments).await;
    database.drain().await;
    Ok(outcome)
}
