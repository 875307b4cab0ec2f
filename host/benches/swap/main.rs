//! What swaps cost: the time from a new file to a live generation, requests under a storm of swaps, memory after a
//! thousand of them, and a thousand handlers beside two. `cargo bench --bench swap`; it fails when a goal that
//! BENCHMARKS.md states is missed. `STORM_SECONDS` shortens the storm.
//!
//! It uses the set-up of the tests: a private Postgres, a node in this process, clients on a runtime of their own.

#![expect(clippy::unwrap_used, reason = "a figure that cannot be taken ends the run")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use galo::config::{CacheFolder, Settings};
use galo::develop::build::Profile;
use galo_testing::database::TestDatabase;
use galo_testing::fixture::marked;
use galo_testing::folder::{Guests, handlers};
use galo_testing::http::{Connection, transacao};
use galo_testing::node::{TestNode, settings};
use http::Method;
use tempfile::TempDir;

mod many;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAMES: [&str; 2] = ["transacoes", "extrato"];
const CLIENTS: u64 = 32;
const PHASE: Duration = Duration::from_secs(5);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let missed = runtime.block_on(async {
        let mut missed = Vec::new();
        missed.extend(swap_times().await);
        missed.extend(storm().await);
        missed.extend(memory().await);
        missed.extend(many::handlers().await);
        missed
    });
    runtime.shutdown_background();
    for goal in &missed {
        eprintln!("MISSED: {goal}");
    }
    assert!(missed.is_empty(), "{} goals missed", missed.len());
}

/// A node with the project's handlers in a folder of its own and a cache.
struct Bench {
    database: TestDatabase,
    guests: Guests,
    node: TestNode,
    originals: [Vec<u8>; 2],
    _cache: TempDir,
}

impl Bench {
    async fn start() -> Self {
        let database = TestDatabase::new().await;
        let guests = tokio::task::block_in_place(copied);
        let cache = tempfile::tempdir().unwrap();
        let node = TestNode::with(&database, cached(guests.folder.path(), cache.path())).await;
        let originals = NAMES.map(|name| std::fs::read(guests.folder.path().join(format!("{name}.wasm"))).unwrap());
        Self { database, guests, node, originals, _cache: cache }
    }

    /// Puts a variant of a handler into the folder and waits until it serves.
    async fn swap(&self, handler: usize, mark: u64) -> Duration {
        let component = marked(&self.originals[handler], mark);
        let name = NAMES[handler];
        let next = self.node.generation(name) + 1;
        let begun = Instant::now();
        self.guests.put(name, &component);
        while self.node.generation(name) < next {
            assert!(begun.elapsed() < Duration::from_secs(30), "{name} is not swapped");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        begun.elapsed()
    }
}

fn cached(handlers: &Path, cache: &Path) -> Settings {
    Settings { cache: CacheFolder::Required(cache.join("components")), ..settings(handlers) }
}

/// The project's handlers with their examples, in a folder that may be changed.
fn copied() -> Guests {
    let guests = Guests::new();
    let from = handlers(Profile::Release).join(".");
    assert!(std::process::Command::new("cp").arg("-r").arg(from).arg(guests.folder.path()).status().unwrap().success());
    guests
}

/// From a new file in the folder to live.
async fn swap_times() -> Vec<String> {
    const SWAPS: u64 = 20;
    let bench = Bench::start().await;
    println!("\n| from a new file to live, {SWAPS} swaps each | median | most |\n|---|---|---|");
    let mut missed = Vec::new();
    for (what, goal) in [("compiled", 150), ("compiled form cached", 15)] {
        for (handler, name) in NAMES.iter().enumerate() {
            let mut times = Vec::new();
            // In the second round the same bytes have been compiled before.
            for mark in 0..SWAPS {
                times.push(bench.swap(handler, mark).await);
            }
            times.sort();
            let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
            println!("| {name}, {what} | {} | {} |", ms(median), ms(most));
            if median > Duration::from_millis(goal) {
                missed.push(format!("{name}, {what}: {} is over {goal} ms", ms(median)));
            }
        }
    }
    missed
}

/// What the clients of one phase saw.
#[derive(Default)]
struct Seen {
    micros: Vec<u32>,
    failed: Vec<String>,
}

/// Alternates phases with swaps every 100 ms and phases without, under the contest's mix.
async fn storm() -> Vec<String> {
    let seconds = std::env::var("STORM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let pairs = Duration::from_secs(seconds).as_secs().div_ceil(PHASE.as_secs()).max(1);
    let bench = Bench::start().await;
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // Eight variants are compiled in advance, so that the storm consists of swaps, not of compilations.
    for mark in 0..8 {
        for handler in 0..NAMES.len() {
            bench.swap(handler, mark).await;
        }
    }
    println!(
        "\n| {pairs} × {} s | requests | failed | swaps | p50 | p99 | most |\n|---|---|---|---|---|---|---|",
        PHASE.as_secs()
    );
    let (mut quiet, mut stormy) = (Vec::new(), Vec::new());
    let (mut totals, mut ratios) = ([Seen::default(), Seen::default()], Vec::new());
    let mut swaps = 0;
    for pair in 0..pairs {
        eprintln!("storm: pair {} of {pairs}", pair + 1);
        for storm in [false, true] {
            let stop = Arc::new(AtomicBool::new(false));
            let load =
                (0..CLIENTS).map(|n| clients.spawn(client(bench.node.address(), pair * 1000 + n, Arc::clone(&stop))));
            let load: Vec<_> = load.collect();
            let end = Instant::now() + PHASE;
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            while Instant::now() < end {
                tick.tick().await;
                if storm {
                    swaps += 1;
                    for handler in 0..NAMES.len() {
                        bench.swap(handler, swaps % 8).await;
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
            let total = &mut totals[usize::from(storm)];
            let mut micros = Vec::new();
            for seen in load {
                let seen = seen.await.unwrap();
                micros.extend(seen.micros);
                total.failed.extend(seen.failed);
            }
            let p99 = percentile(&mut micros, 99);
            if storm {
                stormy.push(p99)
            } else {
                quiet.push(p99)
            }
            total.micros.extend(micros);
        }
        ratios.push(f64::from(stormy[stormy.len() - 1]) / f64::from(quiet[quiet.len() - 1]));
    }
    clients.shutdown_background();
    for (what, swaps, total) in [("without", 0, 0), ("swaps every 100 ms", swaps, 1)] {
        let Seen { micros, failed } = &mut totals[total];
        let requests = micros.len();
        let [p50, p99, most] = [50, 99, 100].map(|p| percentile(micros, p));
        println!("| {what} | {requests} | {} | {swaps} of each | {p50} µs | {p99} µs | {most} µs |", failed.len());
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    println!("\np99 with swaps to p99 without, median of {pairs} pairs: {ratio:.2}");
    let failed: Vec<_> = totals.iter().flat_map(|total| &total.failed).collect();
    let violations = bench.database.violations().await;
    let mut missed = Vec::new();
    if !failed.is_empty() {
        missed.push(format!("{} requests failed, the first: {}", failed.len(), failed[0]));
    }
    if ratio > 2.0 {
        missed.push(format!("p99 under the storm is {ratio:.2} times the p99 without"));
    }
    if !violations.is_empty() {
        missed.push(format!("the ledger does not hold: {violations:?}"));
    }
    missed
}

/// One client with the contest's mix, until it is stopped.
async fn client(address: String, seed: u64, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut connection = Connection::open(&address).await;
    let mut n = seed * 7919;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let cliente = 1 + n % 5;
        let begun = Instant::now();
        let answer = match n % 33 {
            0 => connection.send(Method::GET, &format!("/clientes/{cliente}/extrato"), "").await,
            k => {
                let tipo = if k % 3 == 0 { "c" } else { "d" };
                let body = transacao(i64::try_from(n % 97).unwrap() + 1, tipo, "carga");
                connection.send(Method::POST, &format!("/clientes/{cliente}/transacoes"), body).await
            }
        };
        seen.micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        match answer {
            Ok(answer) if [200, 422].contains(&answer.status.as_u16()) => {}
            Ok(answer) => seen.failed.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => seen.failed.push(error.to_string()),
        }
    }
    seen
}

/// The growth of memory over a thousand swaps.
async fn memory() -> Vec<String> {
    const SWAPS: u64 = 1000;
    let bench = Bench::start().await;
    let swap = async |from: u64, to: u64| {
        for mark in from..to {
            // A request on each generation, because its memory image is mapped on first use.
            bench.swap(0, mark % 8).await;
            bench.node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await;
        }
    };
    swap(0, 50).await;
    let before = resident();
    swap(50, 50 + SWAPS).await;
    let after = resident();
    let grown = (after as f64 / before as f64 - 1.0) * 100.0;
    println!("\n{SWAPS} swaps: {} KiB resident before, {} KiB after: {grown:+.1} %", before, after);
    if grown < 10.0 { Vec::new() } else { vec![format!("memory grew by {grown:.1} %")] }
}

/// The resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn percentile(micros: &mut [u32], percent: usize) -> u32 {
    micros.sort_unstable();
    micros[((micros.len() * percent).div_ceil(100)).clamp(1, micros.len()) - 1]
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
