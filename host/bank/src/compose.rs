//! Docker's engine and compose, whichever one is installed, for tests on the stack of `deploy/`. Each call waits until
//! the command has ended.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// The password of the nodes' role, where the stack needs one (`compose.tcp.yaml`).
pub const PASSWORD: &str = "only-for-tests";

/// compose on the stack, or on a variant of it.
#[derive(Clone, Debug)]
pub struct Compose {
    /// `docker compose`, or what stands in for it.
    program: &'static [&'static str],
    /// Containers and volumes are named after it. Not that of a user's own stack, which may run beside this one.
    project: &'static str,
    /// The folder of compose.yaml.
    folder: PathBuf,
    /// The files on top of compose.yaml.
    variant: Vec<PathBuf>,
    /// The published port: a free one.
    pub port: u16,
}

impl Compose {
    /// Finds an engine, compose and the images.
    ///
    /// # Errors
    /// What is missing, and what provides it.
    pub fn find(project: &'static str) -> anyhow::Result<Self> {
        let remedy = "run the command with .ci/with-docker, which starts one";
        docker(&["info"]).with_context(|| format!("no Docker engine answers; {remedy}"))?;
        let sharded = ["galo-router", "galo-set-up", "galo-sharded-handlers"];
        for image in ["galo", "galo-migrations", "galo-handlers"].into_iter().chain(sharded) {
            let found = docker(&["image", "inspect", image]);
            found.with_context(|| format!("no image `{image}`; .ci/quick-images makes it"))?;
        }
        let v2 = docker(&["compose", "version"]).is_ok();
        // The old one heeds the limits of `deploy` only with this option.
        let program: &[_] = if v2 { &["docker", "compose"] } else { &["docker-compose", "--compatibility"] };
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { program, project, folder: folder().to_owned(), variant: Vec::new(), port })
    }

    /// The same with these files on top of compose.yaml, relative to its folder.
    #[must_use]
    pub fn with<P: AsRef<Path>>(&self, files: &[P]) -> Self {
        Self { variant: files.iter().map(|file| file.as_ref().to_owned()).collect(), ..self.clone() }
    }

    /// The same on the stack of another folder, under a name of its own.
    #[must_use]
    pub fn elsewhere(&self, folder: &Path, project: &'static str) -> Self {
        Self { folder: folder.to_owned(), project, variant: Vec::new(), ..self.clone() }
    }

    /// Runs one of its commands, and returns what it prints.
    ///
    /// # Errors
    /// The command cannot be run or fails.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.program[0]);
        command.args(&self.program[1..]).args(["-p", self.project, "-f", "compose.yaml"]);
        for file in &self.variant {
            command.arg("-f").arg(file);
        }
        command.args(arguments).current_dir(&self.folder);
        finish(command.env("GALO_PORT", self.port.to_string()).env("GALO_PASSWORD", PASSWORD))
    }

    /// `deploy/galo`, or what a project has in its place, as a person runs it in a folder.
    #[must_use]
    pub fn galo(&self, program: &str, called_in: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.args(arguments).current_dir(called_in).stdin(Stdio::null());
        command.env("COMPOSE_PROJECT_NAME", self.project).env("GALO_PORT", self.port.to_string());
        command.env("GALO_WHO", "ana");
        command
    }

    /// Where a volume of the stack lies. Only root may look there.
    ///
    /// # Errors
    /// There is no such volume, or it cannot be entered.
    pub fn volume(&self, name: &str) -> anyhow::Result<PathBuf> {
        let name = format!("{}_{name}", self.project);
        let path = PathBuf::from(docker(&["volume", "inspect", "-f", "{{.Mountpoint}}", &name])?);
        ensure!(path.is_dir(), "the volume {name} cannot be entered at {}: run this as root", path.display());
        Ok(path)
    }
}

/// Runs one of docker's commands, and returns what it prints.
///
/// # Errors
/// The command cannot be run or fails.
pub fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    finish(Command::new("docker").args(arguments))
}

/// The folder of compose.yaml.
#[must_use]
pub fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy"))
}

/// Runs a command, and returns what it prints, without the last newline.
///
/// # Errors
/// The command cannot be run or fails.
pub fn finish(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&printed).trim_end());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
