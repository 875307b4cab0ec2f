//! A changed `sql/` on a database in use: what is applied, what is refused, and that nothing is left behind.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use galo::config::Secret;
use galo::database::{self, NotApplied, Target};
use galo::develop::postgres::SUPERUSER;
use galo::limits;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::harness::{TestDatabase, checkout};

/// Scratch databases are searched for in the whole cluster, so only one test at a time makes any.
static TURN: Mutex<()> = Mutex::const_new(());

/// A database, and a copy of `sql/` to be changed.
struct Change {
    database: TestDatabase,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Change {
    async fn new() -> Self {
        let turn = TURN.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").arg("-r").arg(checkout().root.join("sql")).arg(folder.path()).status().unwrap();
        assert!(copied.success());
        Self { database: TestDatabase::new().await, folder, _turn: turn }
    }

    fn sql(&self) -> PathBuf {
        self.folder.path().join("sql")
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.sql().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    async fn reapply(&self) -> Result<(), NotApplied> {
        self.reapply_as(&self.database.owner_url()).await
    }

    /// Checks as well that nothing is left behind, whatever the result.
    async fn reapply_as(&self, url: &str) -> Result<(), NotApplied> {
        let outcome = database::reapply(&Target::parse(&Secret::new(url)).unwrap(), &self.sql()).await;
        assert_eq!(self.scratch_databases().await, 0);
        outcome
    }

    async fn scratch_databases(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_database WHERE datname LIKE 'galo\\_scratch\\_%'";
        self.database.owner().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Whether the procedure reports a client 9, which does not exist.
    async fn has_the_changed_procedure(&self) -> bool {
        let service = self.database.service().await;
        service.query_one("SELECT existe FROM cliente_existe(9)", &[]).await.unwrap().get(0)
    }

    /// The settings of the service's role, which the cluster keeps and not the database.
    async fn role_settings(&self) -> Option<String> {
        let sql = "SELECT array_to_string(rolconfig, ' ') FROM pg_roles WHERE rolname = 'galo'";
        self.database.owner().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    fn change_a_procedure(&self) {
        self.edit("2_procedures.sql", "existe := EXISTS", "existe := cliente_id = 9 OR EXISTS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_procedure_is_live_and_the_data_stays() {
    let change = Change::new().await;
    let sql = "SELECT resultado FROM realizar_transacao(1, 10, 'c', 'x')";
    let resultado: String = change.database.service().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(resultado, "ok");
    change.change_a_procedure();
    change.reapply().await.unwrap();
    assert!(change.has_the_changed_procedure().await);
    assert_eq!(change.database.ledger_rows(1).await, 1);
    change.database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_and_a_comment_in_the_schema_are_applied() {
    let change = Change::new().await;
    change.reapply().await.unwrap();
    change.edit("1_schema.sql", "-- One row for each client", "-- Each client is one row");
    change.reapply().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_reported_with_file_and_line_and_changes_nothing() {
    let change = Change::new().await;
    change.change_a_procedure();
    let before = change.role_settings().await;
    change.edit("3_grants.sql", "GRANT USAGE ON SCHEMA public TO galo;", "ALTER ROLE galo RESET ALL;\nGRANT USAGE ON;");
    let error = change.reapply().await.unwrap_err().to_string();
    let text = std::fs::read_to_string(change.sql().join("3_grants.sql")).unwrap();
    let line = 1 + text.lines().position(|line| line == "GRANT USAGE ON;").unwrap();
    assert!(error.contains(&format!("3_grants.sql:{line}: db error: ERROR: syntax error")), "{error}");
    assert!(!change.has_the_changed_procedure().await);
    assert_eq!(change.role_settings().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_only_the_data_causes_is_reported_and_changes_nothing() {
    let change = Change::new().await;
    change.change_a_procedure();
    change.edit("4_seed.sql", "ON CONFLICT DO NOTHING", "");
    change.reapply().await.map_err(|error| assert!(error.to_string().contains("4_seed.sql"), "{error}")).unwrap_err();
    assert!(!change.has_the_changed_procedure().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tables_are_refused_with_what_differs_and_change_nothing() {
    for (from, to, expected) in [
        (
            "    -- The seq of the last",
            "    nome text DEFAULT 'x',\n    -- The seq",
            "\n  + rinha.clientes column nome text default 'x'::text",
        ),
        (
            "    saldo     rinha.saldo      NOT NULL",
            "    saldo rinha.saldo",
            "\n  - rinha.clientes column saldo rinha.saldo not null",
        ),
        ("limite    rinha.limite ", "limite    integer", "\n  + rinha.clientes column limite integer not null"),
        (
            "seq       rinha.ultima_seq NOT NULL DEFAULT 0",
            "seq rinha.ultima_seq NOT NULL DEFAULT 1",
            "seq rinha.ultima_seq not null default 1",
        ),
        ("saldo >= -limite)", "saldo > -limite)", "constraint saldo_dentro_do_limite CHECK (((saldo)::bigint > "),
        (
            "CREATE DOMAIN rinha.limite AS bigint",
            "CREATE DOMAIN rinha.limite AS bigint NOT NULL",
            "\n  + rinha.limite domain bigint not null",
        ),
        (
            "id        integer          NOT NULL PRIMARY KEY",
            "id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
            "\n  + rinha.clientes column id integer not null identity by default",
        ),
        (
            "BETWEEN 1 AND 10)",
            "BETWEEN 1 AND 11)",
            "\n  + rinha.descricao domain constraint descricao_de_1_a_10 CHECK (((char_length(VALUE) >= 1) AND \
             (char_length(VALUE) <= 11)))",
        ),
        (
            "\nRESET ROLE;",
            "\nCREATE INDEX IF NOT EXISTS por_tipo ON rinha.transacoes (tipo);\nRESET ROLE;",
            "\n  + rinha.transacoes index CREATE INDEX por_tipo ON rinha.transacoes USING btree (tipo)",
        ),
        (
            "fillfactor = 10,",
            "fillfactor = 20,",
            "\n  + rinha.clientes table with (fillfactor=20, vacuum_truncate=false)",
        ),
        (
            "CREATE TABLE IF NOT EXISTS rinha.t",
            "CREATE UNLOGGED TABLE IF NOT EXISTS rinha.t",
            "+ rinha.transacoes unlogged table",
        ),
        (
            "\nRESET ROLE;",
            "\nCREATE TABLE IF NOT EXISTS rinha.notas (texto text);\nRESET ROLE;",
            "\n  + rinha.notas column texto text",
        ),
    ] {
        let change = Change::new().await;
        change.change_a_procedure();
        change.edit("1_schema.sql", from, to);
        let error = change.reapply().await.unwrap_err();
        assert!(matches!(error, NotApplied::OtherTables(_)), "{error}");
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains("`--fresh`"), "`{expected}` is missing in: {error}");
        assert!(!change.has_the_changed_procedure().await, "{expected}");
    }
    // The reverse: the database has objects that sql/ no longer makes. The roles are unchanged, too.
    let change = Change::new().await;
    let before = change.role_settings().await;
    change.edit("3_grants.sql", "GRANT USAGE ON SCHEMA public TO galo;", "ALTER ROLE galo SET work_mem = '5MB';");
    change.database.execute("CREATE TABLE public.antiga (id integer)").await;
    let error = change.reapply().await.unwrap_err().to_string();
    assert!(error.contains("\n  - public.antiga table"), "{error}");
    assert_eq!(change.role_settings().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_create_databases_applies_untried() {
    let change = Change::new().await;
    let owner = change.database.owner_url();
    change
        .database
        .execute(
            "CREATE ROLE dona LOGIN CREATEROLE; GRANT rinha_owner, galo TO dona;
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO dona', current_database()); END $$",
        )
        .await;
    let url = owner.replace(&format!("//{SUPERUSER}@"), "//dona@");
    assert_ne!(url, owner);
    change.change_a_procedure();
    change.reapply_as(&url).await.unwrap();
    assert!(change.has_the_changed_procedure().await);
    change.edit("2_procedures.sql", "existe := cliente_id = 9 OR", "existe := ) OR");
    let error = change.reapply_as(&url).await.unwrap_err().to_string();
    assert!(error.contains("2_procedures.sql:"), "{error}");
    assert!(change.has_the_changed_procedure().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_wait_leaves_no_scratch_database() {
    let change = Change::new().await;
    let target = Target::parse(&Secret::new(change.database.owner_url())).unwrap();
    let folder = change.sql();
    let caller = tokio::spawn(async move { database::reapply(&target, &folder).await });
    while change.scratch_databases().await == 0 {
        assert!(!caller.is_finished(), "no scratch database was seen");
    }
    caller.abort();
    let begun = Instant::now();
    while change.scratch_databases().await > 0 {
        assert!(begun.elapsed() < limits::REAPPLY_TIMEOUT, "the scratch database is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
