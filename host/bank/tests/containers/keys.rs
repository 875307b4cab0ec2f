//! Keys on their way through nginx, a node, a handler and into the ledger. The rules themselves are tested with one
//! node (`host/tests/it/idempotency.rs`); this is that nothing on the way changes a key.

use galo_bank::client::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::stack::Stack;

const KEY: &str = "Idempotency-Key";

/// Of no other test, and far from its limit: the load of the faults shares the ledger.
const CLIENTE: i32 = 4;

fn body(valor: i64, descricao: &str) -> String {
    json!({"valor": valor, "tipo": "c", "descricao": descricao}).to_string()
}

async fn post(client: &mut Client, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let (status, body) = client.post(CLIENTE, headers, body).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Rows of the ledger with this descricao.
async fn rows(stack: &Stack, descricao: &str) -> usize {
    let ledger = stack.ledger().await;
    assert_eq!(ledger.violations, [""; 0]);
    ledger.clientes[&CLIENTE].rows.iter().filter(|row| row.descricao == descricao).count()
}

pub fn the_same_key_gets_the_stored_answer(stack: &mut Stack) {
    stack.block_on(async {
        let client = &mut stack.client();
        let first = post(client, &[(KEY, "stored-1")], &body(10, "stored")).await;
        assert_eq!(first.0, 200, "{}", first.1);
        assert_eq!(post(client, &[], &body(1, "between")).await.0, 200);
        // nginx turns to the nodes in turn, so this asks both.
        for key in ["stored-1", "\"stored-1\"", "stored-1", "\"stored-1\""] {
            assert_eq!(post(client, &[(KEY, key)], &body(10, "stored")).await, first, "{key}");
        }
        assert_eq!(rows(stack, "stored").await, 1);
    });
}

pub fn another_payload_under_a_key_is_refused(stack: &mut Stack) {
    stack.block_on(async {
        let client = &mut stack.client();
        assert_eq!(post(client, &[(KEY, "other-1")], &body(10, "other")).await.0, 200);
        for key in ["other-1", "\"other-1\""] {
            assert_eq!(post(client, &[(KEY, key)], &body(11, "other")).await.0, 422, "{key}");
        }
        assert_eq!(rows(stack, "other").await, 1);
    });
}

pub fn a_malformed_key_is_refused(stack: &mut Stack) {
    stack.block_on(async {
        let client = &mut stack.client();
        let [fits, long] = [255, 256].map(|bytes| "k".repeat(bytes));
        let malformed = ["", "\"\"", "\"", "\"a", "a\"", "\"a\" b", "\"a\\b\"", "a\tb", "ç", &long];
        let mut headers: Vec<Vec<_>> = malformed.iter().map(|key| vec![(KEY, *key)]).collect();
        headers.push(vec![(KEY, "a"), (KEY, "a")]);
        for headers in &headers {
            let (status, answer) = post(client, headers, &body(10, "malformed")).await;
            assert_eq!(status, 400, "{headers:?}: {answer}");
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert!(answer["error"].as_str().unwrap().starts_with(KEY), "{answer}");
        }
        assert_eq!(rows(stack, "malformed").await, 0);
        assert_eq!(post(client, &[(KEY, &fits)], &body(10, "fits")).await.0, 200);
        assert_eq!(rows(stack, "fits").await, 1);
    });
}

pub fn a_key_that_is_sent_many_times_at_once(stack: &mut Stack) {
    stack.block_on(async {
        let mut posts = JoinSet::new();
        for _ in 0..20 {
            let mut client = stack.client();
            posts.spawn(async move { post(&mut client, &[(KEY, "at-once-1")], &body(10, "at once")).await });
        }
        let mut answers = posts.join_all().await;
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0].0, 200, "{answers:?}");
        assert_eq!(rows(stack, "at once").await, 1);
    });
}

pub fn an_id_of_a_client_is_no_key(stack: &mut Stack) {
    stack.block_on(async {
        let client = &mut stack.client();
        for header in ["X-Request-Id", "X-Request-Id", "Galo-Try", "Galo-Try"] {
            assert_eq!(post(client, &[(header, "mine-1")], &body(10, "mine")).await.0, 200);
        }
        assert_eq!(rows(stack, "mine").await, 4);
    });
}
