//! Migrations: what is applied, once and in order, what is refused with which remedy, and that a failure, a signal or a
//! second migration at the same time leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use galo::config::Secret;
use galo::database::migrate::{self, Applied, Options};
use galo::database::{self, Target};
use galo::develop::postgres::SUPERUSER;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::cli::{Program, run};
use crate::harness::{PATIENCE, TestDatabase, checkout, galo};

/// A database without a history, and a folder of files for it.
struct Shop {
    database: TestDatabase,
    folder: TempDir,
}

const ITEMS: &str =
    "CREATE TABLE items (id int PRIMARY KEY, name text);\nINSERT INTO items VALUES (1, 'a'), (2, NULL);\n";

const COUNT: &str =
    "CREATE OR REPLACE FUNCTION item_count() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM items';";

impl Shop {
    async fn new(files: &[(&str, &str)]) -> Self {
        let database = TestDatabase::new().await;
        database.execute("DROP SCHEMA galo_migrations CASCADE").await;
        let shop = Self { database, folder: tempfile::tempdir().unwrap() };
        for folder in ["migrations", "procedures"] {
            std::fs::create_dir(shop.path(folder)).unwrap();
        }
        files.iter().for_each(|(name, text)| shop.write(name, text));
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    async fn migrate_with(&self, options: Options) -> Result<Applied, String> {
        let never = std::future::pending();
        let done = database::migrate(&self.database.owner_target(), self.folder.path(), &options, never).await;
        done.map_err(|error| format!("{error:#}"))
    }

    async fn migrate(&self) -> Result<Applied, String> {
        self.migrate_with(Options::default()).await
    }

    /// What was applied, as it is printed.
    async fn applied(&self) -> String {
        self.migrate().await.unwrap().to_string()
    }

    async fn refused(&self) -> String {
        self.migrate().await.unwrap_err()
    }

    /// `galo migrate`, as the owner of the database.
    fn command(&self) -> Command {
        let mut command = galo();
        command.arg("migrate").arg(self.folder.path()).env("DATABASE_URL", self.database.owner_url());
        command
    }

    /// The rows of a query with one column, as text.
    async fn rows(&self, sql: &str) -> Vec<String> {
        let sql = format!("SELECT x::text FROM ({sql}) AS rows (x)");
        self.database.owner().await.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    async fn versions(&self) -> Vec<String> {
        self.rows("SELECT format('%s %s', version, name) FROM galo_migrations.versions ORDER BY version").await
    }

    /// Everything that a migration could change: tables, functions, rows of the history.
    async fn contents(&self) -> Vec<String> {
        let mut all = self
            .rows(
                "SELECT format('%s %s', oid, relname) FROM pg_class WHERE relnamespace > 16000 UNION ALL
                 SELECT format('%s %s %s', oid, proname, xmin) FROM pg_proc WHERE oid > 16000 UNION ALL
                 SELECT nspname FROM pg_namespace ORDER BY 1",
            )
            .await;
        if all.iter().any(|name| name == "galo_migrations") {
            all.extend(self.versions().await);
            all.extend(self.rows("SELECT format('%s', p) FROM galo_migrations.procedures AS p").await);
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_applied_once_and_in_the_order_of_their_versions() {
    // Given three files, of which the text order is another one, when they are applied twice, then each ran once.
    let shop = Shop::new(&[
        ("migrations/V1__items.sql", ITEMS),
        ("migrations/V2__price.sql", "ALTER TABLE items ADD price int;"),
        ("migrations/V10__prices.sql", "INSERT INTO items VALUES (3, 'c', 30);"),
        ("procedures/count.sql", COUNT),
    ])
    .await;
    assert_eq!(shop.applied().await, "V1__items, V2__price, V10__prices, the file of procedures/");
    assert_eq!(shop.applied().await, "nothing");
    assert_eq!(shop.rows("SELECT item_count()").await, ["3"]);
    // A later one is applied alone.
    shop.write("migrations/V11__more.sql", "INSERT INTO items VALUES (4);");
    assert_eq!(shop.applied().await, "V11__more, the file of procedures/");
    assert_eq!(shop.versions().await, ["1 items", "2 price", "10 prices", "11 more"]);
    assert_eq!(shop.rows("SELECT id FROM items ORDER BY id").await, ["1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_is_missing_renamed_or_late_is_refused_with_the_remedy() {
    let shop = Shop::new(&[
        ("migrations/V1__items.sql", ITEMS),
        ("migrations/V3__price.sql", "ALTER TABLE items ADD price int;"),
        ("procedures/count.sql", COUNT),
    ])
    .await;
    shop.migrate().await.unwrap();
    let before = shop.contents().await;
    let assert_refused = async |expected: &[&str]| {
        // A new file and a changed procedure beside it are not applied either.
        shop.write("migrations/V4__new.sql", "CREATE TABLE new ();");
        shop.write("procedures/count.sql", &COUNT.replace("SELECT", "SELECT 7 +"));
        let refused = shop.refused().await;
        expected.iter().for_each(|part| assert!(refused.contains(part), "`{part}` is missing in: {refused}"));
        assert_eq!(shop.contents().await, before);
    };
    shop.write("migrations/V1__items.sql", &format!("{ITEMS}-- more\n"));
    assert_refused(&[
        "V1__items.sql: it was changed after it was applied on 2",
        "restore the text that was applied",
        "V5__name.sql",
    ])
    .await;
    // Other newlines are not another text: git may check a file out with them.
    shop.write("migrations/V1__items.sql", &ITEMS.replace('\n', "\r\n"));
    shop.rename("migrations/V3__price.sql", "away");
    assert_refused(&["V3__price.sql: it was applied on 2", "but the file is missing; restore it"]).await;
    shop.rename("away", "migrations/V3__cost.sql");
    assert_refused(&["V3__cost.sql: version 3 was applied", "another name, V3__price.sql", "V5__cost.sql"]).await;
    shop.rename("migrations/V3__cost.sql", "migrations/V3__price.sql");
    shop.write("migrations/V2__late.sql", "SELECT 1;");
    assert_refused(&["V2__late.sql: it is not applied, but a later version is", "V5__late.sql"]).await;
    std::fs::remove_file(shop.path("migrations/V2__late.sql")).unwrap();
    assert_eq!(shop.applied().await, "V4__new, the file of procedures/");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_files_that_are_refused_are_reported_at_once() {
    let files = ["V1__a", "V3__b", "V4__c", "V6__d", "V7__e"].map(|name| format!("migrations/{name}.sql"));
    let shop = Shop::new(&files.each_ref().map(|name| (name.as_str(), "SELECT 1;\n"))).await;
    shop.migrate().await.unwrap();
    // Given two that were changed, one that is missing, one that was renamed, and two that come late,
    shop.write(&files[0], "SELECT 2;\n");
    shop.write(&files[1], "SELECT 3;\n");
    shop.rename(&files[2], "away");
    shop.rename(&files[3], "migrations/V6__other.sql");
    shop.write("migrations/V2__late.sql", "SELECT 4;\n");
    shop.write("migrations/V5__later.sql", "SELECT 5;\n");
    // when they are applied or only compared, then each is named once, with its remedy.
    for arguments in [&[][..], &["--dry-run"]] {
        let (done, stdout, stderr) = run(shop.command().args(arguments));
        assert!(!done, "{stdout}{stderr}");
        let folder = shop.path("migrations").display().to_string();
        let lines: Vec<_> = stderr.lines().filter_map(|line| line.split(&format!("{folder}/")).nth(1)).collect();
        let expected: [(&str, &[&str]); 6] = [
            ("V1__a.sql: it was changed after it was applied on ", &[]),
            (
                "V3__b.sql: it was changed after it was applied on ",
                &["restore the text that was applied", "V8__name.sql"],
            ),
            ("V4__c.sql: it was applied on ", &["the file is missing; restore it"]),
            ("V6__other.sql: version 6 was applied", &["under another name, V6__d.sql; restore", "V8__other.sql"]),
            ("V2__late.sql: it is not applied, but a later version is", &["V9__late.sql"]),
            ("V5__later.sql: it is not applied, but a later version is", &["V10__later.sql"]),
        ];
        assert_eq!(lines.len(), expected.len(), "{stderr}");
        for (line, (start, parts)) in lines.iter().zip(expected) {
            assert!(line.starts_with(start), "{start}: {line}");
            parts.iter().for_each(|part| assert!(line.contains(part), "`{part}` is missing in: {line}"));
        }
        // The moment is whole.
        let moment = lines[0].split(" on ").nth(1).and_then(|rest| rest.get(..23)).unwrap();
        assert!(moment.ends_with(" UTC") && moment.as_bytes()[13] == b':', "{moment}");
        // The remedy of the two is written once.
        assert_eq!(stderr.matches("restore the text").count(), 1, "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_named_with_file_line_and_postgres_text_and_leaves_the_former_version() {
    let shop = Shop::new(&[("migrations/V1__items.sql", ITEMS)]).await;
    shop.migrate().await.unwrap();
    let before = shop.contents().await;
    for (sql, expected) in [
        (
            "CREATE TABLE é ();\n-- x\nCREATE TABEL y ();",
            "V2__x.sql:3: ERROR: syntax error at or near \"TABEL\" (42601)",
        ),
        ("CREATE TABLE y ();\nSELECT 1;\n\nSELECT no;", "V2__x.sql:4: ERROR: column \"no\" does not exist (42703)"),
        // Postgres reports no position: the statement is the one after those that succeeded.
        (
            "/* a; */ CREATE TABLE y (t text DEFAULT ';');\nDO $$ BEGIN NULL; END $$;\n\n-- required\nALTER TABLE items\n    ALTER \
             name SET NOT NULL;",
            "V2__x.sql:5: ERROR: column \"name\" of relation \"items\" contains null values (23502)",
        ),
        (
            "SELECT 1;\nCREATE UNIQUE INDEX i ON items ((1));",
            "V2__x.sql:2: ERROR: could not create unique index \"i\" (23505)\n  detail: Key ((1))=(1) is duplicated.",
        ),
        // In the body of a function.
        (
            "CREATE TABLE y ();\nDO $$ BEGIN\n  PERFORM no FROM items;\nEND $$;",
            "V2__x.sql:2: ERROR: column \"no\" does not exist (42703)\n  in: SELECT no FROM items\n  at: PL/pgSQL function",
        ),
        // At the commit.
        (
            "CREATE TABLE y (i int UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO y VALUES (1), (1);",
            "V2__x.sql: ERROR: duplicate key value violates unique constraint \"y_i_key\" (23505)",
        ),
        (
            "CREATE TABLE items ();",
            "hint: if the database was made before it had migrations, `galo migrate --adopt VERSION`",
        ),
        ("\n\\copy items from x", "V2__x.sql:2: ERROR: syntax error at or near \"\\\""),
    ] {
        shop.write("migrations/V2__x.sql", sql);
        let refused = shop.refused().await;
        assert!(refused.contains(expected), "`{expected}` is missing in: {refused}");
        assert_eq!(shop.contents().await, before, "{sql}");
    }
    // Those before the one that fails stay.
    shop.write("migrations/V3__y.sql", "SELECT no;");
    shop.write("migrations/V2__x.sql", "CREATE TABLE x ();");
    assert!(shop.refused().await.contains("V3__y.sql:1: ERROR"));
    assert_eq!(shop.versions().await, ["1 items", "2 x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_its_transaction_is_refused() {
    let shop = Shop::new(&[("migrations/V1__items.sql", "CREATE TABLE a ();\nCOMMIT;\nCREATE TABLE b ();")]).await;
    let before = shop.contents().await;
    shop.write("procedures/a.sql", "ROLLBACK;");
    let refused = shop.refused().await;
    assert!(refused.contains("V1__items.sql:2: the file is one transaction by itself; remove `COMMIT`"), "{refused}");
    assert!(refused.contains("a.sql:1: the file is one transaction by itself; remove `ROLLBACK`"), "{refused}");
    assert_eq!(shop.contents().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refuses_a_transaction_runs_without_one_where_the_file_says_so() {
    let shop = Shop::new(&[
        ("migrations/V1__items.sql", ITEMS),
        ("migrations/V2__index.sql", "CREATE INDEX CONCURRENTLY i ON items (name);"),
    ])
    .await;
    let refused = shop.refused().await;
    assert!(refused.contains("V2__index.sql:1: ERROR: CREATE INDEX CONCURRENTLY cannot run inside"), "{refused}");
    assert!(refused.contains("whose first line is `-- galo: no transaction`"), "{refused}");
    // What was done before a failure stays, and the message says so.
    let text = "-- galo: no transaction\nDROP INDEX CONCURRENTLY IF EXISTS i;\n\nCREATE UNIQUE INDEX CONCURRENTLY i ON items ((1));";
    shop.write("migrations/V2__index.sql", text);
    let refused = shop.refused().await;
    assert!(refused.contains("V2__index.sql:4: ERROR: could not create unique index"), "{refused}");
    assert!(refused.contains("1 of its 2 statements have succeeded and stay"), "{refused}");
    assert_eq!(shop.versions().await, ["1 items"]);
    shop.write("migrations/V2__index.sql", &text.replace("UNIQUE ", ""));
    assert_eq!(shop.applied().await, "V2__index");
    assert_eq!(shop.rows("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass").await, ["true"]);
    let (_, stdout, _) = run(shop.command().arg("--dry-run"));
    assert!(stdout.contains("version:    V2__index on ") && stdout.contains("pending:    nothing"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_roles_of_a_file_do_not_reach_the_next() {
    let set = "SET search_path = ''; SET lock_timeout = '7s'; SET ROLE pg_monitor;";
    let create = "CREATE TABLE t AS SELECT current_user AS x, current_setting('search_path') AS path;";
    let no_transaction = format!("-- galo: no transaction\n{set}");
    let shop = Shop::new(&[
        ("migrations/V1__a.sql", set),
        ("migrations/V2__b.sql", &no_transaction),
        ("migrations/V3__c.sql", create),
        ("procedures/1_a.sql", set),
        ("procedures/2_b.sql", &create.replace("TABLE t", "TABLE IF NOT EXISTS u")),
    ])
    .await;
    shop.migrate().await.unwrap();
    for table in ["t", "u"] {
        let rows = shop.rows(&format!("SELECT x || ' ' || path FROM public.{table}")).await;
        assert_eq!(rows, [format!("{SUPERUSER} \"$user\", public")], "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn procedures_are_applied_again_when_one_changes_and_after_a_migration() {
    let log = "CREATE TABLE IF NOT EXISTS log (x text); INSERT INTO log VALUES ('b');";
    let shop =
        Shop::new(&[("migrations/V1__items.sql", ITEMS), ("procedures/a.sql", COUNT), ("procedures/b.sql", log)]).await;
    let times = async || shop.rows("SELECT count(*) FROM log").await.concat();
    assert_eq!(shop.applied().await, "V1__items, the 2 files of procedures/");
    assert_eq!((shop.applied().await.as_str(), times().await.as_str()), ("nothing", "1"));
    shop.write("procedures/a.sql", &COUNT.replace("SELECT", "SELECT 7 +"));
    assert_eq!(shop.applied().await, "the 2 files of procedures/");
    assert_eq!((shop.rows("SELECT item_count()").await.concat(), times().await), ("9".to_owned(), "2".to_owned()));
    // A failure in one leaves all of them as they were.
    shop.write("procedures/a.sql", COUNT);
    shop.write("procedures/b.sql", "\nSELECT no;");
    assert!(shop.refused().await.contains("procedures/b.sql:2: ERROR: column \"no\""));
    assert_eq!(shop.rows("SELECT item_count()").await, ["9"]);
    // A migration may drop what they create.
    shop.write("procedures/b.sql", log);
    shop.write("migrations/V2__drop.sql", "DROP FUNCTION item_count; DROP TABLE log;");
    assert_eq!(shop.applied().await, "V2__drop, the 2 files of procedures/");
    assert_eq!((shop.rows("SELECT item_count()").await.concat(), times().await), ("2".to_owned(), "1".to_owned()));
    // One that is gone is noted, once; what it created stays.
    std::fs::remove_file(shop.path("procedures/a.sql")).unwrap();
    let (done, stdout, stderr) = run(&mut shop.command());
    assert!(done && stdout.contains("procedures: a.sql is gone"), "{stdout}");
    assert!(stderr.contains("a.sql is no longer in procedures/; what it created stays"), "{stderr}");
    assert_eq!(shop.applied().await, "nothing");
    assert_eq!(shop.rows("SELECT item_count()").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_gets_the_privileges_on_the_database_that_a_copy_lacks() {
    let database = TestDatabase::new().await;
    let may = async |target: &TestDatabase| {
        let sql = "SELECT has_database_privilege('galo', current_database(), 'TEMPORARY')";
        target.owner().await.query_one(sql, &[]).await.unwrap().get::<_, bool>(0)
    };
    assert!(may(&database).await);
    database::apply(&database.owner_target(), &checkout().sql()).await.unwrap();
    assert!(!may(&database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_history_that_no_migration_wrote_is_named() {
    let shop = Shop::new(&[("migrations/V1__items.sql", ITEMS)]).await;
    shop.migrate().await.unwrap();
    for (name, moment, checksum) in [
        ("'x'", "'yesterday'", "'1'"),
        ("'x'", "'2026-99-01T00:00:00Z'", "'1'"),
        ("'x'", "'2026-01-01T00:00:00Z'", "'-1'"),
        ("'x'", "'2026-01-01T00:00:00Z'", "'99999999999999999999'"),
        ("NULL", "'2026-01-01T00:00:00Z'", "'1'"),
        ("'x'", "NULL", "NULL"),
    ] {
        let row = format!("INSERT INTO galo_migrations.versions VALUES (2, {name}, {moment}, {checksum})");
        shop.database.execute(&row).await;
        let refused = shop.refused().await;
        let names_it = refused.contains("the row of version 2 was not written by a migration; correct it");
        assert!(names_it || refused.contains("date/time field value out of range"), "{row}: {refused}");
        shop.database.execute("DELETE FROM galo_migrations.versions WHERE version = 2").await;
    }
    assert_eq!(shop.applied().await, "nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_applies_and_the_others_find_nothing() {
    let shop = Shop::new(&[
        ("migrations/V1__items.sql", &format!("{ITEMS}SELECT pg_sleep(0.3);")),
        ("procedures/a.sql", COUNT),
    ])
    .await;
    let all = join_all((0..4).map(|_| shop.migrate())).await;
    let mut all: Vec<_> = all.into_iter().map(|applied| applied.unwrap().to_string()).collect();
    all.sort();
    assert_eq!(all, ["V1__items, the file of procedures/", "nothing", "nothing", "nothing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_another_one_and_says_so_but_not_for_ever() {
    let shop = Shop::new(&[("migrations/V1__items.sql", ITEMS)]).await;
    let other = shop.database.owner().await;
    let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    // The key is part of the promise: programs of other versions must find the lock.
    other.execute("SELECT pg_advisory_lock(x'67616c6f6d696772'::bigint)", &[]).await.unwrap();
    let (done, _, stderr) = run(shop.command().args(["--wait", "1"]));
    let expected =
        format!("another migration is running on this database (process {pid} of Postgres, connected since 2");
    assert!(!done && stderr.contains(&expected) && stderr.contains("did not end within 1 s"), "{stderr}");
    assert!(stderr.contains(&format!("SELECT pg_terminate_backend({pid})")), "{stderr}");
    let mut waiting = Program::start(shop.command());
    waiting.wait_for("another migration is running (process ");
    waiting.signal(Signal::SIGINT);
    assert!(!waiting.wait().success());
    waiting.wait_for("stopped by SIGINT; nothing was changed");
    let mut waiting = Program::start(shop.command());
    waiting.wait_for("another migration is running (process ");
    drop(other);
    waiting.wait_for("applied:    V1__items");
    assert!(waiting.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_or_a_statement_that_takes_too_long_ends_the_migration() {
    let shop = Shop::new(&[("migrations/V1__items.sql", ITEMS)]).await;
    shop.migrate().await.unwrap();
    let mut other = shop.database.owner().await;
    let reader = other.transaction().await.unwrap();
    reader.query("SELECT FROM items", &[]).await.unwrap();
    shop.write("migrations/V2__price.sql", "CREATE TABLE x ();\nALTER TABLE items ADD price int;");
    let options = || Options { lock_timeout: Duration::from_millis(200), ..Options::default() };
    let begun = Instant::now();
    let refused = shop.migrate_with(options()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(refused.contains("V2__price.sql:2: ERROR: canceling statement due to lock timeout (55P03)"), "{refused}");
    assert!(refused.contains("run it again, or raise --lock-timeout"), "{refused}");
    assert_eq!(shop.versions().await, ["1 items"]);
    assert_eq!(shop.rows("SELECT coalesce(to_regclass('x')::text, 'none')").await, ["none"]);
    reader.commit().await.unwrap();
    shop.write("migrations/V3__slow.sql", "SELECT pg_sleep(60);");
    let options = Options { statement_timeout: Duration::from_millis(300), ..options() };
    let refused = shop.migrate_with(options).await.unwrap_err();
    assert!(refused.contains("V3__slow.sql:1: ERROR: canceling statement due to statement timeout"), "{refused}");
    assert!(refused.contains("raise --statement-timeout"), "{refused}");
    assert_eq!(shop.versions().await, ["1 items", "2 price"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_what_is_pending_and_changes_nothing() {
    let shop = Shop::new(&[
        ("migrations/V1__items.sql", ITEMS),
        ("migrations/V2__index.sql", "-- galo: no transaction\nCREATE INDEX CONCURRENTLY i ON items (id);"),
        ("procedures/count.sql", COUNT),
    ])
    .await;
    let before = shop.contents().await;
    let (done, stdout, _) = run(shop.command().arg("--dry-run"));
    assert!(done, "{stdout}");
    let lines: Vec<_> = stdout.lines().skip(1).collect();
    let expected = [
        "version:    none",
        "pending:    V1__items",
        "pending:    V2__index, without a transaction",
        "procedures: count.sql is new or has changed",
        "procedures: all of them are applied again",
        "dry run: nothing was changed",
    ];
    assert_eq!(lines, expected);
    assert_eq!(shop.contents().await, before);
    let (done, stdout, _) = run(&mut shop.command());
    assert!(done && stdout.ends_with("applied:    V1__items, V2__index, the file of procedures/\n"), "{stdout}");
    let status = migrate::status(&shop.database.owner_target(), shop.folder.path()).await.unwrap();
    assert!(status.version.unwrap().starts_with("V2__index on 2") && status.pending.is_empty());
    assert!(!status.procedures.are_due());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_statement_and_leaves_the_former_version() {
    let shop = Shop::new(&[
        ("migrations/V1__items.sql", ITEMS),
        ("migrations/V2__slow.sql", "CREATE TABLE x ();\nSELECT pg_sleep(3600);"),
        ("migrations/V3__never.sql", "CREATE TABLE never ();"),
    ])
    .await;
    let sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE TABLE x%' AND state = 'active'
                    AND datname = current_database()";
    let mut program = Program::start(shop.command());
    let begun = Instant::now();
    while shop.rows(sleeping).await.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{}", program.log());
    }
    program.signal(Signal::SIGINT);
    assert!(!program.wait().success());
    program.wait_for("stopped by SIGINT; the migrations that were applied before stay");
    program.wait_for("V2__slow.sql:2: ERROR: canceling statement due to user request");
    assert_eq!(shop.rows(sleeping).await, Vec::<String>::new());
    assert_eq!(shop.versions().await, ["1 items"]);
    assert_eq!(shop.rows("SELECT coalesce(to_regclass('x')::text, 'none')").await, ["none"]);
    // The lock is free.
    shop.write("migrations/V2__slow.sql", "CREATE TABLE x ();");
    assert_eq!(shop.applied().await, "V2__slow, V3__never");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_the_nodes_is_refused_with_the_remedy() {
    let shop = Shop::new(&[("migrations/V1__items.sql", ITEMS)]).await;
    let target = Target::parse(&Secret::new(shop.database.service_url())).unwrap();
    let error = database::apply(&target, shop.folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("migrate as the owner of the database") && error.contains("permission denied"), "{error}");
    shop.migrate().await.unwrap();
    let error = database::apply(&target, shop.folder.path()).await.unwrap_err().to_string();
    assert!(error.starts_with("ERROR: permission denied for schema galo_migrations (42501)"), "{error}");
    assert!(error.contains("migrate as the owner of the database, always the same role"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_from_before_migrations_is_adopted_without_running_them() {
    let shop = Shop::new(&[
        ("migrations/V1__items.sql", ITEMS),
        ("migrations/V2__price.sql", "ALTER TABLE items ADD price int;"),
        ("migrations/V3__more.sql", "ALTER TABLE items ADD more int;"),
        ("procedures/count.sql", COUNT),
    ])
    .await;
    shop.database.execute(&format!("{ITEMS} ALTER TABLE items ADD price int; INSERT INTO items VALUES (9)")).await;
    let before = shop.contents().await;
    let (done, _, stderr) = run(shop.command().args(["--adopt", "7"]));
    assert!(!done && stderr.contains("--adopt 7: there is no such version"), "{stderr}");
    assert_eq!(shop.contents().await, before);
    let refused = shop.refused().await;
    assert!(refused.contains("relation \"items\" already exists") && refused.contains("--adopt VERSION"), "{refused}");
    let (done, stdout, stderr) = run(shop.command().args(["--adopt", "2"]));
    assert!(done && stdout.contains("applied:    V3__more, the file of procedures/"), "{stdout}{stderr}");
    assert_eq!(shop.versions().await, ["1 items", "2 price", "3 more"]);
    assert_eq!(shop.rows("SELECT id FROM items ORDER BY id").await, ["1", "2", "9"]);
    let (done, _, stderr) = run(shop.command().args(["--adopt", "3"]));
    assert!(!done && stderr.contains("the database has a history already, up to V3__more"), "{stderr}");
    assert_eq!(shop.applied().await, "nothing");
}

/// The rows of the ledger, and the identities of its tables.
async fn ledger(database: &TestDatabase) -> Vec<String> {
    let sql = "SELECT format('%s %s', ctid, t) FROM rinha.transacoes AS t UNION ALL
               SELECT format('%s', c) FROM rinha.clientes AS c UNION ALL
               SELECT format('%s %s', oid, relname) FROM pg_class WHERE relnamespace = 'rinha'::regnamespace ORDER BY 1";
    database.owner().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filled_ledger_of_the_former_files_gets_its_history_and_loses_no_row() {
    // Given a ledger that was made by numbered files, which have left no history, when it is migrated, then every row
    // is the one that it was, the tables were not even rewritten, and nothing is pending.
    let database = TestDatabase::new().await;
    database
        .execute(
            "DROP SCHEMA galo_migrations CASCADE;
             SELECT realizar_transacao(1 + i % 5, 1 + i % 7, CASE WHEN i % 3 = 0 THEN 'd' ELSE 'c' END, 'x',
                                       CASE WHEN i % 2 = 0 THEN 'c:' || i END)
             FROM generate_series(1, 5000) AS i",
        )
        .await;
    let before = ledger(&database).await;
    assert!(before.len() > 5000, "{}", before.len());
    for _ in 0..2 {
        database::apply(&database.owner_target(), &checkout().sql()).await.unwrap();
        assert_eq!(ledger(&database).await, before);
    }
    database.assert_ledger_holds().await;
    let status = migrate::status(&database.owner_target(), &checkout().sql()).await.unwrap();
    assert!(status.pending.is_empty() && !status.procedures.are_due(), "{status:?}");
    assert!(status.version.unwrap().starts_with("V2__"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_not_a_superuser_migrates() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "DROP SCHEMA galo_migrations CASCADE;
             CREATE ROLE dona LOGIN CREATEROLE; GRANT rinha_owner, galo TO dona;
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO dona', current_database()); END $$",
        )
        .await;
    let url = database.owner_url().replace(&format!("//{SUPERUSER}@"), "//dona@");
    let target = Target::parse(&Secret::new(url)).unwrap();
    for _ in 0..2 {
        database::apply(&target, &checkout().sql()).await.unwrap();
    }
    database.assert_ledger_holds().await;
}

#[test]
fn a_folder_that_is_not_there_is_refused_with_what_to_give() {
    let mut command = galo();
    command.args(["migrate", "/nowhere"]).env("DATABASE_URL", "host=/nowhere user=x");
    let (done, _, stderr) = run(&mut command);
    assert!(!done && stderr.contains("cannot read /nowhere"), "{stderr}");
    assert!(stderr.contains("give the folder that has migrations/"), "{stderr}");
    assert!(!Path::new("/nowhere").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_opens_the_database_that_is_given_and_its_branch() {
    let database = TestDatabase::new().await;
    let psql = |arguments: &[&str]| {
        let mut command = galo();
        command.arg("psql").args(arguments).args(["--", "-XAtc", "SELECT current_database(), current_user"]);
        run(command.env("DATABASE_URL", database.owner_url()))
    };
    let (done, stdout, stderr) = psql(&[]);
    assert!(done && stdout.starts_with("test_") && stdout.ends_with("|postgres\n"), "{stdout}{stderr}");
    let name = stdout.split('|').next().unwrap().to_owned();
    let (done, _, stderr) = psql(&["--branch", "x/1"]);
    assert!(!done && stderr.contains(&format!("database \"{name}@x/1\" does not exist")), "{stderr}");
    let branch = database::branch(&database.owner_target(), "x/1").await.unwrap();
    let (_, stdout, _) = psql(&["--branch", "x/1"]);
    assert_eq!(stdout, format!("{name}@x/1|postgres\n"));
    // A copy: what happens to it does not happen to the original.
    database::apply(&branch, &checkout().sql()).await.unwrap();
    let branches = database::branches(&database.owner_target()).await.unwrap();
    assert_eq!(branches.iter().map(|branch| branch.name.as_str()).collect::<Vec<_>>(), ["x/1"]);
    assert!(database::drop_branch(&database.owner_target(), "x/1").await.unwrap());
    assert!(!database::drop_branch(&database.owner_target(), "x/1").await.unwrap());
    // The exit status is that of psql.
    let mut command = galo();
    command.args(["psql", "--", "-XAtc", "SELECT no"]).env("DATABASE_URL", database.owner_url());
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let mut elsewhere = galo();
    elsewhere.arg("psql").current_dir("/");
    let (done, _, stderr) = run(&mut elsewhere);
    assert!(!done && stderr.contains("DATABASE_URL is not set, and there is no project"), "{stderr}");
}
