//! The load generator for what speaks HTTP: wrk, with the contest's mix. A measurement in which anything was answered
//! but 200 and 422, or a connection broke, is invalid.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::load::Load;
use crate::programs::Programs;

/// The script, which makes the requests.
const SCRIPT: &str = include_str!("wrk.lua");

/// What the script's line of figures begins with.
const MARK: &str = "galo-bench ";

/// One thread has room for 90,000 requests a second; a second one would only take turns with the rest of the stack.
const THREADS: &str = "1";

#[derive(Debug, Deserialize)]
struct Reported {
    requests: u64,
    micros: f64,
    refused: u64,
    unexpected: u64,
    last_unexpected: u16,
    broken: u64,
    latency: [f64; 6],
}

/// Drives what listens on this address. The same seed makes the same requests.
pub async fn run(
    programs: &Programs,
    folder: &Path,
    listen: &str,
    connections: usize,
    seconds: u64,
    seed: u64,
) -> anyhow::Result<Load> {
    let script = folder.join("wrk.lua");
    std::fs::write(&script, SCRIPT).context("cannot write the script of wrk")?;
    let output = Command::new(&programs.wrk)
        .args(["-t", THREADS, "-c", &connections.to_string(), "-d", &format!("{seconds}s"), "--timeout", "10s", "-s"])
        .arg(&script)
        .arg(format!("http://{listen}"))
        .args(["--", &seed.to_string()])
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run wrk")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    parse(&printed)
}

fn parse(printed: &str) -> anyhow::Result<Load> {
    let line = printed.lines().find_map(|line| line.strip_prefix(MARK));
    let line = line.with_context(|| format!("wrk printed no figures: {printed}"))?;
    let reported: Reported = serde_json::from_str(line).with_context(|| format!("cannot read {line}"))?;
    if reported.unexpected > 0 {
        bail!(
            "{} of {} answers were neither 200 nor 422, {} the worst",
            reported.unexpected,
            reported.requests,
            reported.last_unexpected
        );
    }
    ensure!(reported.broken == 0, "{} connections broke or waited for too long", reported.broken);
    ensure!(reported.requests > 0, "nothing was answered");
    Ok(Load {
        requests: reported.requests,
        refused: reported.refused,
        seconds: reported.micros / 1e6,
        latency: reported.latency.map(|micros| micros / 1e3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(unexpected: u64, broken: u64) -> String {
        format!(
            "Running 1s test\n  1 threads\ngalo-bench {{\"requests\":1000,\"micros\":2000000,\"refused\":30,\
             \"unexpected\":{unexpected},\"last_unexpected\":503,\"broken\":{broken},\
             \"latency\":[1000,2000,3000,4000,5000,6500]}}\n"
        )
    }

    #[test]
    fn the_line_of_the_script_is_read() {
        let load = parse(&line(0, 0)).unwrap();
        assert_eq!((load.requests, load.refused, load.seconds), (1000, 30, 2.0));
        assert_eq!(load.latency, [1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
    }

    #[test]
    fn what_was_answered_otherwise_makes_a_measurement_invalid() {
        assert!(parse(&line(1, 0)).unwrap_err().to_string().contains("neither 200 nor 422, 503"));
        assert!(parse(&line(0, 1)).unwrap_err().to_string().contains("broke"));
        assert!(parse("Running 1s test\n").is_err());
    }
}
