//! The machine of a run and what ran on it: without these, a figure means nothing.

use std::fs;
use std::path::Path;

use galo_testing::program;

use crate::measure::Bench;
use crate::pgo;
use crate::programs;

/// Names and values, in the order of the table.
pub type Facts = Vec<(&'static str, String)>;

/// What is known of the machine and the programs.
pub fn facts(bench: &Bench, postgres: &str) -> Facts {
    let programs = &bench.programs;
    let rustc = program::find("rustc").unwrap_or_else(|| "rustc".into());
    let mut facts = vec![
        ("CPU", field("/proc/cpuinfo", "model name", ':').unwrap_or_else(|| "unknown".to_owned())),
        ("cores", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory", field("/proc/meminfo", "MemTotal", ':').map_or_else(|| "unknown".to_owned(), |kib| gibibytes(&kib))),
        ("kernel", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()),
        ("system", field("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(|| "unknown".to_owned())),
        ("nginx", last_word(&programs::version(&programs.nginx, "-v"), '/')),
        ("Postgres", postgres.to_owned()),
        ("pgbench", programs::version(&programs.pgbench, "--version")),
        ("wrk", programs::version(&programs.wrk, "-v").split(" [").next().unwrap_or_default().to_owned()),
        ("rustc", programs::version(&rustc, "--version")),
        ("build", build().to_owned()),
    ];
    facts.extend(bench.peer.iter().map(|peer| ("Go", peer.go.clone())));
    facts
}

fn build() -> &'static str {
    match (cfg!(debug_assertions), pgo::USED) {
        (true, _) => "development: NOT the figures of a release",
        (false, false) => "release, without profile-guided optimisation",
        (false, true) => "release, with profile-guided optimisation (`deploy/pgo`)",
    }
}

fn field(file: impl AsRef<Path>, name: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once(separator)?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn gibibytes(kib: &str) -> String {
    let kib: f64 = kib.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
    format!("{:.0} GiB", kib / f64::from(1 << 20))
}

fn last_word(text: &str, separator: char) -> String {
    text.rsplit(separator).next().unwrap_or_default().to_owned()
}
