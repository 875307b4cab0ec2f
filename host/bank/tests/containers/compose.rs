//! compose, whichever one is installed, on the file that users run; and docker itself. Every call waits for its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Its containers and volumes are called after it. Not that of a user's own stack, which may run beside this one.
const PROJECT: &str = "galo-containers";

/// compose on the durable stack.
pub struct Compose {
    /// `docker compose`, or what stands in for it.
    program: &'static [&'static str],
    /// The one that is published: free, so that it takes nobody's.
    pub port: u16,
}

impl Compose {
    /// Finds an engine, a compose and the images.
    pub fn find() -> anyhow::Result<Self> {
        let provided = ".ci/with-docker COMMAND runs a command where one does";
        docker(&["info"]).with_context(|| format!("no Docker engine answers; {provided}"))?;
        for image in ["galo", "galo-handlers"] {
            let found = docker(&["image", "inspect", image]);
            found.with_context(|| format!("no image `{image}`; .ci/quick-images makes it"))?;
        }
        let v2 = docker(&["compose", "version"]).is_ok();
        // The old one heeds the limits of `deploy` only when it is told to.
        let program: &[_] = if v2 { &["docker", "compose"] } else { &["docker-compose", "--compatibility"] };
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { program, port })
    }

    /// Runs one of its commands.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.program[0]);
        command.args(&self.program[1..]).args(["-p", PROJECT, "-f", "compose.yaml"]).args(arguments);
        command.current_dir(folder()).env("GALO_PORT", self.port.to_string());
        finish(command)
    }
}

/// Runs one of docker's commands.
pub fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("docker");
    command.args(arguments);
    finish(command)
}

/// Where a volume of the stack lies. Only root may look there.
pub fn volume(name: &str) -> anyhow::Result<PathBuf> {
    let name = format!("{PROJECT}_{name}");
    let path = PathBuf::from(docker(&["volume", "inspect", "-f", "{{.Mountpoint}}", &name])?);
    ensure!(path.is_dir(), "the volume {name} cannot be entered at {}: this needs root", path.display());
    Ok(path)
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy"))
}

/// What it prints, without the last newline.
fn finish(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim_end());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
