//! `galo test` with end-to-end examples: projects outside of the checkout, whose handlers are components without a
//! crate, as those of another language are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use galo::example::Example;
use nix::sys::signal::Signal;
use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use serde_json::json;
use tempfile::TempDir;

use crate::cli::{Program, run};
use crate::fixture::{Guest, calling_then};
use crate::harness::{PATIENCE, TestDatabase, checkout, galo};

/// A table.
const MIGRATION: &str = "
    DO $$ BEGIN CREATE ROLE galo LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
    CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL UNIQUE,
                        at timestamptz NOT NULL DEFAULT clock_timestamp(), tag uuid NOT NULL DEFAULT gen_random_uuid());";

/// A procedure that adds a row to it, with what varies from row to row; and one that only reads.
const PROCEDURES: &str = "
    CREATE OR REPLACE FUNCTION add_note() RETURNS json LANGUAGE sql SECURITY DEFINER
        AS $$ INSERT INTO public.notes (text) VALUES ('milk')
              RETURNING json_build_object('id', id, 'text', text, 'at', at, 'tag', tag,
                                          'notes', (SELECT count(*) + 1 FROM public.notes)) $$;
    CREATE OR REPLACE FUNCTION reads_nothing() RETURNS json LANGUAGE sql
        AS $$ SELECT json_agg(text) FROM public.notes $$;";

/// A guest that calls a procedure, and answers with the text or JSON that it returns. It leaves errors to the host.
fn showing(procedure: &str) -> Vec<u8> {
    // Of the parameters, 2 is the case and 5 the address of the values; a text has its address at 8, its length at 12.
    let respond = "(if (local.get 2) (then (return (i32.const 512))))
                   (i32.store (i32.const 4112) (i32.load offset=8 (local.get 5)))
                   (i32.store (i32.const 4116) (i32.load offset=12 (local.get 5)))
                   (i32.const 4096)";
    Guest { respond, ..calling_then(procedure, 200) }.component()
}

/// A guest that answers an error with its constraint as the body.
fn explaining(procedure: &str) -> Vec<u8> {
    let respond = "(if (i32.eqz (local.get 2)) (then (return (i32.const 4096))))
                   (i32.store (i32.const 4112) (local.get 11)) (i32.store (i32.const 4116) (local.get 12))
                   (i32.const 4096)";
    Guest { respond, ..calling_then(procedure, 418) }.component()
}

struct Project {
    folder: TempDir,
    manifest: String,
}

impl Project {
    fn new() -> Self {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(permissions).tempdir().unwrap();
        for name in ["sql/migrations", "sql/procedures", "handlers"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let project = Self { folder, manifest: String::new() };
        project.write("sql/migrations/V1__notes.sql", MIGRATION);
        project.write("sql/procedures/notes.sql", PROCEDURES);
        project
    }

    /// With one handler, `notes`, that adds a note.
    fn notes() -> Self {
        Self::new().handler("notes", "add_note", &showing("add_note"))
    }

    fn handler(mut self, name: &str, procedure: &str, component: &[u8]) -> Self {
        std::fs::create_dir_all(self.path(&format!("handlers/{name}/examples"))).unwrap();
        std::fs::write(self.path(&format!("handlers/{name}/{name}.wasm")), component).unwrap();
        self.manifest += &format!(
            "[[handler]]\nname = \"{name}\"\ncomponent = \"{name}.wasm\"\nroute = \"GET /{name}\"\nprocedures = [\"{procedure}\"]\n\n"
        );
        self.write("galo.toml", &self.manifest);
        self
    }

    fn example(self, handler: &str, name: &str, example: &serde_json::Value) -> Self {
        self.write(&format!("handlers/{handler}/examples/{name}.json"), &example.to_string());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn galo(&self, arguments: &[&str]) -> Command {
        let mut command = galo();
        command.arg("test").args(arguments).current_dir(self.folder.path());
        command
    }

    /// Tests beside a database. Returns whether that succeeded, and everything it printed.
    fn test(&self, database: &TestDatabase, arguments: &[&str]) -> (bool, String) {
        let (success, stdout, stderr) = run(self.galo(arguments).env("GALO_TEST_DATABASE", database.owner_url()));
        (success, stdout + &stderr)
    }
}

/// What the note of `add_note` looks like when it is the first one.
fn first_note() -> serde_json::Value {
    json!({"id": 1, "text": "milk", "at": "{timestamp}", "tag": "{uuid}", "notes": 1})
}

fn asking(body: &serde_json::Value) -> serde_json::Value {
    json!({"request": {"path": "/notes"}, "response": {"status": 200, "body": body}})
}

/// A call without a database, so that a file has something that passes in any case.
fn planned() -> serde_json::Value {
    json!({"request": {"path": "/notes"}, "plan": {"call": {"procedure": "add_note"}}})
}

/// The scratch databases beside this one.
async fn left(database: &TestDatabase) -> i64 {
    let sql = "SELECT count(*) FROM pg_database AS left_over, pg_database AS this
               WHERE this.datname = current_database() AND starts_with(left_over.datname, 'galo_test_' || this.oid || '_')";
    database.owner().await.query_one(sql, &[]).await.unwrap().get(0)
}

#[track_caller]
fn assert_has(shown: &str, texts: &[&str]) {
    for text in texts {
        assert!(shown.contains(text), "`{text}` is missing in:\n{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_do_not_see_each_other_and_what_varies_is_matched() {
    // Given two examples that add the same note, and one that finds what its `before` has added.
    let mut after = asking(&json!({"id": 2, "notes": 2, "...": "{any}"}));
    after["before"] = json!(["INSERT INTO notes (text)", "VALUES ('bread');"]);
    let project = Project::notes()
        .example("notes", "first", &asking(&first_note()))
        .example("notes", "again", &asking(&first_note()))
        .example("notes", "second", &after)
        .example("notes", "without-a-database", &planned());
    let database = TestDatabase::new().await;
    let (success, shown) = project.test(&database, &[]);
    assert!(success, "{shown}");
    assert_has(
        &shown,
        &[
            "end-to-end example first ... ok",
            "end-to-end example again ... ok",
            "end-to-end example second ... ok",
            "\nexample without-a-database ... ok",
            "  examples             1 passed, 0 failed\n  end-to-end examples  3 passed, 0 failed\nresult: ok",
        ],
    );
    assert_eq!(left(&database).await, 0);
    // The database of the URL has none of it.
    let sql = "SELECT to_regclass('notes') IS NULL";
    assert!(database.owner().await.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
}

#[test]
fn a_private_server_is_started_and_goes_away() {
    let project = Project::notes().example("notes", "first", &asking(&first_note()));
    let temporary =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777)).tempdir().unwrap();
    let (success, shown, stderr) = run(project.galo(&[]).env("TMPDIR", temporary.path()));
    assert!(success, "{shown}{stderr}");
    assert_has(&shown, &["end-to-end examples  1 passed, 0 failed\nresult: ok"]);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_example_shows_what_differs_and_nothing_else() {
    let mut wrong = asking(&first_note());
    wrong["response"]["status"] = json!(201);
    wrong["response"]["body"]["text"] = json!("bread");
    wrong["response"]["body"]["tag"] = json!("{integer}");
    let project = Project::notes().example("notes", "wrong", &wrong);
    let (success, shown) = project.test(&TestDatabase::new().await, &[]);
    assert!(!success);
    let lines: Vec<_> = shown.lines().filter(|line| line.starts_with(['+', '-'])).collect();
    let [heads @ .., old_tag, old_text, new_tag, new_text, old_status, new_status] = lines.as_slice() else {
        panic!("{shown}")
    };
    assert_eq!(heads, ["--- expected", "+++ actual"]);
    assert_eq!(*old_tag, "-    \"tag\": \"{integer}\",");
    assert_eq!((*old_text, *new_text), ("-    \"text\": \"bread\"", "+    \"text\": \"milk\""));
    assert!(new_tag.starts_with("+    \"tag\": \"") && new_tag.len() == old_tag.len() + 36 - 9, "{new_tag}");
    assert_eq!((*old_status, *new_status), ("-  \"status\": 201", "+  \"status\": 200"));
    assert_has(
        &shown,
        &[
            "end-to-end example wrong ... FAILED\nthe response is not the expected one",
            "  failed: notes, end-to-end example wrong\nresult: FAILED",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_before_is_reported_with_its_file_its_line_and_what_postgres_says() {
    let mut wrong = asking(&first_note());
    wrong["before"] = json!(["INSERT INTO notes (text) VALUES ('a');", "INSERT INTO note (text) VALUES ('b');"]);
    let project = Project::notes()
        .example("notes", "wrong", &wrong)
        .example("notes", "first", &asking(&first_note()))
        .example("notes", "odd", &json!({"request": {"path": "/notes"}, "before": 7, "response": {"status": 200}}))
        .example(
            "notes",
            "alone",
            &json!({"before": "SELECT 1", "request": {"path": "/notes"}, "plan": {"call": {"procedure": "add_note"}}}),
        );
    let database = TestDatabase::new().await;
    let (success, shown) = project.test(&database, &[]);
    assert!(!success);
    assert_has(
        &shown,
        &[
            "notes/examples/wrong.json: `before`, line 2: ERROR: relation \"note\" does not exist",
            "end-to-end example first ... ok",
            "notes/examples/odd.json: not an example: `before` is SQL: a text, or a list of its lines",
            "notes/examples/alone.json: `before` goes with a `request` and a `response`",
            "end-to-end examples  1 passed, 1 failed",
        ],
    );
    assert_eq!(left(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_a_procedure_raises_is_answered_as_a_node_does() {
    let twice = |handler: &str, response: serde_json::Value| json!({"before": "INSERT INTO notes (text) VALUES ('milk')", "request": {"path": format!("/{handler}")}, "response": response});
    let project = Project::notes()
        .handler("explains", "add_note", &explaining("add_note"))
        .example("notes", "conflict", &twice("notes", json!({"status": 409, "body": {"error": "conflict"}})))
        .example("notes", "unexpected", &twice("notes", json!({"status": 200})))
        .example("explains", "constraint", &twice("explains", json!({"status": 418, "body": "notes_text_key"})))
        // Without a database, an error is given beside `rows`.
        .example(
            "explains",
            "given",
            &json!({"error": {"sqlstate": "23505", "constraint": "c"}, "response": {"status": 418, "body": "c"}}),
        )
        .example("notes", "left-to-the-host", &json!({"error": {"sqlstate": "23505"}}))
        .example("notes", "not-left", &json!({"error": {"sqlstate": "23505"}, "response": {"status": 409}}));
    let (success, shown) = project.test(&TestDatabase::new().await, &[]);
    assert!(!success);
    assert_has(
        &shown,
        &[
            "end-to-end example conflict ... ok",
            "end-to-end example constraint ... ok",
            "\nexample given ... ok",
            "\nexample left-to-the-host ... ok",
            "\nexample not-left ... FAILED\nrespond: it left the outcome to the host",
            "end-to-end example unexpected ... FAILED",
            "-  \"status\": 200",
            "+  \"status\": 409",
            "procedure add_note failed: 23505: duplicate key value violates unique constraint",
            "  examples             2 passed, 1 failed\n  end-to-end examples  2 passed, 1 failed",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_a_handler_logs_are_compared_and_shown() {
    // A response with one line: its list at 24, and of the line the level at 0, the text at 4.
    let guest = calling_then("add_note", 200);
    let items = format!(
        r#"{} (data (i32.const 4120) "\00\20\00\00\01\00\00\00") (data (i32.const 8192) "\02\00\00\00\00\24\00\00\09\00\00\00")
           (data (i32.const 9216) "low stock")"#,
        guest.items
    );
    let with_log = |response: serde_json::Value, text: &str| {
        let mut response = response;
        response["log"] = json!([{"level": "warning", "text": text}]);
        response
    };
    let pure =
        |text: &str| json!({"rows": {"columns": [], "values": []}, "response": with_log(json!({"status": 200}), text)});
    let asked = |status: u16, text: &str| json!({"request": {"path": "/notes"}, "response": with_log(json!({"status": status}), text)});
    let project = Project::new()
        .handler("notes", "add_note", &Guest { items: items.into(), ..guest }.component())
        .example("notes", "same", &pure("low stock"))
        .example("notes", "other", &pure("{any}"))
        .example("notes", "asked", &asked(200, "low {text}"))
        .example("notes", "failed", &asked(404, "low stock"))
        .example("notes", "pure", &json!({"rows": {"columns": [], "values": []}, "response": {"status": 201}}));
    let (success, shown) = project.test(&TestDatabase::new().await, &[]);
    assert!(!success);
    assert_has(
        &shown,
        &[
            "\nexample same ... ok",
            "\nexample other ... FAILED",
            "-      \"text\": \"{any}\"\n+      \"text\": \"low stock\"",
            "end-to-end example asked ... ok",
            "+  \"status\": 200\n }\nlogged, warning: low stock",
            "-  \"status\": 201\n+  \"status\": 200\n }\nlogged, warning: low stock",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_not_counted_as_passed() {
    let examples = |project: Project| {
        project.example("notes", "first", &asking(&first_note())).example("notes", "planned", &planned())
    };
    let project = examples(Project::notes());
    let not_run = |shown: &str, reason: &str| {
        assert_has(
            shown,
            &[
                "end-to-end example first ... not run",
                "\nexample planned ... ok",
                "  examples             1 passed, 0 failed\n  end-to-end examples  0 passed, 0 failed, 1 not run\n",
                "result: FAILED",
                reason,
            ],
        );
    };
    // No server answers.
    let (success, stdout, stderr) = run(&mut project.galo(&["--database", "postgres://postgres@127.0.0.1:1/x"]));
    assert!(!success);
    not_run(&(stdout + &stderr), "  not run: cannot connect to");
    // The role may not create databases.
    let database = TestDatabase::new().await;
    database.execute("DO $$ BEGIN CREATE ROLE hospede LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$").await;
    let url = database.owner_url().replace("//postgres@", "//hospede@");
    let (success, stdout, stderr) = run(&mut project.galo(&["--database", &url]));
    assert!(!success);
    not_run(&(stdout + &stderr), "  not run: the role may not create databases: run `ALTER ROLE ... CREATEDB`");
    // sql/ has a mistake.
    project.write("sql/procedures/more.sql", "SELECT 1;\nSELEC 2;");
    let (success, shown) = project.test(&database, &[]);
    assert!(!success);
    not_run(&shown, "procedures/more.sql:2: ");
    assert_eq!(left(&database).await, 0);
    std::fs::remove_file(project.path("sql/procedures/more.sql")).unwrap();
    // The manifest grants what sql/ does not make: that is the handler's mistake.
    let project = examples(Project::new().handler("notes", "add_notes", &showing("add_note")));
    let (success, shown) = project.test(&database, &[]);
    assert!(!success);
    assert_has(&shown, &["end-to-end example first ... FAILED\n", "add_notes", "\nexample planned ... ok"]);
    // A URL that cannot be read is a mistake of the command.
    let (success, _, stderr) = run(&mut project.galo(&["--database", "nonsense"]));
    assert!(!success && stderr.contains("--database: "), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_are_chosen_by_handler_and_name() {
    let project = Project::notes()
        .handler("lists", "reads_nothing", &showing("reads_nothing"))
        .handler("bare", "reads_nothing", &showing("reads_nothing"))
        .example("notes", "first", &asking(&first_note()))
        .example("notes", "planned", &planned())
        .example(
            "lists",
            "planned",
            &json!({"request": {"path": "/lists"}, "plan": {"call": {"procedure": "reads_nothing"}}}),
        );
    let database = TestDatabase::new().await;
    let count = |arguments: &[&str]| {
        let (success, shown) = project.test(&database, arguments);
        assert!(success, "{shown}");
        shown.lines().filter(|line| line.contains("example ") && line.ends_with("... ok")).count()
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["notes"]), 2);
    assert_eq!(count(&["notes", "plan"]), 1);
    assert_eq!(count(&["--name", "plan"]), 2);
    assert_eq!(count(&["lists", "--exact", "planned"]), 1);
    for (arguments, expected) in [
        (&["nobody"][..], "no handler `nobody`; there are: notes, lists, bare"),
        (&["bare"], "nothing to test: `bare` has neither unit tests nor examples"),
        (&["notes", "nothing-like-it"], "no test and no example has `nothing-like-it` in its name"),
        (&["--shuffle"], "unexpected argument '--shuffle'"),
    ] {
        let (success, shown) = project.test(&database, arguments);
        assert!(!success && shown.contains(expected), "`{expected}` is missing in: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_junit() {
    let project = Project::notes()
        .example("notes", "first", &asking(&first_note()))
        .example("notes", "wrong", &asking(&json!({"id": "<&>"})))
        .example("notes", "planned", &planned());
    let database = TestDatabase::new().await;
    let report = |arguments: &[&str]| {
        let (success, shown) = project.test(&database, arguments);
        assert!(!success, "{shown}");
        let text = std::fs::read_to_string(project.path("reports/junit.xml")).unwrap();
        Report::deserialize_from_str(&text).unwrap()
    };
    let suites = report(&["--junit", "reports/junit.xml"]).test_suites;
    let names: Vec<_> = suites.iter().map(|suite| (suite.name.as_str(), suite.tests, suite.failures)).collect();
    assert_eq!(names, [("notes end-to-end examples", 2, 1), ("notes examples", 1, 0)]);
    let failed = &suites[0].test_cases[1];
    let TestCaseStatus::NonSuccess { kind: NonSuccessKind::Failure, description: Some(text), .. } = &failed.status
    else {
        panic!("{failed:?}")
    };
    assert!(failed.name.as_str() == "wrong" && text.as_str().contains("-    \"id\": \"<&>\""), "{failed:?}");
    // What was not run is an error, and neither a success nor skipped.
    let suites =
        report(&["--junit", "reports/junit.xml", "--database", "postgres://postgres@127.0.0.1:1/x"]).test_suites;
    assert_eq!((suites[0].tests, suites[0].errors, suites[0].failures), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_no_scratch_database_and_a_later_run_drops_what_a_killed_one_left() {
    let mut endless = asking(&first_note());
    endless["before"] = json!("SELECT pg_sleep(600)");
    let project = Project::notes().example("notes", "endless", &endless);
    let database = TestDatabase::new().await;
    // The examples of this test that run now.
    let asleep = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND starts_with(datname,
                  'galo_test_' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '_')";
    let running = async || database.owner().await.query(asleep, &[]).await.unwrap().len();
    let sleeping = async || {
        let begun = Instant::now();
        while running().await == 0 {
            assert!(begun.elapsed() < PATIENCE, "no example runs");
        }
    };
    let start = || {
        let mut command = project.galo(&[]);
        command.env("GALO_TEST_DATABASE", database.owner_url());
        Program::start(command)
    };
    let mut program = start();
    sleeping().await;
    let begun = Instant::now();
    program.signal(Signal::SIGINT);
    assert_eq!(program.wait().code(), Some(130), "{}", program.log());
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert_eq!(left(&database).await, 0);
    // A run that is killed cannot clear up.
    let mut program = start();
    sleeping().await;
    program.signal(Signal::SIGKILL);
    program.wait();
    assert!(left(&database).await > 0);
    let killed = format!("SELECT pg_terminate_backend(pid, 60000) FROM ({asleep}) AS killed");
    database.owner().await.query(&killed, &[]).await.unwrap();
    // Nor does another one touch what belongs to one that is alive.
    let mut alive = start();
    sleeping().await;
    std::fs::remove_file(project.path("handlers/notes/examples/endless.json")).unwrap();
    let project = project.example("notes", "first", &asking(&first_note()));
    let (success, shown) = project.test(&database, &[]);
    assert!(success, "{shown}");
    assert_eq!(running().await, 1, "{}", alive.log());
    alive.signal(Signal::SIGTERM);
    alive.wait();
    assert_eq!(left(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tests_again_after_a_change_of_an_example_and_of_sql() {
    let project = Project::notes().example("notes", "first", &asking(&json!({"text": "bread", "...": "{any}"})));
    let database = TestDatabase::new().await;
    let mut command = project.galo(&["notes", "--watch"]);
    command.env("GALO_TEST_DATABASE", database.owner_url());
    let mut program = Program::start(command);
    program.wait_for("result: FAILED");
    program.wait_for("Waiting for a change");
    project.write("sql/procedures/notes.sql", &PROCEDURES.replace("'milk'", "'bread'"));
    program.wait_for("result: ok");
    let waits = |log: String| log.matches("Waiting for a change").count();
    crate::cli::wait_until("it waits again", || waits(program.log()) == 2);
    project.write("handlers/notes/examples/broken.json", "{");
    program.wait_for("example broken ... FAILED");
    crate::cli::wait_until("it waits again", || waits(program.log()) == 3);
    // A change during a run starts it over, also while a call does not end.
    let mut endless = asking(&json!({"text": "bread", "...": "{any}"}));
    endless["before"] = json!("SELECT pg_sleep(600)");
    project.write("handlers/notes/examples/first.json", &endless.to_string());
    crate::cli::wait_until("the example runs", || program.log().matches("example broken ... FAILED").count() == 2);
    endless["before"] = json!("SELECT 1");
    project.write("handlers/notes/examples/first.json", &endless.to_string());
    program.wait_for("Sources have changed; starting over");
    crate::cli::wait_until("it waits again", || waits(program.log()) == 4);
    assert_eq!(program.log().matches("end-to-end example first ... ok").count(), 3, "{}", program.log());
    program.signal(Signal::SIGINT);
    assert!(program.wait().success(), "{}", program.log());
    assert_eq!(left(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_keeps_no_scratch_database_of_a_run_that_failed() {
    let project = Project::notes().example("notes", "first", &asking(&json!({"text": "milk", "...": "{any}"})));
    let database = TestDatabase::new().await;
    let mut command = project.galo(&["notes", "--watch"]);
    command.env("GALO_TEST_DATABASE", database.owner_url());
    let mut program = Program::start(command);
    program.wait_for("result: ok");
    // Given sql/ that cannot be applied,
    for (n, sql) in ["SELEC", "SELEC 1"].into_iter().enumerate() {
        project.write("sql/procedures/zz.sql", sql);
        crate::cli::wait_until("it waits again", || program.log().matches("Waiting for a change").count() == n + 2);
    }
    // when it waits, then nothing of those runs is there.
    let begun = Instant::now();
    while left(&database).await > 0 {
        assert!(begun.elapsed() < PATIENCE, "{}", program.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    program.signal(Signal::SIGINT);
    assert!(program.wait().success(), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_follows_what_a_build_command_watches_and_not_what_it_or_a_run_writes() {
    // Given a command that writes beside its sources, and a report there, when nothing changes, then it waits.
    let project = Project::notes().example("notes", "first", &asking(&first_note()));
    project.write("handlers/notes/notes.in", "");
    std::fs::rename(project.path("handlers/notes/notes.wasm"), project.path("handlers/notes/notes.in")).unwrap();
    let build =
        "build = { command = \"date +%N >log.txt && cp notes.in notes.wasm && echo made\", watch = [\"*.in\"] }";
    project.write("galo.toml", &format!("{}\n{build}\n", project.manifest.trim_end()));
    let database = TestDatabase::new().await;
    let mut command = project.galo(&["--watch", "--junit", "handlers/notes/report.xml"]);
    command.env("GALO_TEST_DATABASE", database.owner_url());
    let mut program = Program::start(command);
    let waits = |times: usize| {
        let waits = || program.log().matches("Waiting for a change").count();
        crate::cli::wait_until("it waits again", || waits() == times);
    };
    let (made, ran) = (|| program.log().matches("notes | made").count(), || program.log().matches("result: ").count());
    waits(1);
    assert!(program.log().contains("result: ok"), "{}", program.log());
    // Whole, so that each is one change.
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(project.path("aside"), bytes).unwrap();
        std::fs::rename(project.path("aside"), project.path(name)).unwrap();
    };
    // Its log changes nothing, but an example tests again; the command need not run.
    put("handlers/notes/log.txt", b"x");
    let bread = asking(&json!({"text": "bread", "...": "{any}"})).to_string();
    put("handlers/notes/examples/first.json", bread.as_bytes());
    waits(2);
    put("sql/procedures/notes.sql", PROCEDURES.replace("'milk'", "'bread'").as_bytes());
    waits(3);
    assert_eq!((made(), ran()), (1, 3), "{}", program.log());
    // What it watches does both.
    put("handlers/notes/notes.in", &crate::fixture::answers(204));
    waits(4);
    assert_eq!((made(), ran()), (2, 4), "{}", program.log());
    assert!(!program.log().contains("starting over"), "{}", program.log());
    program.signal(Signal::SIGINT);
    assert!(program.wait().success(), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_checks_only_the_plan_and_says_so() {
    // Given an end-to-end example whose response is wrong, when a node loads it, then it is not refused for that.
    let project = Project::notes().example("notes", "wrong", &asking(&json!("nothing like it")));
    let database = TestDatabase::new().await;
    database.execute(&(MIGRATION.to_owned() + PROCEDURES)).await;
    let deployed = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| {
        let to: PathBuf = deployed.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::copy(project.path(from), to).unwrap();
    };
    put("galo.toml", "galo.toml");
    put("handlers/notes/notes.wasm", "notes.wasm");
    put("handlers/notes/examples/wrong.json", "notes/examples/wrong.json");
    let check = || {
        let (success, stdout, stderr) =
            run(galo().arg("check").arg(deployed.path()).env("DATABASE_URL", database.service_url()));
        (success, stdout + &stderr)
    };
    let (success, shown) = check();
    assert!(success, "{shown}");
    assert_has(&shown, &["0 examples passed; of 1 end-to-end ones only the plan was checked (`galo test` runs them)"]);
    // Its plan is held against the procedures.
    let other =
        json!({"request": {"path": "/notes"}, "plan": {"call": {"procedure": "other"}}, "response": {"status": 200}});
    std::fs::write(deployed.path().join("notes/examples/wrong.json"), other.to_string()).unwrap();
    let (success, shown) = check();
    assert!(!success && shown.contains("notes/examples/wrong.json: the plan is not the expected one"), "{shown}");
}

#[test]
fn the_examples_of_the_documents_are_examples() {
    let root = checkout().root;
    let mut found = Vec::new();
    for name in ["docs/testing.md", "docs/handlers.md"] {
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        for block in text.split("\n```json\n").skip(1) {
            let json = block.split("\n```").next().unwrap();
            Example::parse(PathBuf::from(name), json.as_bytes()).unwrap();
            found.push(serde_json::from_str::<serde_json::Value>(json).unwrap());
        }
    }
    assert!(found.len() > 1, "{found:?}");
    let shown = std::fs::read(root.join("handlers/extrato/examples/after-two-transactions.json")).unwrap();
    assert_eq!(found[0], serde_json::from_slice::<serde_json::Value>(&shown).unwrap());
}
