//! `realizar_transacoes`, the batch form of `realizar_transacao`: it returns and records what the single form would for
//! the same calls one after the other, and two batches never deadlock.

use std::sync::Arc;

use futures_util::future::join_all;
use galo_bank::random::Random;
use http::Method;

use crate::harness::{Connection, TestDatabase, TestNode, transacao};

/// A call of either: cliente, valor, tipo, descricao, chave.
type Call = (i32, i64, &'static str, &'static str, Option<String>);

/// A row of the result: resultado, limite, saldo.
type Answer = (String, Option<i64>, Option<i64>);

const CALLS: i32 = 24;
const MOST: i64 = (1 << 53) - 1;

/// Few clients, few keys and amounts near a limit, so that every outcome occurs.
fn call(random: &mut Random) -> Call {
    let mut pick = |below: u64| random.below(below);
    let cliente = [1, 2, 2, 3, 6][usize::try_from(pick(5)).unwrap()];
    let valor = [1, 40_000, 80_000, 100_000, MOST][usize::try_from(pick(5)).unwrap()];
    let tipo = ["c", "d", "d"][usize::try_from(pick(3)).unwrap()];
    let descricao = ["a", "b"][usize::try_from(pick(2)).unwrap()];
    let chave = match pick(3) {
        0 => None,
        1 => Some(format!("c:{}", pick(8))),
        _ => Some(format!("c:{}", pick(1 << 40))),
    };
    (cliente, valor, tipo, descricao, chave)
}

fn answer(row: &tokio_postgres::Row) -> Answer {
    (row.get(0), row.get(1), row.get(2))
}

async fn one_by_one(client: &tokio_postgres::Client, calls: &[Call]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (cliente, valor, tipo, descricao, chave) in calls {
        let sql = "SELECT * FROM realizar_transacao($1, $2, $3, $4, $5)";
        let row = client.query_one(sql, &[cliente, valor, tipo, descricao, chave]).await.unwrap();
        answers.push(answer(&row));
    }
    answers
}

async fn together(client: &tokio_postgres::Client, calls: &[Call]) -> Result<Vec<Answer>, tokio_postgres::Error> {
    let sql = "SELECT resultado, limite, saldo, ordinal FROM realizar_transacoes($1, $2, $3, $4, $5, $6)";
    // Not from 1, and not ascending: each row has the ordinal that its call was given.
    let ordinals: Vec<i32> = (0..calls.len()).map(|n| 100 - i32::try_from(n).unwrap()).collect();
    let clientes: Vec<_> = calls.iter().map(|call| call.0).collect();
    let valores: Vec<_> = calls.iter().map(|call| call.1).collect();
    let tipos: Vec<_> = calls.iter().map(|call| call.2).collect();
    let descricoes: Vec<_> = calls.iter().map(|call| call.3).collect();
    let chaves: Vec<_> = calls.iter().map(|call| call.4.as_deref()).collect();
    let rows = client.query(sql, &[&ordinals, &clientes, &valores, &tipos, &descricoes, &chaves]).await?;
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(3)).collect::<Vec<_>>(), ordinals);
    Ok(rows.iter().map(answer).collect())
}

/// The ledger without its timestamps.
async fn ledger(database: &TestDatabase) -> Vec<String> {
    let sql = "SELECT (t.cliente_id, t.seq, t.valor, t.tipo, t.descricao, t.saldo_apos, t.chave)::text
               FROM rinha.transacoes AS t ORDER BY t.cliente_id, t.seq";
    database.owner().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_returns_what_its_calls_would_one_after_the_other() {
    let (apart, batched) = (TestDatabase::new().await, TestDatabase::new().await);
    let (service_apart, service_batched) = (apart.service().await, batched.service().await);
    let mut random = Random::new(1, 0);
    let mut outcomes = std::collections::BTreeMap::new();
    for round in 0..300 {
        let calls: Vec<_> = (0..=round % CALLS).map(|_| call(&mut random)).collect();
        let (expected, answers) = tokio::join!(one_by_one(&service_apart, &calls), together(&service_batched, &calls));
        let answers = answers.unwrap();
        assert_eq!(answers, expected, "round {round}: {calls:#?}");
        answers.into_iter().for_each(|answer| *outcomes.entry(answer.0).or_insert(0) += 1);
    }
    assert_eq!(ledger(&batched).await, ledger(&apart).await);
    batched.assert_ledger_holds().await;
    let seen: Vec<_> = outcomes.keys().map(String::as_str).collect();
    let all = ["chave_reutilizada", "cliente_inexistente", "limite_excedido", "ok", "saldo_fora_da_faixa"];
    assert_eq!(seen, all, "{outcomes:?}");
    assert!(outcomes.values().all(|times| *times > 20), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_call_fails_the_batch_and_records_nothing() {
    let database = TestDatabase::new().await;
    let service = database.service().await;
    let good: Call = (1, 1, "c", "x", None);
    for bad in [
        (1, 0, "c", "x", None),
        (1, MOST + 1, "c", "x", None),
        (1, 1, "C", "x", None),
        (1, 1, "c", "", None),
        (1, 1, "c", "12345678901", None),
        (1, 1, "c", "x", Some("k".to_owned())),
    ] {
        together(&service, &[good.clone(), bad]).await.unwrap_err();
    }
    for sql in [
        "SELECT realizar_transacoes('{1}', '{1}', '{1,2}', '{c}', '{x}', '{null}')",
        "SELECT realizar_transacoes('{1,2}', '{1,2}', '{1,2}', '{c,c}', '{x,x}', '{null}')",
        "SELECT realizar_transacoes('{1,2}', '{1}', '{1}', '{c}', '{x}', '{null}')",
        "SELECT realizar_transacoes(null, '{1}', '{1}', '{c}', '{x}', '{null}')",
        "SELECT realizar_transacoes('{1}', '{1}', '{null}', '{c}', '{x}', '{null}')",
        "SELECT realizar_transacoes('{1}', '{1}', '{1}', null, '{x}', '{null}')",
    ] {
        service.batch_execute(sql).await.unwrap_err();
    }
    assert_eq!(database.ledger_rows(1).await, 0);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_several_nodes_never_wait_for_each_other_in_a_circle() {
    // Given four sessions that send batches over all clients, each in a different order, and one that sends single
    // calls, when all are under way at once, then Postgres ends none of them for a deadlock.
    let database = Arc::new(TestDatabase::new().await);
    let sessions = (0..4u64).map(async |session| {
        let service = database.service().await;
        let mut random = Random::new(session, 0);
        for round in 0..150 {
            let calls: Vec<_> = (0..12)
                .map(|n| {
                    let cliente = i32::try_from(1 + random.below(5)).unwrap();
                    (cliente, 1, "c", "x", Some(format!("{session}:{round}:{n}")))
                })
                .collect();
            let answers = together(&service, &calls).await.unwrap();
            assert!(answers.iter().all(|answer| answer.0 == "ok"), "{answers:?}");
        }
    });
    let single = async {
        let service = database.service().await;
        for n in 0..600 {
            let answers = one_by_one(&service, &[(1 + n % 5, 1, "d", "x", Some(format!("s:{n}")))]).await;
            assert_eq!(answers[0].0, "ok");
        }
    };
    tokio::join!(join_all(sessions), single);
    let mut rows = 0;
    for cliente in 1..=5 {
        rows += database.ledger_rows(cliente).await;
    }
    assert_eq!(rows, 4 * 150 * 12 + 600);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_two_nodes_go_in_batches_and_each_is_answered_with_its_own_row() {
    let database = TestDatabase::new().await;
    let nodes = [TestNode::start(&database).await, TestNode::start(&database).await];
    let clients = (0..32).map(async |n: usize| {
        let mut connection = Connection::open(&nodes[n % 2].address()).await;
        let path = format!("/clientes/{}/transacoes", 1 + n % 5);
        for round in 0..20 {
            let key = format!("{n}:{round}");
            let mut saldos = Vec::new();
            // Each twice: the second one is answered with the row of the first, whatever went between them.
            for _ in 0..2 {
                let body = transacao(1, "c", "x");
                let headers = [("idempotency-key", &*key)];
                let answer = connection.send_with(Method::POST, &path, &headers, body).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                saldos.push(answer.json()["saldo"].as_i64().unwrap());
            }
            assert_eq!(saldos[0], saldos[1]);
        }
    });
    join_all(clients).await;
    for cliente in 1..=5 {
        let sent = (0..32).filter(|n| n % 5 + 1 == cliente).count() * 20;
        assert_eq!(database.ledger_rows(cliente).await, i64::try_from(sent).unwrap());
    }
    database.assert_ledger_holds().await;
    for node in &nodes {
        let metrics = node.admin("/metrics").await;
        let figure = |name: &str| -> f64 {
            let line = metrics.text().lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(figure("galo_batch_calls_sum") > figure("galo_batch_calls_count"), "no two calls shared a batch");
        assert!(figure("galo_batches_broken_total") == 0.0);
    }
}
