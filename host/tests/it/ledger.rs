//! Money: what concurrency must not corrupt, and what the service's role may not do at all.

use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::join_all;
use galo::database;
use http::Method;

use crate::harness::{Connection, TestDatabase, TestNode, checkout, transacao};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_five_debits_at_once_as_the_very_first_requests_are_all_200() {
    // Given a node that has just become ready, when 25 clients debit at once, then all succeed and the sum is right.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    for (tipo, total) in [("d", -25), ("c", 0)] {
        let body = transacao(1, tipo, "validacao");
        let answers = join_all((0..25).map(|_| node.post("/clientes/1/transacoes", body.clone()))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        assert_eq!(node.get("/clientes/1/extrato").await.json()["saldo"]["total"], total);
    }
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_on_one_client_leave_a_correct_ledger() {
    // Given 64 connections, when each makes 20 debits and credits on client 2, then every 200 is one row, every 422
    // none, and the chain of balances holds. The limit of 80000 is reached, so that both answers occur.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let (accepted, refused, balance) = (AtomicI64::new(0), AtomicI64::new(0), AtomicI64::new(0));
    let address = node.address();
    join_all((0..64).map(async |writer: i64| {
        let mut connection = Connection::open(&address).await;
        for turn in 0..20 {
            let (tipo, sign) = if (writer + turn) % 3 == 0 { ("c", 1) } else { ("d", -1) };
            let valor = 100 + writer * 7 + turn;
            let body = transacao(valor, tipo, "x");
            let answer = connection.send(Method::POST, "/clientes/2/transacoes", body).await.unwrap();
            match answer.status.as_u16() {
                200 => {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    balance.fetch_add(sign * valor, Ordering::Relaxed);
                    assert!(answer.json()["saldo"].as_i64().unwrap() >= -80_000);
                }
                422 => {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                other => panic!("{other}: {}", answer.text()),
            }
        }
    }))
    .await;
    let (accepted, refused) = (accepted.into_inner(), refused.into_inner());
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    assert_eq!(database.ledger_rows(2).await, accepted);
    assert_eq!(node.get("/clientes/2/extrato").await.json()["saldo"]["total"], balance.into_inner());
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_the_ledger_reports_what_is_wrong() {
    // The check at the end of all these tests can fail: it detects money from nowhere and a missing row.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    for _ in 0..3 {
        node.post("/clientes/1/transacoes", transacao(5, "c", "x")).await;
    }
    database.assert_ledger_holds().await;
    database.execute("UPDATE rinha.clientes SET saldo = saldo + 1 WHERE id = 1").await;
    assert!(!database.violations().await.is_empty());
    database.execute("UPDATE rinha.clientes SET saldo = saldo - 1 WHERE id = 1").await;
    database.assert_ledger_holds().await;
    database.execute("DELETE FROM rinha.transacoes WHERE cliente_id = 1 AND seq = 2").await;
    assert!(!database.violations().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_the_ledger_reports_a_key_that_is_there_twice() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    for cliente in [1, 1, 2] {
        node.post(&format!("/clientes/{cliente}/transacoes"), transacao(5, "c", "x")).await;
    }
    // Rows without a key, and the same key at another client, are not violations.
    database.execute("UPDATE rinha.transacoes SET chave = 'c:a' WHERE seq = 1").await;
    database.assert_ledger_holds().await;
    database
        .execute(
            "ALTER TABLE rinha.transacoes DROP CONSTRAINT chave_uma_vez;
             UPDATE rinha.transacoes SET chave = 'c:a'",
        )
        .await;
    assert_eq!(database.violations().await, ["key twice 1 2 chave 'c:a' is that of seq 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_role_may_execute_the_procedures_and_nothing_else() {
    let database = TestDatabase::new().await;
    // Rights on the database itself are not copied from a template: `sql/procedures/` is applied to a copy again.
    database::apply(&database.owner_target(), &checkout().sql()).await.unwrap();
    let service = database.service().await;
    service.query("SELECT * FROM realizar_transacao(1, 10, 'c', 'x')", &[]).await.unwrap();
    service.query("SELECT * FROM extrato(1)", &[]).await.unwrap();
    for sql in [
        "SELECT * FROM rinha.clientes",
        "SELECT * FROM rinha.transacoes",
        "INSERT INTO rinha.clientes DEFAULT VALUES",
        "UPDATE rinha.clientes SET saldo = 1",
        "DELETE FROM rinha.transacoes",
        "TRUNCATE rinha.transacoes",
        "CREATE TABLE public.t (x int)",
        "CREATE TEMP TABLE t (x int)",
        "CREATE TABLE rinha.t (x int)",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SET ROLE rinha_owner",
    ] {
        let error = service.batch_execute(sql).await.expect_err(sql);
        let code = error.code().unwrap().code();
        assert_eq!(code, "42501", "{sql}: insufficient_privilege expected, {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_answer_is_never_an_exception() {
    let database = TestDatabase::new().await;
    let service = database.service().await;
    for (cliente, valor, tipo, chave, resultado) in [
        (1, 1i64, "c", Some("c:a"), "ok"),
        (1, 1, "c", Some("c:a"), "ok"),
        (1, 2, "c", Some("c:a"), "chave_reutilizada"),
        (1, 100_002, "d", None, "limite_excedido"),
        (6, 1, "c", Some("c:a"), "cliente_inexistente"),
        (1, (1i64 << 53) - 1, "c", None, "saldo_fora_da_faixa"),
    ] {
        let sql = "SELECT resultado FROM realizar_transacao($1, $2, $3, 'x', $4)";
        let row = service.query_one(sql, &[&cliente, &valor, &tipo, &chave]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), resultado);
    }
    database.assert_ledger_holds().await;
}
