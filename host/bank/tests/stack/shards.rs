//! Two shards and a router in place of the one Postgres, as `deploy/shards/README.md` brings them up.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use galo_bank::compose::{Compose, docker};
use serde_json::Value;

use crate::stack::{Stack, until};
use crate::variants::confined;

/// The clientes of each shard, by Postgres's hash of their ids.
const SHARDS: [(&str, &[i32]); 2] = [("shard-0", &[1, 2, 5]), ("shard-1", &[3, 4])];

/// How an administrator connects to them.
const URLS: [&str; 2] =
    ["host=/run/shard-0 dbname=rinha user=postgres", "host=/run/shard-1 dbname=rinha user=postgres"];

/// How often each cliente is asked while a shard is down: several times through each node.
const ASKED: usize = 6;

pub fn each_client_is_on_its_shard_and_outlives_it(compose: &Compose) {
    let stack = Stack::prepare(&compose.with(&["shards/compose.yaml"]));
    stack.bring_up();
    confined(&stack, &["nginx", "node-1", "node-2", "postgres", "shard-0", "shard-1"]);
    let begun = started(&stack);
    stack.until_all_serve(&["node-1", "node-2"]);
    each_client_is_served_and_refused(&stack);
    each_client_is_on_its_shard(&stack);
    only_the_clients_of_a_killed_shard_wait(&stack);
    the_router_comes_back(&stack);
    assert_eq!(started(&stack), begun, "a node was restarted");
    set_up_is_repeated(&stack);
}

/// The contract's answers from both shards: granted, refused by the ledger, and repeated.
fn each_client_is_served_and_refused(stack: &Stack) {
    for (shard, clientes) in SHARDS {
        for &cliente in clientes {
            let before = stack.saldo(cliente).unwrap();
            let post = |key: &str, body: &str| stack.post_of(cliente, &[("Idempotency-Key", key)], body);
            let credit = r#"{"valor":7,"tipo":"c","descricao":"shards"}"#;
            let first = post("once", credit);
            assert_eq!(first.0, 200, "{cliente} of {shard}: {}", first.1);
            assert_eq!(post("once", credit), first, "{cliente} of {shard}");
            assert_eq!(post("once", r#"{"valor":8,"tipo":"c","descricao":"shards"}"#).0, 422, "{cliente} of {shard}");
            assert_eq!(post("limit", r#"{"valor":10000100,"tipo":"d","descricao":"shards"}"#).0, 422, "{cliente}");
            assert_eq!(stack.saldo(cliente).unwrap(), before + 7, "{cliente} of {shard}");
        }
    }
    assert_eq!(stack.post_of(6, &[], r#"{"valor":7,"tipo":"c","descricao":"shards"}"#).0, 404);
}

/// Looked up in the shards themselves, and by the proof that README.md has, which exchanged shards do not pass.
fn each_client_is_on_its_shard(stack: &Stack) {
    for (shard, clientes) in SHARDS {
        let expected = clientes.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        for ids in [
            "string_agg(id::text, ',' ORDER BY id) FROM rinha.clientes",
            "string_agg(DISTINCT cliente_id::text, ',') FROM rinha.transacoes",
        ] {
            assert_eq!(stack.sql_of(shard, &format!("SELECT {ids}")), expected, "{shard}");
        }
    }
    // The router has stubs, and no table.
    assert_eq!(stack.sql("SELECT to_regclass('rinha.clientes') IS NULL"), "t");
    let proved = proof(stack, URLS).unwrap();
    assert!(proved.contains("all proofs hold"), "{proved}");
    let [first, second] = URLS;
    let refused = format!("{:#}", proof(stack, [second, first]).unwrap_err());
    assert!(refused.contains("violations"), "{refused}");
}

fn only_the_clients_of_a_killed_shard_wait(stack: &Stack) {
    let [(_, others), (shard, waiting)] = SHARDS;
    let before = waiting.iter().map(|cliente| stack.saldo(*cliente).unwrap()).collect::<Vec<_>>();
    docker(&["kill", &stack.container(shard)]).unwrap();
    for _ in 0..ASKED {
        for &cliente in others {
            assert_eq!(status(&credit(stack, cliente)), 200, "{cliente}");
            stack.saldo(cliente).unwrap();
        }
        for &cliente in waiting {
            let refused = credit(stack, cliente);
            assert!(status(&refused) == 503 && refused.contains("{\"error\":"), "{cliente}: {refused}");
            assert!(refused.to_ascii_lowercase().contains("\r\nretry-after: "), "{cliente}: {refused}");
            assert!(stack.saldo(cliente).is_err(), "{cliente}");
        }
    }
    stack.compose.run(&["start", shard]).unwrap();
    for (&cliente, before) in waiting.iter().zip(before) {
        until(&format!("{cliente} is served again"), || stack.saldo(cliente).is_ok());
        // What was refused is not recorded.
        assert_eq!(stack.saldo(cliente).unwrap(), before, "{cliente}");
        until(&format!("{cliente} is credited again"), || status(&credit(stack, cliente)) == 200);
    }
}

fn the_router_comes_back(stack: &Stack) {
    stack.compose.run(&["stop", "postgres"]).unwrap();
    for (_, clientes) in SHARDS {
        for &cliente in clientes {
            let refused = credit(stack, cliente);
            assert_eq!(status(&refused), 503, "{cliente}: {refused}");
        }
    }
    stack.compose.run(&["start", "postgres"]).unwrap();
    for cliente in SHARDS.iter().flat_map(|(_, clientes)| *clientes) {
        until(&format!("{cliente} is credited again"), || status(&credit(stack, *cliente)) == 200);
    }
}

/// Set-up again, which is how the stack is updated; shards in another order are refused and change nothing.
fn set_up_is_repeated(stack: &Stack) {
    let [first, second] = URLS;
    let exchanged = format!("SHARDS={second}\n{first}");
    let refused = stack.compose.run(&["run", "--rm", "-T", "-e", &exchanged, "migrate"]).unwrap_err();
    assert!(format!("{refused:#}").contains("are lines of SHARDS exchanged?"), "{refused:#}");
    let printed = stack.compose.run(&["run", "--rm", "-T", "migrate"]).unwrap();
    assert!(printed.contains("done: 2 shards, 1 routers"), "{printed}");
    for cliente in SHARDS.iter().flat_map(|(_, clientes)| *clientes) {
        assert_eq!(status(&credit(stack, *cliente)), 200, "{cliente}");
    }
    let proved = proof(stack, URLS).unwrap();
    assert!(proved.contains("all proofs hold"), "{proved}");
}

/// The proofs of the ledger, on each shard and across them.
fn proof(stack: &Stack, [first, second]: [&str; 2]) -> anyhow::Result<String> {
    let run = ["run", "--rm", "-T", "--entrypoint", "galo", "migrate", "check", "--sql", "/checkout/sql/check"];
    stack.compose.run(&[&run[..], &["--shard", first, "--shard", second]].concat())
}

/// Credits a cent through nginx, and returns the whole answer.
fn credit(stack: &Stack, cliente: i32) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", stack.compose.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let body = r#"{"valor":1,"tipo":"c","descricao":"shards"}"#;
    let head = format!("POST /clientes/{cliente}/transacoes HTTP/1.1\r\nHost: shards\r\nConnection: close");
    write!(stream, "{head}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

fn started(stack: &Stack) -> [Value; 2] {
    ["node-1", "node-2"].map(|node| stack.inspect(node)["State"]["StartedAt"].clone())
}
