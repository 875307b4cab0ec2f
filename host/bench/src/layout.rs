//! What stands behind the nodes when shards are measured: one Postgres, or a router in front of several, each a cluster
//! of its own, set up as `deploy/shards` does it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use galo_testing::{program, shards};
use tokio::process::Command;

use crate::cluster::{Cluster, Database, Durability};
use crate::contender::Contender;
use crate::measure::{Bench, Reached, measure, measure_on};
use crate::measured::Measured;
use crate::schedule::Placement;

/// The lanes that the five clients of the contest have.
const USED: &str = "SELECT count(DISTINCT hashint4(id) & $1) FROM generate_series(1, 5) AS id";

/// What stands behind the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One Postgres, with as many lanes.
    One { lanes: usize },
    /// A router in front of as many.
    Shards(usize),
}

impl Layout {
    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Self::One { lanes: 1 } => "one Postgres".to_owned(),
            Self::One { lanes } => format!("one Postgres, {lanes} lanes"),
            Self::Shards(1) => "router, 1 shard".to_owned(),
            Self::Shards(shards) => format!("router, {shards} shards"),
        }
    }

    /// With shards, a lane for each partition; and there are two of them or more.
    pub fn lanes(self) -> usize {
        match self {
            Self::One { lanes } => lanes,
            Self::Shards(shards) => shards.max(2),
        }
    }
}

/// The clusters, and manifests for them. Stopped and deleted when dropped.
pub struct Ground {
    /// The first is also the one Postgres.
    shards: Vec<Cluster>,
    router: Cluster,
    /// Folders of handlers, by the lanes of their manifest.
    handlers: BTreeMap<usize, PathBuf>,
    /// Lanes that have clients, of as many lanes.
    used: BTreeMap<usize, u32>,
}

impl Ground {
    /// Starts what these need.
    ///
    /// # Errors
    /// That a cluster does not start, or that PL/Proxy is not installed.
    pub async fn start(bench: &Bench, layouts: &[Layout]) -> anyhow::Result<Self> {
        let mut router = bench.cluster(Durability::Off).await?;
        let database = router.empty().await?;
        let available = "SELECT FROM pg_available_extensions WHERE name = 'plproxy'";
        let is_there = !database.owner().await?.query(available, &[]).await?.is_empty();
        let major = router.version.split('.').next().unwrap_or_default().to_owned();
        ensure!(
            is_there,
            "missing: PL/Proxy; on Debian: apt-get install --no-install-recommends postgresql-{major}-plproxy"
        );
        let mut used = BTreeMap::new();
        for layout in layouts {
            let row = database.owner().await?.query_one(USED, &[&i32::try_from(layout.lanes() - 1)?]).await?;
            used.insert(layout.lanes(), u32::try_from(row.get::<_, i64>(0))?);
        }
        router.drop(database).await?;
        let (mut shards, mut handlers) = (Vec::new(), BTreeMap::from([(1, bench.handlers.clone())]));
        for layout in layouts {
            let count = if let Layout::Shards(count) = layout { *count } else { 1 };
            while shards.len() < count {
                shards.push(bench.cluster(Durability::Off).await?);
            }
            let lanes = layout.lanes();
            if let Entry::Vacant(missing) = handlers.entry(lanes) {
                let folder = bench.folder.join(format!("handlers-{lanes}"));
                shards::handlers(&bench.checkout, &bench.handlers, &folder, lanes)?;
                missing.insert(folder);
            }
        }
        Ok(Self { shards, router, handlers, used })
    }

    /// How many lanes have clients.
    pub fn used(&self, layout: Layout) -> u32 {
        self.used.get(&layout.lanes()).copied().unwrap_or_default()
    }

    /// Measures Galo in front of this, on new databases.
    ///
    /// # Errors
    /// Whatever makes the measurement invalid.
    pub async fn measure(
        &mut self,
        bench: &mut Bench,
        layout: Layout,
        connections: usize,
        seed: u64,
    ) -> anyhow::Result<Measured> {
        bench.handlers.clone_from(&self.handlers[&layout.lanes()]);
        match layout {
            Layout::One { .. } => {
                measure(bench, &mut self.shards[0], Placement::Free, Contender::Galo, connections, seed).await
            }
            Layout::Shards(count) => {
                let measured = self.measure_shards(bench, count, connections, seed).await;
                measured.with_context(|| format!("{} with {connections} connections", layout.name()))
            }
        }
    }

    async fn measure_shards(
        &mut self,
        bench: &Bench,
        count: usize,
        connections: usize,
        seed: u64,
    ) -> anyhow::Result<Measured> {
        let mut databases = Vec::new();
        for (number, cluster) in self.shards[..count].iter_mut().enumerate() {
            let database = cluster.database().await?;
            database.owner().await?.batch_execute(&shards::part(&bench.checkout, number, count)?).await?;
            databases.push(database);
        }
        let router = self.router.empty().await?;
        router
            .owner()
            .await?
            .batch_execute(&stubs(bench, &databases).await?)
            .await
            .context("cannot apply the stubs")?;
        let shards = self.shards[..count].iter().map(|cluster| cluster.postmaster);
        let postgres: Vec<_> = std::iter::once(self.router.postmaster).chain(shards).collect();
        let url = router.service_url();
        let reached = Reached { url: &url, postgres: &postgres, router: Some(self.router.postmaster) };
        let measured = measure_on(bench, &reached, Placement::Free, Contender::Galo, connections, seed).await?;
        self.router.drop(router).await?;
        for (cluster, database) in self.shards.iter().zip(databases) {
            cluster.drop(database).await?;
        }
        Ok(measured)
    }
}

/// The SQL of a router in front of these shards.
async fn stubs(bench: &Bench, shards: &[Database]) -> anyhow::Result<String> {
    let mut command = Command::new(&bench.galo);
    for name in program::foreign() {
        command.env_remove(name);
    }
    command.args(["shards", "stubs", "--handlers"]).arg(&bench.handlers).args(shards.iter().map(Database::place));
    let output = command.env("DATABASE_URL", shards[0].owner_url()).stdin(Stdio::null()).output().await?;
    ensure!(output.status.success(), "galo shards stubs: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
