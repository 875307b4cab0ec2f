//! The peer in Go (`peer/`): finds what it is built from, and builds it without the network, from the packages that
//! Debian has of its libraries. A run that measures it ends here, before anything is started, where they are missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use galo::develop::build::Project;
use galo_testing::program::{self, Built};

use crate::programs;

/// Its procedure, which `cluster` applies to the databases of the peer.
pub const SCHEMA: &str = include_str!("../peer/peer.sql");

/// Where Debian puts the sources of Go's libraries: a GOPATH.
const LIBRARIES: &str = "/usr/share/gocode";

/// A folder of each library, and the package that has it.
const PACKAGES: [(&str, &str); 2] = [
    ("github.com/jackc/pgx/v4", "golang-github-jackc-pgx-v4-dev"),
    ("github.com/julienschmidt/httprouter", "golang-github-julienschmidt-httprouter-dev"),
];

/// What it is built with.
pub struct Toolchain {
    go: PathBuf,
}

/// The program, built.
pub struct Peer {
    pub program: PathBuf,
    /// What Go calls its version.
    pub go: String,
}

impl Toolchain {
    /// Finds Go and the libraries.
    ///
    /// # Errors
    /// What is missing, and how to install it or to do without the peer.
    pub fn find() -> anyhow::Result<Self> {
        let go = program::find("go");
        let missing_go = go.is_none().then_some("golang-go");
        let libraries = PACKAGES.iter().filter(|(folder, _)| !Path::new(LIBRARIES).join("src").join(folder).is_dir());
        let missing: Vec<_> = missing_go.into_iter().chain(libraries.map(|(_, package)| *package)).collect();
        match go {
            Some(go) if missing.is_empty() => Ok(Self { go }),
            _ => bail!(
                "the peer in Go cannot be built here; on Debian: apt-get install --no-install-recommends {}; or leave \
                 it out: --without peer",
                missing.join(" ")
            ),
        }
    }

    /// Builds the peer beside this program.
    ///
    /// # Errors
    /// What Go complains about.
    pub fn build(&self, checkout: &Project, own: &Path) -> anyhow::Result<Peer> {
        let built = Built::beside(own)?;
        let program = built.folder.join("galo-bench-peer");
        let mut go = Command::new(&self.go);
        // Settings of a developer's environment are not part of the comparison.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("GO") {
                go.env_remove(variable);
            }
        }
        let status = go
            .args(["build", "-o"])
            .arg(&program)
            .current_dir(checkout.root.join("host/bench/peer"))
            // As before there were modules: those would be downloaded.
            .envs([("GO111MODULE", "off"), ("GOPATH", LIBRARIES), ("GOENV", "off"), ("GOTOOLCHAIN", "local")])
            .env("GOCACHE", built.target.join("go"))
            .stdin(Stdio::null())
            .status()
            .context("cannot run go")?;
        ensure!(status.success(), "the peer in Go could not be built; leave it out with --without peer");
        // `go version go1.19.8 linux/amd64`
        let printed = programs::version(&self.go, "version");
        let go = printed.split(' ').nth(2).unwrap_or(&printed).trim_start_matches("go").to_owned();
        Ok(Peer { program, go })
    }
}
