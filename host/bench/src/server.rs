//! A process that answers on a unix socket: a node, or one of the servers beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use galo::limits;
use galo::operator::{Access, Shadowing};
use galo::report::Reason;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::contender::Contender;
use crate::feature::Sampled;
use crate::programs::Programs;

/// A first start compiles two components, in a development build and beside others.
pub const START_MAX: Duration = Duration::from_secs(30);

/// Between two checks of something that gives no event.
pub const POLL_EVERY: Duration = Duration::from_millis(5);

/// Longer than any measurement.
const SHADOW: Duration = Duration::from_secs(3600);

/// A drain ends after ten seconds at most.
const STOP_MAX: Duration = Duration::from_secs(15);

/// What a server is started with.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    pub programs: &'a Programs,
    /// Only built when it is measured.
    pub peer: Option<&'a Path>,
    pub galo: &'a Path,
    /// The folder of galo.toml and the components.
    pub handlers: &'a Path,
    /// Of compiled components; shared by all servers of a run.
    pub cache: &'a Path,
    /// Empty for what needs no database.
    pub database_url: &'a str,
    /// A feature that is on.
    pub sampled: Option<Sampled>,
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub pid: i32,
    pub socket: PathBuf,
    admin: PathBuf,
}

impl Server {
    /// Starts one; it takes connections when this returns, and its pool is full.
    ///
    /// # Errors
    /// That it does not, with the end of its log.
    pub async fn start(contender: Contender, number: usize, folder: &Path, launch: Launch<'_>) -> anyhow::Result<Self> {
        let place = |ending: &str| folder.join(format!("node-{number}.{ending}"));
        let (socket, log) = (place("sock"), place("log"));
        let mut command = command(contender, &socket, &place("admin"), launch)?;
        let file = File::create(&log)?;
        let mut child = command
            .env("DATABASE_URL", launch.database_url)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // Ctrl-C must reach only this program, which then stops everything gracefully.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", contender.name()))?;
        let pid = i32::try_from(child.id().context("a server has ended")?)?;
        let begun = Instant::now();
        while UnixStream::connect(&socket).await.is_err() {
            let tail = || fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = child.try_wait()? {
                bail!("{} has ended ({status}): {}", contender.name(), tail());
            }
            ensure!(begun.elapsed() < START_MAX, "{} does not start: {}", contender.name(), tail());
            sleep(POLL_EVERY).await;
        }
        Ok(Self { child, pid, socket, admin: place("admin") })
    }

    /// Has the component of the transactions run beside it, on one request in so many.
    ///
    /// # Errors
    /// That the node refuses.
    pub async fn shadow(&self, handlers: &Path, every: usize) -> anyhow::Result<Shadowing> {
        let admin = format!("unix:{}", self.admin.display());
        let access = Access { admin: admin.parse().map_err(anyhow::Error::msg)?, token: None };
        let asked = Reason { who: "galo-bench".to_owned(), why: "what a shadow costs".to_owned() };
        Shadowing::begin(&access, "transacoes", &handlers.join("transacoes.wasm"), (every, SHADOW), asked).await
    }

    /// Stops it gracefully.
    ///
    /// # Errors
    /// That it had to be killed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.pid), Signal::SIGTERM).context("a server has ended by itself")?;
        tokio::time::timeout(STOP_MAX, self.child.wait()).await.context("a server does not end")??;
        Ok(())
    }
}

fn command(contender: Contender, socket: &Path, admin: &Path, launch: Launch<'_>) -> anyhow::Result<Command> {
    let Launch { programs, peer, galo, handlers, cache, sampled, .. } = launch;
    let own = |what: &str| {
        let mut command = Command::new(&programs.own);
        command.args(["serve", what, "--listen"]).arg(socket);
        command
    };
    let mut command = match contender {
        Contender::Limit => own("limit"),
        Contender::Plain => own("plain"),
        Contender::Peer => {
            let mut command = Command::new(peer.context("the peer was not built")?);
            command.arg("--listen").arg(socket);
            command
        }
        Contender::Twin => own("twin"),
        Contender::Galo => {
            let mut command = Command::new(galo);
            command.arg("serve").arg("--listen").arg(format!("unix:{}", socket.display()));
            command.arg("--admin").arg(format!("unix:{}", admin.display()));
            command
        }
        Contender::Pgbench => bail!("pgbench is not a server"),
    };
    // Two of them share the cores.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    command.arg("--workers").arg((cores / 2).clamp(1, limits::WORKERS_MAX).to_string());
    if matches!(contender, Contender::Twin | Contender::Galo) {
        command.arg("--handlers").arg(handlers).arg("--cache").arg(cache);
    }
    if matches!(contender, Contender::Twin) {
        command.arg("--galo").arg(galo);
    }
    // Settings of a developer's environment are not part of the comparison.
    for (variable, _) in std::env::vars_os() {
        if ["GALO_", "OTEL_"].iter().any(|prefix| variable.to_string_lossy().starts_with(prefix)) {
            command.env_remove(variable);
        }
    }
    command.envs(sampled.iter().flat_map(Sampled::environment));
    Ok(command)
}
