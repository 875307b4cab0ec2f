//! Behind a real PgBouncer, in session and in transaction mode: no client runs another's statement, no setting stays on
//! a server connection that others go on to use, and a node works as it does without a pooler.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use galo::config::{Secret, Settings};
use galo::contract::Value;
use galo::database::{self, Database, Target};
use galo::develop::build::Profile;
use galo::develop::postgres::SUPERUSER;
use galo::metrics::Format;
use galo::metrics::Metrics;
use galo::serve;
use galo_testing::database::{DATABASE, SERVICE_ROLE};
use http::Method;
use nix::unistd::{Uid, User};
use tempfile::TempDir;
use tokio_postgres::config::Host;

use crate::fixture::calling;
use crate::harness::{
    Connection, Guests, PATIENCE, TestDatabase, TestNode, checkout, connect, engine, galo, granted, handlers, settings,
    transacao, until,
};
use crate::postgres::OwnPostgres;

/// How a PgBouncer hands its server connections out.
#[derive(Clone, Copy)]
enum Mode {
    Session,
    Transaction,
}

/// A running PgBouncer.
struct PgBouncer {
    child: Child,
    folder: TempDir,
}

impl PgBouncer {
    /// One in front of the server of `url`, with this many server connections for a database.
    async fn start(url: &str, mode: Mode, servers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config: tokio_postgres::Config = url.parse().unwrap();
        let Host::Unix(socket) = &config.get_hosts()[0] else { panic!("{url}") };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let (mode, reset) = match mode {
            Mode::Session => ("session", "DISCARD ALL"),
            Mode::Transaction => ("transaction", ""),
        };
        let path = folder.path().display();
        // Later lines override earlier ones.
        let ini = fs::read_to_string(checkout().root.join("deploy/postgres/pgbouncer.ini")).unwrap();
        let ini = format!(
            "{ini}\n[databases]\n* = host={} port={port}\n[pgbouncer]\npool_mode = {mode}\n\
             server_reset_query = {reset}\ndefault_pool_size = {servers}\nlisten_addr =\nunix_socket_dir = {path}\n\
             auth_type = trust\nauth_file = {path}/users\nlogfile = {path}/log\n",
            socket.display()
        );
        fs::write(folder.path().join("pgbouncer.ini"), ini).unwrap();
        fs::write(folder.path().join("users"), format!("\"{SERVICE_ROLE}\" \"\"\n\"{SUPERUSER}\" \"\"\n")).unwrap();
        let child = Self::spawn(folder.path());
        let mut this = Self { child, folder };
        let begun = Instant::now();
        while tokio::net::UnixStream::connect(this.folder.path().join(".s.PGSQL.6432")).await.is_err() {
            assert!(this.child.try_wait().unwrap().is_none(), "PgBouncer has ended: {}", this.log());
            assert!(begun.elapsed() < PATIENCE, "PgBouncer does not start: {}", this.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        this
    }

    fn spawn(folder: &Path) -> Child {
        let mut command = Command::new(program());
        // PgBouncer refuses to run as root.
        if Uid::effective().is_root() {
            let user = User::from_name("postgres").unwrap().expect("the package of Postgres makes this user");
            chown(folder, Some(user.uid.as_raw()), None).unwrap();
            command.arg("-u").arg(user.name);
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        command.arg(folder.join("pgbouncer.ini")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn url(&self, user: &str, database: &str) -> String {
        format!("host={} port=6432 user={user} dbname={database}", self.folder.path().display())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian installs it outside a plain user's PATH.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.find_map(|folder| Some(folder.join("pgbouncer")).filter(|program| program.is_file()));
    found.expect("these tests need PgBouncer: apt-get install pgbouncer")
}

/// A test's database behind a PgBouncer.
async fn behind(mode: Mode, servers: usize) -> (TestDatabase, PgBouncer) {
    let database = TestDatabase::new().await;
    let pooler = PgBouncer::start(&database.service_url(), mode, servers).await;
    let config: tokio_postgres::Config = database.service_url().parse().unwrap();
    let url = pooler.url(SERVICE_ROLE, config.get_dbname().unwrap());
    (database.by(url), pooler)
}

/// Runs a query on each of the `servers` server connections of a pooler.
async fn ask_each(database: &TestDatabase, servers: usize, sql: &str) -> Vec<String> {
    let mut clients = join_all((0..servers).map(|_| database.service())).await;
    // Each transaction holds one of them.
    let mut transactions = Vec::new();
    for client in &mut clients {
        let transaction = client.transaction().await.unwrap();
        let answer = transaction.simple_query(sql).await.unwrap();
        let rows = answer.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
            _ => None,
        });
        transactions.push((rows.collect::<Vec<_>>().join(","), transaction));
    }
    transactions.into_iter().map(|(answer, _)| answer).collect()
}

/// Sends requests of every kind as one client, this many rounds, and checks each answer.
async fn load(node: &TestNode, cliente: u64, rounds: u64) {
    let limite = [100_000, 80_000, 1_000_000, 10_000_000, 500_000][usize::try_from(cliente).unwrap() - 1];
    let mut connection = Connection::open(&node.address()).await;
    let (transacoes, extrato) = (format!("/clientes/{cliente}/transacoes"), format!("/clientes/{cliente}/extrato"));
    for round in 0..rounds {
        let answer = connection.send(Method::POST, &transacoes, transacao(1, "c", "carga")).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.json()["limite"]), (200, &limite.into()), "{}", answer.text());
        let answer = connection.send(Method::GET, &extrato, "").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["saldo"]["limite"], limite);
        assert!(answer.json()["saldo"]["total"].as_u64().unwrap() > round);
        assert_eq!(answer.json()["ultimas_transacoes"][0]["descricao"], "carga");
        // Asks whether the client exists.
        assert_eq!(connection.send(Method::POST, &transacoes, "").await.unwrap().status, 422);
        assert_eq!(connection.send(Method::POST, "/clientes/6/transacoes", "").await.unwrap().status, 404);
    }
}

async fn two_nodes_are_right(mode: Mode, servers: usize) -> (TestDatabase, PgBouncer) {
    const ROUNDS: u64 = 40;
    let (database, pooler) = behind(mode, servers).await;
    let (one, other) = tokio::join!(TestNode::start(&database), TestNode::start(&database));
    // Four clients of each account, so that there are batches.
    join_all(
        (0..4)
            .flat_map(|_| (1..=5).flat_map(|cliente| [(&one, cliente), (&other, cliente)]))
            .map(|(node, cliente)| load(node, cliente, ROUNDS)),
    )
    .await;
    for node in [one, other] {
        assert!(node.running.node.metrics.text(Format::Classic).contains("galo_batch_calls_count"));
        node.stop().await;
    }
    for cliente in 1..=5 {
        assert_eq!(database.ledger_rows(cliente).await, i64::try_from(8 * ROUNDS).unwrap());
    }
    database.assert_ledger_holds().await;
    (database, pooler)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_in_transaction_mode_answer_right_and_leave_nothing_behind() {
    // Given fewer server connections than a node has, when two nodes answer clients through them, then every answer is
    // right, and no server connection has a statement or a setting that was not there before.
    let (database, _pooler) = two_nodes_are_right(Mode::Transaction, 3).await;
    let sql = "SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout') || ' '
                   || current_setting('idle_in_transaction_session_timeout') || ' '
                   || (SELECT count(*) FROM pg_prepared_statements)";
    assert_eq!(ask_each(&database, 3, sql).await, ["2s 1s 5s 0"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_in_session_mode_answer_right() {
    two_nodes_are_right(Mode::Session, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_others_left_on_a_server_connection_are_not_run() {
    // Given a server connection that has statements of every name that a driver would choose, with the same parameters
    // as ours, when a node starts on it, then it starts, and none of them is ever run.
    let (database, _pooler) = behind(Mode::Transaction, 1).await;
    database.execute("CREATE TABLE armadilha (x int); GRANT INSERT ON armadilha TO galo").await;
    let other = database.service().await;
    let prepare =
        |(n, parameters): (usize, &str)| format!("PREPARE s{n} ({parameters}) AS INSERT INTO armadilha VALUES (1);");
    let kinds =
        ["int", "int, bigint, text, text, text", "int[], bigint[], text[], text[], text[]", "oid", "text, text"];
    let traps: Vec<String> = (0..4000).zip(kinds.into_iter().cycle()).map(prepare).collect();
    // Each statement keeps the whole text that it was sent with, so they are sent in chunks.
    for some in traps.chunks(20) {
        other.batch_execute(&some.concat()).await.unwrap();
    }
    let node = TestNode::start(&database).await;
    load(&node, 1, 3).await;
    let sprung: i64 = database.owner().await.query_one("SELECT count(*) FROM armadilha", &[]).await.unwrap().get(0);
    assert_eq!(sprung, 0);
    node.stop().await;
    assert_eq!(ask_each(&database, 1, "SELECT count(*) FROM pg_prepared_statements").await, ["4000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_harms_its_own_client_only() {
    // Given a client whose row is locked, when it and others are sent transactions, then the others are answered while
    // it is locked; its own end at the timeout, in Postgres too, and are answered when the row is released.
    let (database, _pooler) = behind(Mode::Transaction, 4).await;
    let node = TestNode::start(&database).await;
    let lock = database.owner().await;
    lock.batch_execute("BEGIN; SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE").await.unwrap();
    let over = AtomicBool::new(false);
    let locked = async {
        let posts = (0..6).map(|_| node.post("/clientes/1/transacoes", transacao(1, "c", "x")));
        let answers = join_all(posts).await;
        over.store(true, Ordering::Relaxed);
        answers
    };
    let others = async {
        let mut answered = 0;
        while !over.load(Ordering::Relaxed) {
            let posts = (2..=5).map(|id| format!("/clientes/{id}/transacoes"));
            for path in posts {
                let answer = node.post(&path, transacao(1, "c", "x")).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                answered += 1;
            }
        }
        answered
    };
    let (locked, others) = tokio::join!(locked, others);
    assert!(locked.iter().all(|answer| answer.status == 503), "{locked:?}");
    assert!(others >= 8, "{others}");
    until_nobody_waits_for_a_lock(&database).await;
    lock.batch_execute("COMMIT").await.unwrap();
    assert_eq!(node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await.status, 200);
    assert_eq!(database.ledger_rows(1).await, 1);
    database.assert_ledger_holds().await;
}

async fn until_nobody_waits_for_a_lock(database: &TestDatabase) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let (owner, begun) = (database.owner().await, Instant::now());
    while owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(begun.elapsed() < PATIENCE, "an abandoned call still waits for a lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_that_the_role_lacks_are_named_and_hold_all_the_same() {
    // Given a role without timeouts, when `galo check` runs, then it prints the missing statements; when a node makes a
    // call that waits for a lock, then the call still ends in Postgres.
    let (database, _pooler) = behind(Mode::Transaction, 4).await;
    database
        .execute(
            "DO $$ BEGIN
                 EXECUTE format('ALTER ROLE galo IN DATABASE %I SET lock_timeout = 0', current_database());
                 EXECUTE format('ALTER ROLE galo IN DATABASE %I SET statement_timeout = ''1min''', current_database());
             END $$",
        )
        .await;
    let url = database.service_url();
    let folder = handlers(Profile::Release);
    let checked =
        tokio::task::spawn_blocking(move || galo().arg("check").arg(folder).env("DATABASE_URL", url).output());
    let checked = checked.await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{printed}");
    for statement in
        ["ALTER ROLE galo SET statement_timeout = '2000ms';", "ALTER ROLE galo SET lock_timeout = '1000ms';"]
    {
        assert!(printed.contains(statement), "{printed}");
    }
    assert!(!printed.contains("idle_in_transaction"), "{printed}");

    let node = TestNode::start(&database).await;
    let lock = database.owner().await;
    lock.batch_execute("BEGIN; LOCK TABLE rinha.clientes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    assert_eq!(node.get("/clientes/1/extrato").await.status, 503);
    until_nobody_waits_for_a_lock(&database).await;
    lock.batch_execute("COMMIT").await.unwrap();
    load(&node, 1, 3).await;
    database.assert_ledger_holds().await;
    node.stop().await;
    assert_eq!(ask_each(&database, 4, "SELECT current_setting('lock_timeout')").await, ["0"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_under_a_running_node_costs_no_request() {
    let (database, _pooler) = behind(Mode::Transaction, 2).await;
    let create = |body: &str| format!("CREATE FUNCTION um() RETURNS {body}; GRANT EXECUTE ON FUNCTION um() TO galo");
    database.execute(&create("integer LANGUAGE sql AS 'SELECT 1'")).await;
    let guests = Guests::new().add("um", &calling("um"), "procedures = [\"um\"]");
    let node = TestNode::guests(&database, &guests).await;
    for body in [
        "integer LANGUAGE sql AS 'SELECT 2'",
        "TABLE (a text, b bigint) LANGUAGE sql AS $$SELECT 'x', 2$$",
        "bigint LANGUAGE sql AS 'SELECT 3::bigint'",
    ] {
        database.execute(&format!("BEGIN; DROP FUNCTION um(); {}; COMMIT", create(body))).await;
        let answers = join_all((0..16).map(|_| node.get("/um"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    }
    // A type that the contract cannot carry: the procedure is not called, and no named statement looks the type up.
    database
        .execute(&format!(
            "BEGIN; DROP FUNCTION um(); CREATE TABLE feito (x int); CREATE TYPE par AS (a int); {}; COMMIT",
            create("TABLE (n int, p par) LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO feito VALUES (1); SELECT 1, ROW(1)::par'")
        ))
        .await;
    for _ in 0..8 {
        assert_eq!(node.get("/um").await.status, 500);
    }
    let done: i64 = database.owner().await.query_one("SELECT count(*) FROM feito", &[]).await.unwrap().get(0);
    assert_eq!(done, 0);
    node.stop().await;
    assert_eq!(ask_each(&database, 2, "SELECT count(*) FROM pg_prepared_statements").await, ["0"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_takes_something_else_is_not_called() {
    // Given a procedure that is recreated with a wider type, when it is called with arguments that were checked against
    // the old one, then Postgres does not convert the arguments and call it.
    let (database, _pooler) = behind(Mode::Transaction, 2).await;
    database.execute("CREATE FUNCTION um(x integer) RETURNS integer LANGUAGE sql AS 'SELECT x'").await;
    let pool = Arc::new(Database::new(&database.target(), 1, &Metrics::new()));
    let um = Arc::new(pool.describe(&granted("um", None)).await.unwrap());
    pool.start(vec![Arc::clone(&um)]).await.unwrap();
    assert_eq!(format!("{:?}", pool.call(&um, vec![Value::Integer(7)]).await.unwrap().values), "[Value::Integer(7)]");
    database
        .execute(
            "DROP FUNCTION um(integer); CREATE TABLE feito (x int);
             CREATE FUNCTION um(x bigint) RETURNS integer LANGUAGE sql SECURITY DEFINER
             AS 'INSERT INTO feito VALUES (1); SELECT 1'",
        )
        .await;
    assert!(pool.call(&um, vec![Value::Integer(7)]).await.is_err());
    assert!(pool.has_changed());
    let done: i64 = database.owner().await.query_one("SELECT count(*) FROM feito", &[]).await.unwrap().get(0);
    assert_eq!(done, 0);
    // An error of the procedure itself is not mistaken for a change of it.
    database
        .execute(
            "DROP FUNCTION um(bigint);
             CREATE FUNCTION um(x integer) RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN nenhuma(x); END'",
        )
        .await;
    let error = pool.call(&um, vec![Value::Integer(7)]).await.unwrap_err();
    assert!(error.to_string().contains("42883"), "{error}");
    pool.has_changed();
    assert!(pool.call(&um, vec![Value::Integer(7)]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_returns_the_same_with_and_without_a_pooler() {
    // Given procedures of every shape, when they are called directly and through a pooler, then columns and values are
    // the same, and the columns are those of the statement that Postgres describes.
    let direct = TestDatabase::new().await;
    direct
        .execute(
            "CREATE DOMAIN curto AS varchar CHECK (length(value) < 9); CREATE DOMAIN mais_curto AS curto;
             CREATE TYPE par AS (\"Um\" integer, dois mais_curto); CREATE TABLE tabela (a integer, b text, c bytea);
             ALTER TABLE tabela DROP COLUMN b; CREATE DOMAIN par_cheio AS par CHECK ((value).\"Um\" > 0);
             CREATE FUNCTION escalar() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
             CREATE FUNCTION \"Aspas\"\"E'\"() RETURNS text LANGUAGE sql AS $$SELECT 'x'$$;
             CREATE FUNCTION dominio() RETURNS mais_curto LANGUAGE sql AS $$SELECT 'x'::mais_curto$$;
             CREATE FUNCTION so_um(OUT saida integer) LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION sem_nome(OUT integer) LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION sem_nomes(OUT integer, OUT b text, OUT bool) LANGUAGE sql AS $$SELECT 1, 'x', true$$;
             CREATE FUNCTION entra_e_sai(INOUT x integer, y text, OUT z mais_curto)
                 LANGUAGE sql AS $$SELECT x, y::mais_curto$$;
             CREATE FUNCTION so_entra_e_sai(INOUT x integer) LANGUAGE sql AS 'SELECT x';
             CREATE FUNCTION composto() RETURNS par LANGUAGE sql AS $$SELECT ROW(1, 'x')::par$$;
             CREATE FUNCTION composto_fora(OUT p par) LANGUAGE sql AS $$SELECT ROW(1, 'x')::par$$;
             CREATE FUNCTION cheio() RETURNS par_cheio LANGUAGE sql AS $$SELECT ROW(1, 'x')::par_cheio$$;
             CREATE FUNCTION compostos() RETURNS SETOF tabela LANGUAGE sql AS $$VALUES (1, '\\x00'::bytea), (2, NULL)$$;
             CREATE FUNCTION conjunto() RETURNS SETOF uuid LANGUAGE sql AS
                 $$SELECT '0190163d-8694-739b-aea5-966c26f8ad91'::uuid$$;
             CREATE FUNCTION nada() RETURNS TABLE (x integer, y timestamptz) LANGUAGE sql AS 'SELECT 1, now() LIMIT 0';
             CREATE FUNCTION padrao(x varchar, y json DEFAULT '1') RETURNS TABLE (x2 varchar, y2 json, z name, r real)
                 LANGUAGE sql AS 'SELECT x, y, ''n''::name, 0.1::real';
             CREATE FUNCTION vazia() RETURNS void LANGUAGE sql AS '';
             CREATE FUNCTION registro() RETURNS record LANGUAGE sql AS 'SELECT 1, 2';
             CREATE FUNCTION qualquer(anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1'",
        )
        .await;
    let pooler = PgBouncer::start(&direct.service_url(), Mode::Transaction, 2).await;
    let config: tokio_postgres::Config = direct.service_url().parse().unwrap();
    let url = pooler.url(SERVICE_ROLE, config.get_dbname().unwrap());
    let through = Target::parse(&Secret::new(url)).unwrap();
    let (number, text) = (|| Value::Integer(3), || Value::Text("x".to_owned()));
    let json = || Value::Json("{}".to_owned());
    let calls = [
        ("escalar", vec![]),
        ("Aspas\"E'", vec![]),
        ("public.dominio", vec![]),
        ("so_um", vec![]),
        ("sem_nome", vec![]),
        ("sem_nomes", vec![]),
        ("entra_e_sai", vec![number(), text()]),
        ("so_entra_e_sai", vec![number()]),
        ("composto", vec![]),
        ("composto_fora", vec![]),
        ("cheio", vec![]),
        ("compostos", vec![]),
        ("conjunto", vec![]),
        ("nada", vec![]),
        ("padrao", vec![text(), json()]),
    ];
    let owner = direct.owner().await;
    for (name, arguments) in calls {
        let mut seen = Vec::new();
        for target in [&direct.target(), &through] {
            let pool = Arc::new(Database::new(target, 1, &Metrics::new()));
            let procedure = Arc::new(pool.describe(&granted(name, None)).await.unwrap());
            pool.start(vec![Arc::clone(&procedure)]).await.unwrap();
            let rows = pool.call(&procedure, arguments.clone()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            procedure.check_columns(&rows.columns).unwrap();
            let function = name.trim_start_matches("public.").replace('"', "\"\"");
            let parameters = (1..=arguments.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
            let described = owner.prepare(&format!("SELECT * FROM public.\"{function}\"({parameters})")).await.unwrap();
            assert_eq!(rows.columns, described.columns().iter().map(|c| c.name()).collect::<Vec<_>>(), "{name}");
            seen.push(format!("{:?} {:?}", rows.columns, rows.values));
        }
        assert_eq!(seen[0], seen[1], "{name}");
    }
    let pool = Arc::new(Database::new(&through, 1, &Metrics::new()));
    let void = Arc::new(pool.describe(&granted("vazia", None)).await.unwrap());
    pool.start(vec![Arc::clone(&void)]).await.unwrap();
    assert_eq!(pool.call(&void, vec![]).await.unwrap().columns, Vec::<String>::new());
    for (name, expected) in [("registro", "type record"), ("qualquer", "type anyelement")] {
        let refused = pool.describe(&granted(name, None)).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_files_are_not_applied_through_a_pooler() {
    let (database, pooler) = behind(Mode::Transaction, 2).await;
    let config: tokio_postgres::Config = database.service_url().parse().unwrap();
    let owner = Target::parse(&Secret::new(pooler.url(SUPERUSER, config.get_dbname().unwrap()))).unwrap();
    let error = database::apply(&owner, &checkout().root.join("sql")).await.unwrap_err().to_string();
    assert!(
        error.contains("goes through a pooler") && error.contains("give the address of Postgres itself"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_a_pooler_refuses_are_refused_at_once_with_the_remedy() {
    let (database, _pooler) = behind(Mode::Transaction, 2).await;
    let url = format!("{} options='-c search_path=public'", database.service_url());
    let target = Target::parse(&Secret::new(url)).unwrap();
    let settings = settings(handlers(Profile::Release));
    let error = match serve::start(&settings, &target, engine()).await {
        Ok(_) => panic!("the node started"),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains("ignore_startup_parameters"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgres_behind_a_pooler_is_survived() {
    // Given a node behind a pooler, when Postgres stops, then calls are refused; when it is back, then calls succeed
    // again without a restart of node or pooler.
    let mut own = OwnPostgres::start().await;
    let pooler = PgBouncer::start(&own.url(SUPERUSER, DATABASE), Mode::Transaction, 4).await;
    let target = Target::parse(&Secret::new(pooler.url(SERVICE_ROLE, DATABASE))).unwrap();
    let settings = Settings { pool_connections: 2, ..settings(handlers(Profile::Release)) };
    let node = TestNode { running: serve::start(&settings, &target, engine()).await.unwrap() };
    assert_eq!(node.post("/clientes/1/transacoes", transacao(5, "c", "x")).await.status, 200);
    own.stop();
    until_status(&node, 503).await;
    own.start_again();
    until_status(&node, 200).await;
    let owner = connect(&own.url(SUPERUSER, DATABASE)).await;
    assert_eq!(owner.query("SELECT FROM rinha.transacoes", &[]).await.unwrap().len(), 1);
    until("the node is ready", String::new, || node.running.node.database.is_ready()).await;
}

async fn until_status(node: &TestNode, status: u16) {
    let begun = Instant::now();
    while node.get("/clientes/1/extrato").await.status != status {
        assert!(begun.elapsed() < PATIENCE, "still not {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
