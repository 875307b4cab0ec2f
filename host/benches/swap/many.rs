//! A thousand handlers beside two.

use std::time::Instant;

use galo_testing::fixture::marked;
use galo_testing::http::Connection;
use galo_testing::node::TestNode;
use http::Method;

use crate::{Bench, NAMES, cached, copied, percentile, resident};

const MANY: usize = 1000;

/// A thousand handlers: time to ready, memory, and what a request costs beside a node with two.
pub(crate) async fn handlers() -> Vec<String> {
    let few = Bench::start().await;
    let guests = tokio::task::block_in_place(copied);
    let component = &few.originals[1];
    let mut manifest = guests.manifest();
    for n in 0..MANY - NAMES.len() {
        guests.put(&format!("h{n}"), &marked(component, n as u64));
        manifest += &format!(
            "[[handler]]\nname = \"h{n}\"\ncomponent = \"h{n}.wasm\"\nroute = \"GET /h{n}/{{id}}\"\nprocedures = [\"extrato\"]\n"
        );
    }
    guests.put_file("galo.toml", manifest.as_bytes());
    let cache = tempfile::tempdir().unwrap();
    println!("\n| {MANY} handlers | ready after | resident, more than before | for each |\n|---|---|---|---|");
    let mut node = None;
    for what in ["compiled", "compiled forms cached"] {
        if let Some(node) = node.take() {
            let _: TestNode = node;
            node.stop().await;
        }
        eprintln!("{MANY} handlers, {what}");
        let (before, begun) = (resident(), Instant::now());
        node = Some(TestNode::with(&few.database, cached(guests.folder.path(), cache.path())).await);
        let ready = begun.elapsed();
        let more = resident().saturating_sub(before);
        println!("| {what} | {:.1} s | {} KiB | {} KiB |", ready.as_secs_f64(), more, more / MANY as u64);
    }
    let many = node.unwrap();
    // Alternately, on one connection each.
    let (mut connection, mut beside) =
        (Connection::open(&few.node.address()).await, Connection::open(&many.address()).await);
    let mut micros = [const { Vec::new() }; 3];
    for round in 0..20_000_usize {
        let other = format!("/h{}/1", round % (MANY - NAMES.len()));
        let same = "/clientes/1/extrato";
        for (index, path) in [same, same, other.as_str()].into_iter().enumerate() {
            let connection = if index == 0 { &mut connection } else { &mut beside };
            let begun = Instant::now();
            assert_eq!(connection.send(Method::GET, path, "").await.unwrap().status, 200);
            micros[index].push(u32::try_from(begun.elapsed().as_micros()).unwrap());
        }
    }
    println!("\n| one connection, 20,000 requests each, in turn | p50 | p99 |\n|---|---|---|");
    let p50 = micros.each_mut().map(|micros| percentile(micros, 50));
    let p99 = micros.each_mut().map(|micros| percentile(micros, 99));
    for (index, what) in
        ["extrato beside 1 other", "extrato beside 999 others", "each of 1,000 in its turn"].iter().enumerate()
    {
        println!("| {what} | {} µs | {} µs |", p50[index], p99[index]);
    }
    let ratio = f64::from(p50[1]) / f64::from(p50[0]);
    match ratio < 1.1 {
        true => Vec::new(),
        false => vec![format!("a request beside 999 other handlers costs {ratio:.2} times one beside another")],
    }
}
