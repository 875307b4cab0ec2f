//! The load generator for Postgres alone: pgbench calls the procedures in the contest's mix, each prepared, with keys
//! of the form that nginx gives them, on as many connections as the pools of two nodes have.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::load::Load;
use crate::programs::Programs;

/// Two pools of eight.
pub const CONNECTIONS: usize = 16;

/// Their weights are those of the contest. The key is made by the server, which costs it under a microsecond: pgbench
/// makes numbers only.
const SCRIPTS: [(&str, &str); 3] = [("debit@220", "d"), ("credit@110", "c"), ("extrato@10", "")];

/// Drives a database.
pub async fn run(programs: &Programs, folder: &Path, url: &str, seconds: u64, seed: u64) -> anyhow::Result<Load> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut command = Command::new(&programs.pgbench);
    command.args(["--no-vacuum", "--protocol", "prepared", "--jobs", "1", "--log", "--log-prefix"]);
    command.arg(folder.path().join("log"));
    command.args(["--client", &CONNECTIONS.to_string(), "--time", &seconds.to_string()]);
    command.args(["--random-seed", &seed.to_string()]);
    for (name, tipo) in SCRIPTS {
        let file = folder.path().join(name);
        fs::write(&file, script(tipo))?;
        // The weight is split off at the last `@`.
        let weight = name.rsplit('@').next().unwrap_or_default();
        command.arg("--file").arg(format!("{}@{weight}", file.display()));
    }
    let output = command
        .arg(url)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run pgbench")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    let mut micros = Vec::new();
    for entry in fs::read_dir(folder.path())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"log.")) {
            micros.extend(latencies(&fs::read_to_string(path)?)?);
        }
    }
    load(&printed, micros)
}

fn script(tipo: &str) -> String {
    if tipo.is_empty() {
        return "\\set cliente random(1, 5)\nSELECT * FROM public.extrato(:cliente::integer);\n".to_owned();
    }
    format!(
        "\\set cliente random(1, 5)\n\\set valor random(1, 10000)\n\
         \\set a random(1152921504606846976, 9223372036854775806)\n\
         \\set b random(1152921504606846976, 9223372036854775806)\n\
         SELECT * FROM public.realizar_transacao(:cliente::integer, :valor::bigint, '{tipo}', 'descricao1', \
         concat('t:', round(extract(epoch FROM clock_timestamp()), 3), '-', to_hex(:a::bigint), to_hex(:b::bigint)));\n"
    )
}

/// The third number of each line of its log.
fn latencies(log: &str) -> anyhow::Result<Vec<f64>> {
    let third = |line: &str| line.split(' ').nth(2).and_then(|text| text.parse().ok());
    log.lines().map(|line| third(line).with_context(|| format!("cannot read {line:?} of pgbench's log"))).collect()
}

fn load(printed: &str, mut micros: Vec<f64>) -> anyhow::Result<Load> {
    let number = |label: &str| -> Option<f64> {
        let line = printed.lines().find_map(|line| line.strip_prefix(label))?;
        line.split_whitespace().next()?.split('/').next()?.parse().ok()
    };
    let tps = number("tps = ").with_context(|| format!("pgbench printed no tps: {printed}"))?;
    let failed = number("number of failed transactions: ").unwrap_or_default();
    ensure!(failed == 0.0, "{failed} transactions failed");
    ensure!(!micros.is_empty(), "the log of pgbench has no transaction");
    micros.sort_by(f64::total_cmp);
    let requests = micros.len();
    let at = |permille: usize| micros[(requests * permille / 1000).min(requests - 1)] / 1e3;
    let requests = u64::try_from(requests)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of transactions is far below 2^52")]
    let seconds = requests as f64 / tps;
    Ok(Load { requests, refused: 0, seconds, latency: [at(500), at(750), at(900), at(990), at(999), at(1000)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_read() {
        let printed = "number of failed transactions: 0 (0.000%)\ntps = 500.5 (without initial connection time)\n";
        let micros = latencies("0 1 1500 0 1 2\n1 1 2500 1 1 2\n").unwrap();
        let load = load(printed, micros).unwrap();
        assert_eq!(load.requests, 2);
        assert!((load.seconds - 2.0 / 500.5).abs() < 1e-9);
        assert_eq!(load.latency, [2.5, 2.5, 2.5, 2.5, 2.5, 2.5]);
    }

    #[test]
    fn a_failed_transaction_makes_it_invalid() {
        let printed = "number of failed transactions: 3 (0.1%)\ntps = 500.5\n";
        assert!(load(printed, vec![1.0]).is_err());
        assert!(load("", vec![1.0]).is_err());
        assert!(latencies("nonsense").is_err());
    }
}
