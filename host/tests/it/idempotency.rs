//! Exactly once: a transaction that is sent again under its key is recorded once and gets its first answer, however the
//! repetition arrives.

use std::pin::pin;

use futures_util::future::join_all;
use galo::config::{Address, Proxy, Settings};
use galo::database;
use galo::develop::build::Profile;
use http::Method;

use crate::harness::{
    Answer, Connection, Guests, TestDatabase, TestNode, checkout, handlers, scratch, settings, transacao,
};

const KEY: &str = "idempotency-key";
const TRY: &str = "galo-try";
const ID: &str = "x-request-id";

struct Ledger {
    database: TestDatabase,
    node: TestNode,
}

impl Ledger {
    async fn start() -> Self {
        let database = TestDatabase::new().await;
        let node = TestNode::start(&database).await;
        Self { database, node }
    }

    /// Behind a proxy that the operator trusts.
    async fn start_behind_a_proxy() -> Self {
        let database = TestDatabase::new().await;
        let settings = Settings { proxy: Some(Proxy::Trusted), ..settings(handlers(Profile::Release)) };
        let node = TestNode::with(&database, settings).await;
        Self { database, node }
    }

    /// On a new connection.
    async fn post(&self, cliente: i32, headers: &[(&str, &str)], body: String) -> Answer {
        let path = format!("/clientes/{cliente}/transacoes");
        Connection::open(&self.node.address()).await.send_with(Method::POST, &path, headers, body).await.unwrap()
    }

    async fn with_key(&self, cliente: i32, key: &str, body: String) -> Answer {
        self.post(cliente, &[(KEY, key)], body).await
    }

    /// The answer to a try of client 2 under `a`, which must wait for the client's row until `end` has completed.
    async fn beside(&self, body: String, end: impl AsyncFnOnce()) -> Answer {
        let mut second = pin!(self.with_key(2, "a", body));
        tokio::select! {
            answer = &mut second => panic!("it was answered without waiting: {} {}", answer.status, answer.text()),
            () = self.database.until_a_call_waits_for_a_lock() => end().await,
        }
        second.await
    }

    async fn assert_rows(&self, cliente: i32, rows: i64) {
        assert_eq!(self.database.ledger_rows(cliente).await, rows);
        self.database.assert_ledger_holds().await;
    }

    /// The client's row in `clientes`, to the byte: a repetition must not even change the time.
    async fn row(&self, cliente: i32) -> String {
        let sql = "SELECT c::text FROM rinha.clientes AS c WHERE id = $1";
        self.database.owner().await.query_one(sql, &[&cliente]).await.unwrap().get(0)
    }
}

#[track_caller]
fn assert_ok(answer: &Answer, limite: i64, saldo: i64) {
    let body = format!(r#"{{"limite":{limite},"saldo":{saldo}}}"#);
    assert_eq!((answer.status.as_u16(), answer.text()), (200, &*body));
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (status, Some(error)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_again_is_answered_as_the_first_time_and_recorded_once() {
    // Given a credit under a key and other transactions after it, when it is sent again, on the same connection or
    // another, with its key quoted or not, then the answer is the first one and nothing changes.
    let ledger = Ledger::start().await;
    let mut connection = Connection::open(&ledger.node.address()).await;
    let path = "/clientes/1/transacoes";
    let body = transacao(1000, "c", "toma");
    let first = connection.send_with(Method::POST, path, &[(KEY, r#"a "b\c"#)], body.clone()).await.unwrap();
    assert_eq!(first.status, 400, "a quote inside a bare key");
    let first = connection.send_with(Method::POST, path, &[(KEY, r"a b\c")], body.clone()).await.unwrap();
    assert_ok(&first, 100_000, 1000);
    for valor in 1..=3 {
        ledger.with_key(1, &format!("other-{valor}"), transacao(valor, "d", "x")).await;
    }
    let before = ledger.row(1).await;
    for key in [r"a b\c", r#""a b\\c""#] {
        let again = connection.send_with(Method::POST, path, &[(KEY, key)], body.clone()).await.unwrap();
        assert_ok(&again, 100_000, 1000);
        assert_ok(&ledger.with_key(1, key, body.clone()).await, 100_000, 1000);
    }
    assert_eq!(ledger.row(1).await, before);
    ledger.assert_rows(1, 4).await;
    // The ledger continues from where it was.
    assert_ok(&ledger.with_key(1, "next", transacao(1, "c", "x")).await, 100_000, 995);
    ledger.assert_rows(1, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_transaction_is_422() {
    let ledger = Ledger::start().await;
    ledger.with_key(1, "a", transacao(1000, "c", "toma")).await;
    let before = ledger.row(1).await;
    for (valor, tipo, descricao) in [
        (1001, "c", "toma"),
        (1000, "d", "toma"),
        (1000, "c", "tomb"),
        (1000, "c", "toma "),
        // This would be refused without the key as well: the key conflict is reported first.
        (1_000_000, "d", "toma"),
    ] {
        let answer = ledger.with_key(1, "a", transacao(valor, tipo, descricao)).await;
        assert_error(&answer, 422, "a chave de idempotência já foi usada em outra transação");
    }
    assert_eq!(ledger.row(1).await, before);
    assert_ok(&ledger.with_key(1, "a", transacao(1000, "c", "toma")).await, 100_000, 1000);
    ledger.assert_rows(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_client() {
    let ledger = Ledger::start().await;
    for (cliente, limite, valor) in [(1, 100_000, 10), (2, 80_000, 20), (1, 100_000, 10), (2, 80_000, 20)] {
        assert_ok(&ledger.with_key(cliente, "a", transacao(valor, "c", "x")).await, limite, valor);
    }
    assert_eq!(ledger.with_key(6, "a", transacao(10, "c", "x")).await.status, 404);
    ledger.assert_rows(1, 1).await;
    ledger.assert_rows(2, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_tries_at_once_are_one_row_and_one_answer() {
    let ledger = Ledger::start().await;
    for (cliente, limite, tipo, valor, saldo) in
        [(1, 100_000, "c", 7, 7), (2, 80_000, "d", 80_000, -80_000), (3, 1_000_000, "d", 1, -1)]
    {
        // The debit of client 2 uses up the limit: its repetitions find no room, and each must still be answered with
        // 200.
        let answers = join_all((0..32).map(|_| ledger.with_key(cliente, "a", transacao(valor, tipo, "x")))).await;
        answers.iter().for_each(|answer| assert_ok(answer, limite, saldo));
        ledger.assert_rows(cliente, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_at_once_each_sent_by_four_are_each_recorded_once() {
    // Given 24 debits of 10000 for a client with room for ten, each sent four times at once, then ten are recorded, and
    // every try of one key has the same answer, unless it was refused before another try of it found room.
    let ledger = Ledger::start().await;
    let tries = (0..96).map(async |n: usize| {
        let answer = ledger.with_key(1, &format!("k{}", n % 24), transacao(10_000, "d", "x")).await;
        (n % 24, answer.status.as_u16(), answer.text().to_owned())
    });
    let answers = join_all(tries).await;
    assert!(answers.iter().all(|(_, status, _)| [200, 422].contains(status)), "{answers:?}");
    let mut accepted: Vec<_> = answers.iter().filter(|(_, status, _)| *status == 200).collect();
    accepted.sort();
    accepted.dedup();
    assert_eq!(accepted.len(), 10, "{accepted:?}");
    ledger.assert_rows(1, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_debit_leaves_no_key_and_may_be_tried_again() {
    let ledger = Ledger::start().await;
    let debit = || transacao(80_001, "d", "x");
    for _ in 0..2 {
        assert_error(&ledger.with_key(2, "a", debit()).await, 422, "a transação passaria do limite");
    }
    // A credit under another key makes room.
    assert_ok(&ledger.with_key(2, "b", transacao(1, "c", "x")).await, 80_000, 1);
    for _ in 0..2 {
        assert_ok(&ledger.with_key(2, "a", debit()).await, 80_000, -80_000);
    }
    ledger.assert_rows(2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_that_filled_the_account_is_found_again() {
    let ledger = Ledger::start().await;
    let most = (1i64 << 53) - 1;
    for _ in 0..2 {
        assert_ok(&ledger.with_key(3, "a", transacao(most, "c", "x")).await, 1_000_000, most);
        let more = ledger.with_key(3, "b", transacao(1, "c", "x")).await;
        assert_error(&more, 422, "o saldo sairia da faixa permitida");
    }
    ledger.assert_rows(3, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_without_concurrent_writes_writes_nothing() {
    let ledger = Ledger::start().await;
    ledger.with_key(2, "a", transacao(1, "c", "x")).await;
    let version = "SELECT format('%s %s', xmin, xmax) FROM rinha.clientes WHERE id = 2";
    let owner = ledger.database.owner().await;
    let before: String = owner.query_one(version, &[]).await.unwrap().get(0);
    assert_eq!(ledger.with_key(2, "b", transacao(80_002, "d", "x")).await.status, 422);
    assert_eq!(ledger.post(2, &[], transacao(80_002, "d", "x")).await.status, 422);
    assert_eq!(owner.query_one(version, &[]).await.unwrap().get::<_, String>(0), before);
    ledger.assert_rows(2, 1).await;
}

/// Each case: what is done for client 2 (limit 80000) beforehand, the amount of the debit under `c:a`, and the first
/// try of it, which has run and is not yet committed when the second one starts.
const UNDER_WAY: &[(&str, i64, &str)] = &[
    // The first try empties the account: the second one sees room, waits, and then finds none.
    ("", 80_000, "SELECT resultado FROM realizar_transacao(2, 80000, 'd', 'x', 'c:a')"),
    // There is room for both: the second try is undone.
    ("", 10, "SELECT resultado FROM realizar_transacao(2, 10, 'd', 'x', 'c:a')"),
    // The second try sees the account empty, as it was before the credit that gave the first one room: it must not
    // refuse for that reason, and must not read the ledger before the first try is in it.
    (
        "SELECT realizar_transacao(2, 80000, 'd', 'x', 'c:0')",
        10,
        "SELECT resultado FROM realizar_transacao(2, 10, 'c', 'x', 'c:1'), realizar_transacao(2, 10, 'd', 'x', 'c:a')
             AS segunda (resultado_2, limite_2, saldo_2)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_try_beside_the_first_one_waits_and_answers_with_its_result() {
    for (before, valor, first) in UNDER_WAY {
        let ledger = Ledger::start().await;
        ledger.database.execute(before).await;
        let mut service = ledger.database.service().await;
        let transaction = service.transaction().await.unwrap();
        assert_eq!(transaction.query_one(*first, &[]).await.unwrap().get::<_, &str>(0), "ok");
        let body = transacao(*valor, "d", "x");
        let second = ledger.beside(body, async || transaction.commit().await.unwrap()).await;
        let sql = "SELECT saldo_apos FROM rinha.transacoes WHERE cliente_id = 2 AND chave = 'c:a'";
        let saldos = ledger.database.owner().await.query(sql, &[]).await.unwrap();
        assert_eq!(saldos.len(), 1, "{first}");
        assert_ok(&second, 80_000, saldos[0].get(0));
        ledger.database.assert_ledger_holds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_beside_a_first_one_that_fails_is_decided_on_its_own() {
    for (before, valor, first) in UNDER_WAY {
        let ledger = Ledger::start().await;
        ledger.database.execute(before).await;
        let rows = ledger.database.ledger_rows(2).await;
        let mut service = ledger.database.service().await;
        let transaction = service.transaction().await.unwrap();
        transaction.execute(*first, &[]).await.unwrap();
        let body = transacao(*valor, "d", "x");
        let second = ledger.beside(body, async || transaction.rollback().await.unwrap()).await;
        let accepted = before.is_empty();
        assert_eq!(second.status, if accepted { 200 } else { 422 }, "{first}: {}", second.text());
        ledger.assert_rows(2, rows + i64::from(accepted)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_key_is_400_and_records_nothing() {
    let ledger = Ledger::start().await;
    let [fits, long] = [255, 256].map(|bytes| "k".repeat(bytes));
    let quoted = format!("\"{}\"", r"\\".repeat(256));
    let keys = ["", "\"\"", "\"", "\"a", "a\"", "\"a\" b", "\"a\\b\"", "a\tb", "ç", &long, &quoted];
    let mut headers: Vec<Vec<_>> = keys.iter().map(|key| vec![(KEY, *key)]).collect();
    headers.push(vec![(KEY, "a"), (KEY, "a")]);
    headers.push(vec![(KEY, ""), (TRY, "a")]);
    let malformed = "Idempotency-Key deve vir uma só vez, com 1 a 255 caracteres ASCII imprimíveis";
    for headers in &headers {
        assert_error(&ledger.post(1, headers, transacao(1, "c", "x")).await, 400, malformed);
        assert_error(&ledger.post(1, headers, "{".to_owned()).await, 400, malformed);
        assert_error(&ledger.post(6, headers, transacao(1, "c", "x")).await, 400, malformed);
    }
    let mut connection = Connection::open(&ledger.node.address()).await;
    let answer = connection.send_with(Method::POST, "/clientes/01/transacoes", &[(KEY, "")], "").await.unwrap();
    assert_eq!(answer.status, 404);
    ledger.assert_rows(1, 0).await;
    // The longest key that is allowed is accepted, and the body is checked after it.
    assert_ok(&ledger.with_key(1, &fits, transacao(1, "c", "x")).await, 100_000, 1);
    assert_ok(&ledger.with_key(1, &format!("\"{fits}\""), transacao(1, "c", "x")).await, 100_000, 1);
    assert_eq!(ledger.with_key(1, "a", "{".to_owned()).await.status, 422);
    assert_eq!(ledger.with_key(6, "a", "{".to_owned()).await.status, 404);
    ledger.assert_rows(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_try_is_a_key_that_no_client_can_name() {
    let ledger = Ledger::start_behind_a_proxy().await;
    let credit = || transacao(1, "c", "x");
    for _ in 0..2 {
        assert_ok(&ledger.post(1, &[(TRY, "abc")], credit()).await, 100_000, 1);
        assert_ok(&ledger.post(1, &[(KEY, "abc")], credit()).await, 100_000, 2);
        assert_ok(&ledger.post(1, &[(KEY, "t:abc")], credit()).await, 100_000, 3);
        // The client's key takes precedence over the proxy's identifier.
        assert_ok(&ledger.post(1, &[(KEY, "abc"), (TRY, "other")], credit()).await, 100_000, 2);
    }
    ledger.assert_rows(1, 3).await;
    let other = ledger.post(1, &[(TRY, "abc")], transacao(2, "c", "x")).await;
    assert_eq!(other.status, 422);
    ledger.assert_rows(1, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_from_an_untrusted_client_is_ignored() {
    // Given a node that clients can reach, when they send what only a proxy may send, then each request is a new one.
    let ledger = Ledger::start().await;
    let mut saldo = 0;
    for headers in [&[(TRY, "a")][..], &[(TRY, "a"), (TRY, "b")], &[(TRY, "")]] {
        for _ in 0..2 {
            saldo += 1;
            assert_ok(&ledger.post(1, headers, transacao(1, "c", "x")).await, 100_000, saldo);
        }
    }
    ledger.assert_rows(1, saldo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_unix_socket_is_trusted_as_the_operators_proxy() {
    let database = TestDatabase::new().await;
    let (_folder, path) = scratch("node.sock");
    let settings = Settings { listen: Address::Unix(path), ..settings(handlers(Profile::Release)) };
    let ledger = Ledger { node: TestNode::with(&database, settings).await, database };
    for _ in 0..2 {
        assert_ok(&ledger.post(1, &[(TRY, "a")], transacao(1, "c", "x")).await, 100_000, 1);
    }
    ledger.assert_rows(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_of_a_route_without_a_key_is_refused_before_any_call() {
    // Given a proxy that may repeat what it should not, when it marks a request as a try, then nothing is carried out;
    // an unmarked request is served, on the same connection. The mark of an unknown sender is ignored.
    let database = TestDatabase::new().await;
    database.execute("CREATE TABLE done (); GRANT INSERT ON done TO galo").await;
    let sql = "CREATE FUNCTION act() RETURNS integer LANGUAGE sql AS 'INSERT INTO done DEFAULT VALUES RETURNING 1'";
    database.execute(sql).await;
    let guests = Guests::new().add("act", &crate::fixture::calling("act"), "procedures = [\"act\"]");
    let done =
        async || database.owner().await.query_one("SELECT count(*) FROM done", &[]).await.unwrap().get::<_, i64>(0);
    for (proxy, expected, rows) in [(Proxy::Trusted, 503, 2i64), (Proxy::Unknown, 200, 5)] {
        let settings = Settings { proxy: Some(proxy), ..settings(guests.folder.path()) };
        let node = TestNode::with(&database, settings).await;
        let mut connection = Connection::open(&node.address()).await;
        assert_eq!(connection.send(Method::GET, "/act", "").await.unwrap().status, 200);
        let answer = connection.send_with(Method::GET, "/act", &[(TRY, "a")], "body").await.unwrap();
        assert_eq!(answer.status, expected);
        assert_eq!(answer.header("retry-after"), if expected == 503 { "1" } else { "" });
        assert_eq!(connection.send(Method::GET, "/act", "").await.unwrap().status, 200);
        assert_eq!(done().await, rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_try_is_refused_before_any_call() {
    // A handler would treat it as a missing key, and the proxy may send the request twice.
    let ledger = Ledger::start_behind_a_proxy().await;
    let long = "i".repeat(256);
    for headers in [&[(TRY, "")][..], &[(TRY, "a b")], &[(TRY, &long)], &[(TRY, "a"), (TRY, "a")]] {
        assert_eq!(ledger.post(1, headers, transacao(1, "c", "x")).await.status, 503, "{headers:?}");
        let keyed = [headers, &[(KEY, "a")]].concat();
        assert_eq!(ledger.post(1, &keyed, transacao(1, "c", "x")).await.status, 503, "{headers:?}");
    }
    ledger.assert_rows(1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_of_a_client_is_not_a_key() {
    // Another proxy may pass the header on: a second payment of the same client was once answered as the first.
    for ledger in [Ledger::start().await, Ledger::start_behind_a_proxy().await] {
        for saldo in 1..=2 {
            assert_ok(&ledger.post(1, &[(ID, "mine")], transacao(1, "c", "x")).await, 100_000, saldo);
        }
        ledger.assert_rows(1, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_same_transaction_is_another_one() {
    let ledger = Ledger::start_behind_a_proxy().await;
    for saldo in 1..=2 {
        assert_ok(&ledger.post(1, &[], transacao(1, "c", "x")).await, 100_000, saldo);
    }
    ledger.assert_rows(1, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_before_there_were_keys_gets_them() {
    // Given a database from before keys, with a row, and a connection that has prepared the old procedure, when sql/ is
    // applied twice, then row and connection still work, keys work, and the table is that of a new database.
    let database = TestDatabase::new().await;
    database
        .execute(
            "DROP SCHEMA galo_migrations CASCADE;
             SELECT realizar_transacao(1, 5, 'c', 'x');
             DROP FUNCTION realizar_transacao(integer, bigint, text, text, text);
             ALTER TABLE rinha.transacoes DROP COLUMN chave;
             CREATE FUNCTION realizar_transacao(cliente_id integer, valor bigint, tipo text, descricao text,
                                                OUT resultado text, OUT limite bigint, OUT saldo bigint)
             LANGUAGE sql AS $$ SELECT 'antiga', 0::bigint, 0::bigint $$;
             ALTER FUNCTION realizar_transacao(integer, bigint, text, text) OWNER TO rinha_owner",
        )
        .await;
    let connected = database.service().await;
    let known = connected.prepare("SELECT * FROM realizar_transacao(1, $1, 'c', 'x')").await.unwrap();
    let resultado = async || connected.query_one(&known, &[&1i64]).await.unwrap().get::<_, String>(0);
    assert_eq!(resultado().await, "antiga");

    let target = database.owner_target();
    for _ in 0..2 {
        database::apply(&target, &checkout().sql()).await.unwrap();
    }
    assert_eq!(resultado().await, "ok");
    assert_eq!(ledger_table(&database).await, ledger_table(&TestDatabase::new().await).await);

    let ledger = Ledger { node: TestNode::start(&database).await, database };
    for _ in 0..2 {
        assert_ok(&ledger.with_key(1, "a", transacao(1, "c", "x")).await, 100_000, 7);
    }
    ledger.assert_rows(1, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_before_there_were_domains_gets_them() {
    // Given a database whose tables have checks of their own, with a row, and a connection that knows the procedures,
    // when sql/ is applied twice, then the tables are those of a new database, and their contents are unchanged.
    let database = TestDatabase::new().await;
    database
        .execute(
            "DROP SCHEMA galo_migrations CASCADE;
             SELECT realizar_transacao(1, 5, 'c', 'x', 'k:1');
             ALTER TABLE rinha.clientes DROP CONSTRAINT saldo_dentro_do_limite,
                 ALTER COLUMN limite TYPE bigint, ALTER COLUMN saldo TYPE bigint, ALTER COLUMN seq TYPE bigint,
                 ADD CONSTRAINT limite_na_faixa CHECK (limite BETWEEN 0 AND 9007199254740991),
                 ADD CONSTRAINT saldo_na_faixa CHECK (saldo BETWEEN -limite AND 9007199254740991),
                 ADD CONSTRAINT seq_na_faixa CHECK (seq >= 0);
             ALTER TABLE rinha.transacoes
                 ALTER COLUMN seq TYPE bigint, ALTER COLUMN valor TYPE bigint, ALTER COLUMN saldo_apos TYPE bigint,
                 ALTER COLUMN tipo TYPE text, ALTER COLUMN descricao TYPE text,
                 ALTER COLUMN chave TYPE text COLLATE \"C\",
                 ADD CONSTRAINT seq_na_faixa CHECK (seq >= 1),
                 ADD CONSTRAINT valor_na_faixa CHECK (valor BETWEEN 1 AND 9007199254740991),
                 ADD CONSTRAINT saldo_apos_na_faixa CHECK (saldo_apos BETWEEN -9007199254740991 AND 9007199254740991),
                 ADD CONSTRAINT tipo_conhecido CHECK (tipo IN ('c', 'd')),
                 ADD CONSTRAINT descricao_de_1_a_10 CHECK (char_length(descricao) BETWEEN 1 AND 10),
                 ADD CONSTRAINT chave_de_3_a_257 CHECK (octet_length(chave) BETWEEN 3 AND 257);
             DROP DOMAIN rinha.limite, rinha.saldo, rinha.valor, rinha.seq, rinha.ultima_seq, rinha.tipo,
                 rinha.descricao, rinha.chave",
        )
        .await;
    let new = TestDatabase::new().await;
    assert_ne!(ledger_table(&database).await, ledger_table(&new).await);
    let connected = database.service().await;
    let known = connected.prepare("SELECT saldo FROM realizar_transacao(1, $1, 'c', 'x')").await.unwrap();
    let saldo = async || connected.query_one(&known, &[&1i64]).await.unwrap().get::<_, i64>(0);
    assert_eq!(saldo().await, 6);

    let target = database.owner_target();
    for expected in [7, 8] {
        database::apply(&target, &checkout().sql()).await.unwrap();
        assert_eq!(saldo().await, expected);
    }
    assert_eq!(ledger_table(&database).await, ledger_table(&new).await);
    assert_eq!(database.ledger_rows(1).await, 4);
    database.assert_ledger_holds().await;
}

/// Columns and constraints of both tables, as text.
async fn ledger_table(database: &TestDatabase) -> Vec<String> {
    let sql = "SELECT format('%s %s %s', attname, atttypid::regtype, attcollation::regcollation) FROM pg_attribute
               WHERE attrelid IN ('rinha.clientes'::regclass, 'rinha.transacoes'::regclass)
                 AND attnum > 0 AND NOT attisdropped
               UNION ALL
               SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
               WHERE conrelid IN ('rinha.clientes'::regclass, 'rinha.transacoes'::regclass)
               ORDER BY 1";
    database.owner().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
