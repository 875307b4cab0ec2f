//! A hundred thousand POSTs that run on a shadow too, one in one. The shadow plans to record a cent more than the
//! handler, so that a row of its own could be told: there is none.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use galo::operator::{Access, Shadowing};
use galo::report::{Reason, Shadow, ShadowState};
use galo_bank::faults::Stack as _;
use galo_bank::ledger::Ledger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::newcomers::{self, Mistake};
use crate::node::{Node, PATIENCE, POLL_EVERY};
use crate::operator::HANDLER;
use crate::postgres::Database;
use crate::stack::{Stack, block_on};

/// The figure that the shadow must stand.
const POSTS: u64 = 100_000;

/// Connections that send them.
const CLIENTS: u64 = 32;

/// Cents of each: one that the shadow decides otherwise.
const VALOR: i64 = 7;

/// The clientes of the schema.
const CLIENTES: u64 = 5;

/// POSTs that may wait for the shadow: half of its queue, so that none is dropped. It has the lowest priority.
const WAITING_MAX: u64 = galo::limits::SHADOW_QUEUE_MAX as u64 / 2;

/// How far the clients are.
#[derive(Default)]
struct Turns {
    begun: AtomicU64,
    /// The first of them that must wait for the shadow.
    allowed: AtomicU64,
}

pub fn a_hundred_thousand_posts_are_shadowed_and_the_shadow_writes_nothing() {
    block_on(async {
        let stack = Stack::direct(Database::shared().await).await;
        let (node, file) = (&stack.nodes[0], stack.folder.path().join("shadow.wasm"));
        std::fs::write(&file, newcomers::component(Mistake::RecordsACent)).unwrap();
        let access = Access { admin: node.admin_address().parse().unwrap(), token: None };
        let asked = Reason { who: "bank".to_owned(), why: "the same requests, nothing recorded".to_owned() };
        Shadowing::begin(&access, HANDLER, &file, (1, Duration::from_secs(3600)), asked).await.unwrap();
        until(node, |shadow| shadow.state == ShadowState::Running).await;
        let begun = Instant::now();
        let (turns, mut clients) = (Arc::new(Turns::default()), JoinSet::new());
        for _ in 0..CLIENTS {
            clients.spawn(client(node.socket(), Arc::clone(&turns)));
        }
        while compared(&shadow(node).await) < POSTS {
            turns.allowed.store(compared(&shadow(node).await) + WAITING_MAX, Ordering::Relaxed);
            sleep(POLL_EVERY).await;
        }
        let acknowledged: u64 = clients.join_all().await.into_iter().sum();
        println!("{acknowledged} POSTs in {:?}", begun.elapsed());
        let shadow = shadow(node).await;
        assert_eq!((acknowledged, shadow.dropped, shadow.counts.skipped), (POSTS, 0, 0));
        // It ran on each of them, and decided each otherwise.
        assert_eq!((shadow.counts.compared, shadow.counts.differ), (POSTS, POSTS), "{:?}", shadow.counts.paths);
        let ledger = Ledger::read_quiet(&stack.source()).await.unwrap();
        assert_eq!(ledger.violations, Vec::<String>::new());
        let mut rows: BTreeMap<i64, u64> = BTreeMap::new();
        for row in ledger.clientes.values().flat_map(|cliente| &cliente.rows) {
            *rows.entry(row.valor).or_default() += 1;
        }
        assert_eq!(rows, BTreeMap::from([(VALOR, POSTS)]));
    });
}

/// Sends POSTs one after the other as long as there are any, and returns how many were acknowledged.
async fn client(socket: impl AsRef<Path>, turns: Arc<Turns>) -> u64 {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let (mut acknowledged, mut buffer) = (0, vec![0; 4096]);
    loop {
        let turn = turns.begun.fetch_add(1, Ordering::Relaxed);
        if turn >= POSTS {
            return acknowledged;
        }
        while turn >= turns.allowed.load(Ordering::Relaxed) {
            sleep(POLL_EVERY).await;
        }
        let body = format!(r#"{{"valor":{VALOR},"tipo":"c","descricao":"x"}}"#);
        let request = format!(
            "POST /clientes/{}/transacoes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            1 + turn % CLIENTES,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        // A response is one small write of the node.
        let read = stream.read(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..read]);
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with('}'), "{text}");
        acknowledged += 1;
    }
}

async fn shadow(node: &Node) -> Shadow {
    node.handler(HANDLER).await.shadow.unwrap()
}

/// Requests that the shadow is done with.
fn compared(shadow: &Shadow) -> u64 {
    shadow.counts.compared + shadow.counts.skipped + shadow.dropped
}

async fn until(node: &Node, holds: impl Fn(&Shadow) -> bool) {
    let begun = Instant::now();
    while !holds(&shadow(node).await) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", shadow(node).await);
        sleep(POLL_EVERY).await;
    }
}
