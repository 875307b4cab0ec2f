//! Every row of the contract's table, through real HTTP on real Postgres.

use http::Method;

use crate::harness::{Answer, Connection, TestDatabase, TestNode, request, transacao};

struct Api {
    database: TestDatabase,
    node: TestNode,
}

impl Api {
    async fn start() -> Self {
        let database = TestDatabase::new().await;
        let node = TestNode::start(&database).await;
        Self { database, node }
    }

    async fn transacao(&self, cliente: &str, body: impl Into<bytes::Bytes>) -> Answer {
        self.node.post(&format!("/clientes/{cliente}/transacoes"), body).await
    }

    async fn extrato(&self, cliente: &str) -> Answer {
        self.node.get(&format!("/clientes/{cliente}/extrato")).await
    }
}

fn assert_error(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json", "{what}");
    assert!(answer.json()["error"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_and_a_debit_are_answered_with_limit_and_balance() {
    let api = Api::start().await;
    let answer = api.transacao("1", transacao(1000, "c", "descricao")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, r#"{"limite":100000,"saldo":1000}"#));
    assert_eq!(answer.header("content-type"), "application/json");
    let answer = api.transacao("1", transacao(10098, "d", "descricao")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, r#"{"limite":100000,"saldo":-9098}"#));
    api.database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extrato_shows_the_last_ten_newest_first() {
    let api = Api::start().await;
    let empty = api.extrato("2").await.json();
    assert_eq!(empty["saldo"]["total"], 0);
    assert_eq!(empty["saldo"]["limite"], 80000);
    assert_eq!(empty["ultimas_transacoes"], serde_json::json!([]));
    for valor in 1..=12 {
        api.transacao("2", transacao(valor, if valor % 2 == 0 { "d" } else { "c" }, "x")).await;
    }
    let extrato = api.extrato("2").await;
    assert_eq!((extrato.status.as_u16(), extrato.header("content-type")), (200, "application/json"));
    let extrato = extrato.json();
    assert_eq!(extrato["saldo"]["total"], -6);
    let shown = extrato["ultimas_transacoes"].as_array().unwrap();
    let valores: Vec<_> = shown.iter().map(|t| t["valor"].as_i64().unwrap()).collect();
    assert_eq!(valores, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    assert_eq!((&shown[0]["tipo"], &shown[1]["tipo"]), (&"d".into(), &"c".into()));
    let moment = extrato["saldo"]["data_extrato"].as_str().unwrap();
    assert_eq!(moment.len(), "2024-01-17T02:34:41.217753Z".len(), "{moment}");
    assert!(moment.ends_with('Z') && shown[0]["realizada_em"].as_str().unwrap() <= moment);
    api.database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_exist_is_404_even_with_a_bad_body() {
    let api = Api::start().await;
    for cliente in ["6", "0", "abc", "1.0", "-1", "+1", "01", "99999999999999999999", "2147483648", "%31x"] {
        assert_error(&api.transacao(cliente, transacao(1, "c", "x")).await, 404, cliente);
        assert_error(&api.transacao(cliente, "{").await, 404, cliente);
        assert_error(&api.extrato(cliente).await, 404, cliente);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_an_object_is_422() {
    let api = Api::start().await;
    let good = transacao(1, "c", "x");
    let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
    for body in [
        "",
        "x",
        "1",
        "null",
        "[]",
        "\"\"",
        &good[..good.len() - 1],
        &format!("{good} x"),
        &format!("{good}{{}}"),
        &deep,
    ] {
        assert_error(&api.transacao("1", body.to_owned()).await, 422, body);
    }
    assert_error(&api.transacao("1", &b"{\"valor\":1,\"tipo\":\"c\",\"descricao\":\"\xff\"}"[..]).await, 422, "UTF-8");
    assert_eq!(api.database.ledger_rows(1).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_missing_or_wrong_is_422() {
    let api = Api::start().await;
    let object = |valor: &str, tipo: &str, descricao: &str| {
        format!(r#"{{"valor": {valor}, "tipo": {tipo}, "descricao": {descricao}}}"#)
    };
    let mut bodies = vec![
        r#"{"tipo": "c", "descricao": "x"}"#.to_owned(),
        r#"{"valor": 1, "descricao": "x"}"#.to_owned(),
        r#"{"valor": 1, "tipo": "c"}"#.to_owned(),
        r#"{"valor": 1, "valor": 1, "tipo": "c", "descricao": "x"}"#.to_owned(),
        r#"{"valor": 1, "tipo": "c", "tipo": "d", "descricao": "x"}"#.to_owned(),
    ];
    for valor in ["null", "\"1\"", "1.2", "1.0", "1e2", "true", "0", "-1", "9007199254740992", "[1]", "{}"] {
        bodies.push(object(valor, r#""c""#, r#""x""#));
    }
    for tipo in ["null", "1", r#""x""#, r#""C""#, r#""""#, r#""cd""#, r#"["c"]"#] {
        bodies.push(object("1", tipo, r#""x""#));
    }
    for descricao in
        ["null", "1", r#""""#, r#""12345678901""#, r#""123456789 e mais um pouco""#, r#""a\u0000b""#, r#""\ud800""#]
    {
        bodies.push(object("1", r#""c""#, descricao));
    }
    for body in bodies {
        assert_error(&api.transacao("1", body.clone()).await, 422, &body);
    }
    assert_eq!(api.database.ledger_rows(1).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_but_allowed_bodies_are_200() {
    let api = Api::start().await;
    for (descricao, shown) in
        [("çãoçãoçãoç", "çãoçãoçãoç"), ("  a  ", "  a  "), (r"\u00e7\ud83d\ude00", "ç😀"), (r#"\"\\"#, "\"\\")]
    {
        let body = format!(
            r#" {{"extra": {{"a": [1, {{"valor": 2}}]}}, "valor": 1, "tipo": "c", "descricao": "{descricao}", "x": null}} "#
        );
        assert_eq!(api.transacao("5", body).await.status, 200, "{descricao}");
        assert_eq!(api.extrato("5").await.json()["ultimas_transacoes"][0]["descricao"], shown);
    }
    api.database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_never_passes_the_limit_and_may_land_on_it() {
    let api = Api::start().await;
    assert_error(&api.transacao("2", transacao(80_001, "d", "x")).await, 422, "one cent beyond");
    assert_eq!(api.database.ledger_rows(2).await, 0);
    let answer = api.transacao("2", transacao(80_000, "d", "x")).await;
    assert_eq!(answer.text(), r#"{"limite":80000,"saldo":-80000}"#);
    assert_error(&api.transacao("2", transacao(1, "d", "x")).await, 422, "on the limit");
    assert_eq!(api.database.ledger_rows(2).await, 1);
    api.database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_stays_within_what_json_can_hold() {
    let api = Api::start().await;
    let most = (1i64 << 53) - 1;
    assert_eq!(api.transacao("3", transacao(most, "c", "x")).await.json()["saldo"], most);
    assert_error(&api.transacao("3", transacao(1, "c", "x")).await, 422, "beyond 2^53-1");
    assert_eq!(api.transacao("3", transacao(most, "d", "x")).await.json()["saldo"], 0);
    assert_eq!(api.database.ledger_rows(3).await, 2);
    api.database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_are_404_and_other_methods_405_with_allow() {
    let api = Api::start().await;
    for path in ["/", "/clientes", "/clientes/1", "/clientes/1/extrato/", "/clientes//extrato", "/x"] {
        assert_error(&api.node.get(path).await, 404, path);
    }
    for (method, path, allow) in [
        (Method::DELETE, "/clientes/1/extrato", "GET, HEAD, OPTIONS"),
        (Method::POST, "/clientes/1/extrato", "GET, HEAD, OPTIONS"),
        (Method::GET, "/clientes/1/transacoes", "POST, OPTIONS"),
    ] {
        let answer = request(&api.node.address(), method, path, "").await;
        assert_error(&answer, 405, path);
        assert_eq!(answer.header("allow"), allow);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_is_413() {
    let api = Api::start().await;
    let good = transacao(1, "c", "x");
    let padded = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
    assert_eq!(api.transacao("1", padded(8192)).await.status, 200);
    assert_error(&api.transacao("1", padded(8193)).await, 413, "one byte too long");
    assert_eq!(api.database.ledger_rows(1).await, 1);
    api.database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contests_validation_holds() {
    let api = Api::start().await;
    for (cliente, limite) in [("1", 100_000), ("2", 80_000), ("3", 1_000_000), ("4", 10_000_000), ("5", 500_000)] {
        let empty = api.extrato(cliente).await.json();
        assert_eq!((empty["saldo"]["limite"].as_i64(), empty["saldo"]["total"].as_i64()), (Some(limite), Some(0)));
        api.transacao(cliente, transacao(1, "c", "toma")).await;
        api.transacao(cliente, transacao(1, "d", "devolve")).await;
        let extrato = api.extrato(cliente).await.json();
        let shown = extrato["ultimas_transacoes"].as_array().unwrap();
        assert_eq!(
            (&shown[0]["descricao"], &shown[0]["tipo"], &shown[0]["valor"]),
            (&"devolve".into(), &"d".into(), &1.into())
        );
        assert_eq!(
            (&shown[1]["descricao"], &shown[1]["tipo"], &shown[1]["valor"]),
            (&"toma".into(), &"c".into(), &1.into())
        );
        let answer = api.transacao(cliente, transacao(1, "c", "danada")).await.json();
        let path = format!("/clientes/{cliente}/extrato");
        for extrato in futures_util::future::join_all((0..4).map(|_| api.node.get(&path))).await {
            let extrato = extrato.json();
            assert_eq!(extrato["ultimas_transacoes"][0]["descricao"], "danada");
            assert_eq!(
                (&extrato["saldo"]["total"], &extrato["saldo"]["limite"]),
                (&answer["saldo"], &answer["limite"])
            );
        }
    }
    api.database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_between_requests() {
    let api = Api::start().await;
    let mut connection = Connection::open(&api.node.address()).await;
    for _ in 0..3 {
        assert_eq!(connection.send(Method::GET, "/clientes/1/extrato", "").await.unwrap().status, 200);
    }
    assert_eq!(api.node.running.node.metrics.connections.get(), 1);
}
