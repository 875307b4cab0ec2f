//! Everything at once: every request is recorded and runs on a shadow too, two handlers are swapped without pause, and
//! the third has one canary after the other, some promoted, some ended by a change of the handlers folder.

use std::cell::Cell;
use std::ffi::OsStr;
use std::time::Duration;

use galo::guest::Digest;
use galo::limits;
use galo::operator::{Access, Shadowing};
use galo::report::{Reason, ShadowState};
use galo_bank::faults::{Stack as _, proved};
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::{swap, verdict};
use tokio::time::{Instant, sleep};

use crate::keyless;
use crate::node::{Node, PATIENCE, POLL_EVERY};
use crate::operator::{self, Deploy, HANDLER};
use crate::postgres::Database;
use crate::stack::{Stack, block_on};

/// Canaries, of which every other one is promoted.
const CANARIES: u32 = 4;

/// Acknowledged while a canary holds its step.
const BETWEEN: u64 = 50;

/// Between two looks at the memory of the nodes.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// How many bytes more a node may have in memory in the last third of the storm than in the second: records that came
/// late, a megabyte for each handler; more instances of the pool, each touched for the first time; and what the
/// allocator keeps, which on two cores was up to 7 MiB. In the first third nearly every page is touched for the first
/// time: up to 27 MiB more in the last, but 8 in a storm of three times the length.
const RESIDENT_MAX: u64 = 24 << 20;

/// How many more it may have mapped: two more generations of each handler.
const MAPPED_MAX: u64 = 10 << 20;

/// Bytes of the component that is swapped, and how often it is at least: a node that kept each generation would have
/// mapped three times [`MAPPED_MAX`].
const HEAVY: u64 = 2 << 20;
const SWAPS_MIN: u64 = 15;

const _: () = assert!(SWAPS_MIN * HEAVY >= 3 * MAPPED_MAX);

/// The handlers of a node: with the one that has no key.
const HANDLERS: usize = 3;

/// The handlers with a shadow.
const SHADOWED: [&str; 2] = [HANDLER, "extrato"];

/// The numbers of components: the swaps count from 1.
const FIRST_CANARY: u32 = 1 << 16;
const FIRST_PUT: u32 = 1 << 17;
const SHADOW: u32 = 1 << 18;

/// What one look at the nodes has found.
struct Sample {
    resident: Vec<u64>,
    mapped: Vec<u64>,
    records: Vec<f64>,
}

pub fn swaps_with_recording_shadows_and_canaries_at_once() {
    block_on(async {
        let mut stack = Stack::with_options(Database::shared().await, &["--record", "1"]).await;
        stack.spared = Some("transacoes.wasm");
        let heavy = keyless::heavy(usize::try_from(HEAVY).unwrap());
        swap::put(stack.handlers(), OsStr::new("somas.wasm"), &heavy).unwrap();
        stack.until_served(&[Digest::of(&heavy).to_string()]).await.unwrap();
        for name in SHADOWED {
            shadow(&stack, name).await;
        }
        let mut samples = Vec::new();
        let storm = async |stack: &mut Stack, progress: &Progress| {
            let (stack, over) = (&*stack, Cell::new(false));
            let storm = async {
                canaries(stack, progress).await;
                stack.until_generation("somas", SWAPS_MIN).await;
                over.set(true);
            };
            (samples, ()) = tokio::join!(watch(&stack.nodes, &over), storm);
            Ok(())
        };
        let history = proved(&mut stack, Mix::default(), storm).await.unwrap();
        verdict::unnoticed(&history).unwrap();
        for node in &stack.nodes {
            everything_took_place(node).await;
        }
        memory_is_bounded(&samples);
    });
}

/// Has the component that a handler serves run beside it, on one request in one.
async fn shadow(stack: &Stack, name: &str) {
    let file = stack.folder.path().join("shadow.wasm");
    let original = std::fs::read(stack.handlers().join(format!("{name}.wasm"))).unwrap();
    std::fs::write(&file, swap::numbered(&original, SHADOW)).unwrap();
    for node in &stack.nodes {
        let access = Access { admin: node.admin_address().parse().unwrap(), token: None };
        let asked = Reason { who: "bank".to_owned(), why: "the same requests, nothing recorded".to_owned() };
        Shadowing::begin(&access, name, &file, (1, Duration::from_secs(600)), asked).await.unwrap();
        let begun = Instant::now();
        while node.handler(name).await.shadow.unwrap().state != ShadowState::Running {
            assert!(begun.elapsed() < PATIENCE, "{:?}", node.handler(name).await.shadow);
            sleep(POLL_EVERY).await;
        }
    }
}

/// Deploys one canary after the other.
async fn canaries(stack: &Stack, progress: &Progress) {
    let original = std::fs::read(stack.handlers().join("transacoes.wasm")).unwrap();
    for number in 0..CANARIES {
        let component = swap::numbered(&original, FIRST_CANARY + number);
        let deploy = Deploy { component: &component, steps: "50%,100%", hold: "60s", differences: "refuse", why: "-" };
        if number % 2 == 0 {
            let ended = Deploy { hold: "1s", ..deploy }.run(stack).await;
            assert!(ended.success && ended.text.contains("transacoes: deployed"), "{}", ended.text);
            continue;
        }
        let command = deploy.start(stack);
        let sha256 = Digest::of(&component).to_string();
        let begun = Instant::now();
        for node in &stack.nodes {
            while node
                .handler(HANDLER)
                .await
                .canary
                .is_none_or(|canary| canary.sha256 != sha256 || canary.compared == 0)
            {
                assert!(begun.elapsed() < PATIENCE, "{:?}", node.handler(HANDLER).await);
                sleep(POLL_EVERY).await;
            }
        }
        progress.until(BETWEEN).await.unwrap();
        let put = swap::numbered(&original, FIRST_PUT + number);
        swap::put(stack.handlers(), OsStr::new("transacoes.wasm"), &put).unwrap();
        let ended = operator::ended(command).await;
        let expected = "it has no canary any more: it was restarted, or its handlers folder was changed";
        assert!(!ended.success && ended.text.contains(expected), "{}", ended.text);
        stack.until_served(&[Digest::of(&put).to_string()]).await.unwrap();
    }
}

/// Looks at the nodes until it is over.
async fn watch(nodes: &[Node], over: &Cell<bool>) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !over.get() {
        let mut sample = Sample { resident: Vec::new(), mapped: Vec::new(), records: Vec::new() };
        for node in nodes {
            sample.resident.push(node.resident());
            sample.mapped.push(node.mapped());
            sample.records.push(node.metric("galo_records_bytes").await);
        }
        samples.push(sample);
        sleep(SAMPLE_EVERY).await;
    }
    samples
}

/// Nothing of it was missed.
async fn everything_took_place(node: &Node) {
    for name in SHADOWED {
        let handler = node.handler(name).await;
        let shadow = handler.shadow.unwrap();
        println!("{name}: generation {}, shadow: {:?}, {} dropped", handler.generation, shadow.counts, shadow.dropped);
        assert_eq!((shadow.state, shadow.counts.differ), (ShadowState::Running, 0));
        assert!(shadow.counts.compared > BETWEEN, "{shadow:?}");
    }
    let kept = node.metric("galo_records_kept_total").await;
    println!("{kept} records kept, {} dropped", node.metric("galo_records_dropped_total").await);
    assert!(kept > 2.0 * BETWEEN as f64);
}

/// The rings of records stay within their bound, and no node grows with the generations that it has served: neither
/// what it has in memory nor what it has mapped, of which it touches a part.
fn memory_is_bounded(samples: &[Sample]) {
    let (early, late) = samples[samples.len() / 3..].split_at(samples.len() / 3);
    for node in 0..samples[0].records.len() {
        let grows = |of: fn(&Sample) -> &Vec<u64>, most: u64, what: &str| {
            let [early, late] =
                [early, late].map(|samples| samples.iter().map(|sample| of(sample)[node]).max().unwrap());
            println!("at most {} KiB {what}, then {} KiB", early / 1024, late / 1024);
            assert!(late <= early + most, "{what}: {early} {late}");
        };
        grows(|sample| &sample.resident, RESIDENT_MAX, "resident");
        grows(|sample| &sample.mapped, MAPPED_MAX, "mapped");
        let records = samples.iter().map(|sample| sample.records[node]).fold(0.0, f64::max);
        println!("at most {records} bytes of records");
        assert!(records > 0.0 && records <= (HANDLERS * limits::RECORDS_BYTES_MAX) as f64, "{records}");
    }
}
