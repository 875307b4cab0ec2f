//! One measurement: a contender with everything behind it, new for it, warmed up, driven, and looked at from outside.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use galo::develop::build::Project;
use galo::operator::Ended;
use galo_testing::nginx::{Front, Listen, Nginx};

use crate::cluster::Cluster;
use crate::contender::Contender;
use crate::feature::{Feature, Sampled};
use crate::load::Load;
use crate::options::Options;
use crate::peer::Peer;
use crate::process::{self, Memory, Usage};
use crate::programs::{self, Programs};
use crate::schedule::{Cores, Placement};
use crate::server::{Launch, Server};
use crate::{pgbench, wrk};

/// As many as are deployed.
const NODES: usize = 2;

/// What a run measures with.
pub struct Bench {
    pub programs: Programs,
    /// Only built when it is measured.
    pub peer: Option<Peer>,
    /// Like the two below only made when something is measured that runs components.
    pub galo: PathBuf,
    pub checkout: Project,
    /// The folder of galo.toml and the components.
    pub handlers: PathBuf,
    /// Of compiled components.
    pub cache: PathBuf,
    /// For sockets, logs and scripts.
    pub folder: PathBuf,
    /// For the data of Postgres.
    pub disk: PathBuf,
    pub nginx_workers: usize,
    pub cores: Cores,
    pub seconds: u64,
    pub warm_seconds: u64,
    /// A feature that is on.
    pub sampled: Option<Sampled>,
}

impl Bench {
    /// A bench for the program and the handlers in `folder`, with the durations of the options. Blocks.
    ///
    /// # Errors
    /// When a folder cannot be made or the cores are not known.
    pub fn new(
        options: &Options,
        checkout: Project,
        programs: Programs,
        peer: Option<Peer>,
        galo: PathBuf,
        folder: PathBuf,
    ) -> anyhow::Result<Self> {
        let disk = options.disk.clone().unwrap_or_else(|| checkout.scratch());
        std::fs::create_dir_all(&disk).with_context(|| format!("cannot make {}", disk.display()))?;
        let (handlers, cache) = (folder.join("handlers"), folder.join("cache"));
        std::fs::create_dir(&cache)?;
        let (seconds, warm_seconds) = (options.seconds(), options.warm_seconds());
        let (nginx_workers, cores) = (options.nginx_workers, Cores::find()?);
        Ok(Self {
            programs,
            peer,
            galo,
            checkout,
            handlers,
            cache,
            folder,
            disk,
            nginx_workers,
            cores,
            seconds,
            warm_seconds,
            sampled: None,
        })
    }
}

/// What takes CPU and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    Generator,
    Nginx,
    Nodes,
    Postgres,
}

impl Component {
    /// All, in the order of a request's way.
    pub const ALL: [Self; 4] = [Self::Generator, Self::Nginx, Self::Nodes, Self::Postgres];

    pub fn name(self) -> &'static str {
        match self {
            Self::Generator => "load generator",
            Self::Nginx => "nginx",
            Self::Nodes => "nodes",
            Self::Postgres => "Postgres",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub load: Load,
    /// Microseconds of CPU for a request, by component.
    pub cpu: [f64; 4],
    /// Context switches for a request, by component.
    pub switches: [f64; 4],
    /// The part of all cores that was idle, in percent.
    pub idle: f64,
    /// At the end of the window, by component; none of the load generator, which has ended then.
    pub memory: [Memory; 4],
}

impl Measured {
    /// Requests a second.
    pub fn throughput(&self) -> f64 {
        number(self.load.requests) / self.load.seconds
    }

    /// Microseconds of CPU of a component for a request.
    pub fn cpu_of(&self, component: Component) -> f64 {
        Component::ALL.iter().position(|one| *one == component).map_or(f64::NAN, |place| self.cpu[place])
    }

    /// The part of requests that were refused, in percent.
    pub fn refused(&self) -> f64 {
        100.0 * number(self.load.refused) / number(self.load.requests)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Measures a contender.
///
/// # Errors
/// Whatever makes the measurement invalid.
pub async fn measure(
    bench: &Bench,
    cluster: &mut Cluster,
    placement: Placement,
    contender: Contender,
    connections: usize,
    seed: u64,
) -> anyhow::Result<Measured> {
    let measured = attempt(bench, cluster, placement, contender, connections, seed).await;
    measured.with_context(|| format!("{} with {connections} connections", contender.name()))
}

async fn attempt(
    bench: &Bench,
    cluster: &mut Cluster,
    placement: Placement,
    contender: Contender,
    connections: usize,
    seed: u64,
) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir_in(&bench.folder)?;
    let database = cluster.database_for(contender).await?;
    let url = database.service_url();
    let mut servers = Vec::new();
    let mut nginx = None;
    if contender.speaks_http() {
        let launch = bench.launch(if contender == Contender::Limit { "" } else { &url });
        for number in 1..=NODES {
            servers.push(Server::start(contender, number, folder.path(), launch).await?);
        }
        let sockets: Vec<_> = servers.iter().map(|server| server.socket.clone()).collect();
        nginx = Some(front(bench, placement, folder.path(), &sockets).await?);
    }
    let mut shadows = Vec::new();
    if let Some(Sampled { feature: Feature::Shadow, every, .. }) = bench.sampled {
        for server in &servers {
            shadows.push(server.shadow(&bench.handlers, every).await?);
        }
    }
    let pids: Vec<_> = servers.iter().map(|server| server.pid).collect();
    let gate: Vec<_> = nginx.iter().map(|nginx| nginx.pid).collect();
    bench.cores.place(placement, &gate, &pids, &[cluster.postmaster])?;
    let listen = nginx.as_ref().map(|nginx| nginx.listen.to_string());
    let drive = async |seconds: u64, seed: u64| match &listen {
        Some(listen) => wrk::run(&bench.programs, folder.path(), listen, connections, seconds, seed).await,
        None => pgbench::run(&bench.programs, folder.path(), &database, seconds, seed).await,
    };
    // Other requests than those that count.
    drive(bench.warm_seconds, seed + 1_000_000).await.context("warming up")?;
    let roots =
        [Vec::new(), gate, pids, if contender == Contender::Limit { Vec::new() } else { vec![cluster.postmaster] }];
    let before = (usage(&roots)?, process::machine_time()?);
    let load = drive(bench.seconds, seed).await?;
    let after = (usage(&roots)?, process::machine_time()?);
    let mut memory = [Memory::default(); 4];
    for (memory, roots) in memory.iter_mut().zip(&roots) {
        *memory = process::memory(roots)?;
    }
    for shadow in shadows {
        let ended = shadow.follow(std::future::ready(()), false, |counts| eprintln!("{counts}")).await?;
        ensure!(ended == Ended::Alike, "a component decides otherwise than itself");
    }
    let log = nginx.as_ref().map(Nginx::log).unwrap_or_default();
    ensure!(log.is_empty(), "nginx logged: {}", log.lines().take(5).collect::<Vec<_>>().join("\n"));
    drop(nginx);
    for server in servers {
        server.stop().await?;
    }
    cluster.drop(database).await?;
    let (mut cpu, mut switches) = ([0.0; 4], [0.0; 4]);
    for (place, (after, before)) in after.0.iter().zip(&before.0).enumerate() {
        cpu[place] = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / number(load.requests);
        switches[place] = number(after.switches.saturating_sub(before.switches)) / number(load.requests);
    }
    let (all, idle) = (after.1.0 - before.1.0, after.1.1 - before.1.1);
    Ok(Measured { load, cpu, switches, idle: 100.0 * number(idle) / number(all.max(1)), memory })
}

/// nginx as it is deployed, on a port: wrk speaks TCP only.
async fn front(bench: &Bench, placement: Placement, folder: &Path, sockets: &[PathBuf]) -> anyhow::Result<Nginx> {
    // It was free a moment ago; no other program takes ports of this machine in the meantime.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let deployed = programs::deployed(&bench.checkout, "nginx");
    let front = Front {
        program: &bench.programs.nginx,
        deployed: &deployed,
        nodes: &deployed.join(placement.upstream()).join("nodes.conf"),
        sockets,
        // An older checkout, which is compared with this one, may have none.
        routes: &std::fs::read_to_string(deployed.join("routes/galo.conf")).unwrap_or_default(),
        workers: Some(bench.nginx_workers),
        listen: Listen::Port(port),
        folder,
    };
    Nginx::start(front).await
}

/// What each component has cost so far. A load generator has ended when its time counts.
fn usage(roots: &[Vec<i32>; 4]) -> anyhow::Result<[Usage; 4]> {
    let of = |place: usize| process::usage(&roots[place]);
    Ok([process::ended_children()?, of(1)?, of(2)?, of(3)?])
}

impl Bench {
    /// What a server is started with, beside a measurement.
    pub fn launch<'a>(&'a self, database_url: &'a str) -> Launch<'a> {
        Launch {
            programs: &self.programs,
            peer: self.peer.as_ref().map(|peer| peer.program.as_path()),
            galo: &self.galo,
            handlers: &self.handlers,
            cache: &self.cache,
            database_url,
            sampled: self.sampled,
        }
    }

    /// A new cluster.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn cluster(&self, durability: crate::cluster::Durability) -> anyhow::Result<Cluster> {
        Cluster::start(&self.programs, &self.checkout, &self.disk, durability).await
    }
}
