//! What becomes of an error that a procedure raised: the handler answers it, or the host does by its SQLSTATE. One that
//! does not prove that nothing was recorded is a 503 and reaches no handler.

use crate::cli::Program;
use crate::fixture::{Guest, calling, calling_then, replying};
use crate::harness::{Guests, TestDatabase, TestNode, until};

/// A function for each SQLSTATE, which counts its calls in a sequence; and two that violate constraints, one of them at
/// the end of the transaction. `distante` is a language that Postgres does not trust, as PL/Proxy is.
const PROCEDURES: &str = "
    CREATE SEQUENCE chamadas; GRANT USAGE ON SEQUENCE chamadas TO PUBLIC;
    CREATE LANGUAGE distante HANDLER plpgsql_call_handler VALIDATOR plpgsql_validator;
    CREATE TABLE pedidos (id int PRIMARY KEY, de int CONSTRAINT de_um_pedido REFERENCES pedidos DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO pedidos VALUES (1, 1);
    CREATE FUNCTION repetido() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.pedidos VALUES (1, 1) RETURNING id';
    CREATE FUNCTION solto() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.pedidos VALUES (2, 9) RETURNING id';";

fn raising(name: &str, language: &str, sqlstate: &str) -> String {
    format!(
        "CREATE FUNCTION {name}() RETURNS int LANGUAGE {language} AS $$ BEGIN
             PERFORM nextval('public.chamadas'); RAISE EXCEPTION 'o segredo' USING ERRCODE = '{sqlstate}', DETAIL = 'mais segredo';
         END $$;"
    )
}

async fn calls(database: &TestDatabase) -> i64 {
    let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.chamadas";
    database.owner().await.query_one(sql, &[]).await.unwrap().get(0)
}

/// A node with a guest for each function, which leaves errors to the host.
async fn node_with<'a>(sql: &str, functions: impl Iterator<Item = &'a str>) -> (TestDatabase, Guests, TestNode) {
    let database = TestDatabase::new().await;
    database.execute(&(PROCEDURES.to_owned() + sql)).await;
    let add = |guests: Guests, name| guests.add(name, &calling(name), &format!("procedures = [\"{name}\"]"));
    let guests = functions.fold(Guests::new(), add);
    let node = TestNode::guests(&database, &guests).await;
    (database, guests, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_a_handler_leaves_is_answered_by_its_sqlstate() {
    let raised = [
        ("22012", 400, r#"{"error":"invalid_value"}"#),
        ("42501", 403, r#"{"error":"forbidden"}"#),
        ("23514", 422, r#"{"error":"constraint_violated"}"#),
        ("23502", 422, r#"{"error":"constraint_violated"}"#),
        ("23P01", 409, r#"{"error":"conflict"}"#),
        ("P0001", 500, r#"{"error":"internal_error"}"#),
        ("XX000", 500, r#"{"error":"internal_error"}"#),
        ("PT404", 404, r#"{"error":"raised","message":"o segredo"}"#),
        ("PT503", 503, r#"{"error":"raised","message":"o segredo"}"#),
        ("PT204", 500, r#"{"error":"internal_error"}"#),
        ("40001", 503, r#"{"error":"unavailable"}"#),
        ("57014", 503, r#"{"error":"unavailable"}"#),
        ("08006", 503, r#"{"error":"unavailable"}"#),
    ];
    let names = raised.map(|(sqlstate, ..)| format!("f_{}", sqlstate.to_lowercase()));
    let sql: String = raised.iter().zip(&names).map(|((state, ..), name)| raising(name, "plpgsql", state)).collect();
    let all = names.iter().map(String::as_str).chain(["repetido", "solto"]);
    let (database, _guests, node) = node_with(&sql, all).await;
    for ((sqlstate, status, body), name) in raised.into_iter().zip(&names) {
        let before = calls(&database).await;
        let answer = node.get(&format!("/{name}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, body), "{sqlstate}");
        assert_eq!(answer.header("retry-after"), if status == 503 { "1" } else { "" }, "{sqlstate}");
        assert_eq!(calls(&database).await, before + 1, "{sqlstate}");
    }
    for (name, body) in [("repetido", r#"{"error":"conflict"}"#), ("solto", r#"{"error":"conflict"}"#)] {
        let answer = node.get(&format!("/{name}")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (409, body), "{name}");
    }
    let rows: i64 = database.owner().await.query_one("SELECT count(*) FROM pedidos", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_answers_an_error_with_what_it_says() {
    // A guest whose body is a part of the error: its address and length are two parameters of `respond`.
    let telling = |address: usize| {
        let respond = format!(
            "(if (i32.eqz (local.get 2)) (then unreachable))
             (i32.store (i32.const 4112) (local.get {address})) (i32.store (i32.const 4116) (local.get {}))
             (i32.const 4096)",
            address + 1
        );
        let guest = calling_then("solto", 418);
        Guest { respond: &respond, ..guest }.component()
    };
    let database = TestDatabase::new().await;
    database.execute(PROCEDURES).await;
    let parts = [
        ("sqlstate", 3, "23503"),
        ("message", 5, "insert or update on table \"pedidos\" violates foreign key constraint \"de_um_pedido\""),
        // Who may not read the table is not told the key, by Postgres up to 17.
        ("detail", 8, " is not present in table \"pedidos\"."),
        ("constraint", 11, "de_um_pedido"),
    ];
    let add = |guests: Guests, (name, address, _): &(&str, usize, &str)| {
        guests.add(name, &telling(*address), "procedures = [\"solto\"]")
    };
    let guests = parts.iter().fold(Guests::new(), add);
    let node = TestNode::guests(&database, &guests).await;
    for (name, _, text) in parts {
        let answer = node.get(&format!("/{name}")).await;
        assert!(answer.status == 418 && answer.text().ends_with(text), "{name}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_of_an_error_is_cut_before_a_guest_gets_it() {
    let most = galo::limits::ERROR_TEXT_BYTES_MAX;
    let sql = "CREATE FUNCTION prolixo() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                   RAISE EXCEPTION USING ERRCODE = 'PT400', MESSAGE = 'x' || repeat('ü', 1000000),
                                       CONSTRAINT = 'y' || repeat('ü', 1000000); END $$";
    let (_database, _guests, node) = node_with(sql, ["prolixo"].into_iter()).await;
    let answer = node.get("/prolixo").await;
    assert_eq!(answer.status, 400);
    let shown = galo::limits::RAISED_BYTES_MAX;
    assert!((shown / 2..shown * 2).contains(&answer.text().len()), "{}", answer.text().len());
    let database = TestDatabase::new().await;
    database.execute(sql).await;
    let tells = |respond| Guest { respond, ..calling_then("prolixo", 400) }.component();
    let message =
        "(i32.store (i32.const 4112) (local.get 5)) (i32.store (i32.const 4116) (local.get 6)) (i32.const 4096)";
    let constraint =
        "(i32.store (i32.const 4112) (local.get 11)) (i32.store (i32.const 4116) (local.get 12)) (i32.const 4096)";
    let granted = "procedures = [\"prolixo\"]";
    let guests = Guests::new().add("x", &tells(message), granted).add("y", &tells(constraint), granted);
    let node = TestNode::guests(&database, &guests).await;
    // One byte less, so that no character is cut in two.
    for name in ["x", "y"] {
        assert_eq!(node.get(&format!("/{name}")).await.text(), format!("{name}{}", "ü".repeat(most / 2 - 1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_handler_does_not_answer_are_its_fault() {
    let silent = Guest { respond: "i32.const 512", ..calling_then("um", 200) }.component();
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION um() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    let guests = Guests::new().add("x", &silent, "procedures = [\"um\"]");
    let program = Program::serve(&database, guests.folder.path());
    let answer = crate::harness::request(&program.listen, http::Method::GET, "/x", "").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (500, r#"{"error":"internal_error"}"#));
    let line = program.wait_for("guest faulted");
    assert!(line.contains("no response to rows"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_what_works_elsewhere_is_not_taken_as_proof() {
    // Given functions of a language that may work in another database, when one fails in a way that does not prove what
    // happened there, then the answer is a 503, and the call is not sent again.
    let raised = [
        ("0A000", 503),
        ("26000", 503),
        ("XX000", 503),
        ("42P01", 503),
        ("22012", 400),
        ("23505", 409),
        ("PT402", 402),
    ];
    let names = raised.map(|(sqlstate, _)| format!("f_{}", sqlstate.to_lowercase()));
    let sql: String = raised.iter().zip(&names).map(|((state, _), name)| raising(name, "distante", state)).collect();
    let (database, _guests, node) = node_with(&sql, names.iter().map(String::as_str)).await;
    for ((sqlstate, status), name) in raised.into_iter().zip(&names) {
        let before = calls(&database).await;
        assert_eq!(node.get(&format!("/{name}")).await.status.as_u16(), status, "{sqlstate}");
        assert_eq!(calls(&database).await, before + 1, "{sqlstate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_outdated_is_not_sent_again_where_it_may_have_worked_elsewhere() {
    // Given a function of a language that may work in another database, when its error looks like that of a statement
    // made for another function, then it is not called twice, and the answer does not claim that nothing is recorded.
    let raising = |name: &str, language: &str| {
        format!(
            "CREATE FUNCTION {name}() RETURNS int LANGUAGE {language} AS $$ BEGIN PERFORM nextval('public.chamadas');
                 RAISE EXCEPTION 'galo: this is another function than the one that was looked up' USING ERRCODE = '22P02';
             END $$;"
        )
    };
    let sql = raising("perto", "plpgsql") + &raising("longe", "distante");
    let (database, _guests, node) = node_with(&sql, ["perto", "longe"].into_iter()).await;
    // What is local was rolled back, so that a second call is harmless.
    for (name, status, called) in [("longe", 503, 1), ("perto", 400, 2)] {
        let before = calls(&database).await;
        assert_eq!(node.get(&format!("/{name}")).await.status.as_u16(), status, "{name}");
        assert_eq!(calls(&database).await, before + called, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_granted_as_remote_proves_no_more_than_one_of_another_language() {
    // Given functions of a trusted language, when the manifest says that they work in another database, then that
    // holds while the node serves: an error that proves nothing is a 503, and the call is not sent again.
    let raised = [("0A000", 2, 500, 503), ("XX000", 1, 500, 503), ("23505", 1, 409, 409), ("PT402", 1, 402, 402)];
    let names = raised.map(|(sqlstate, ..)| format!("f_{}", sqlstate.to_lowercase()));
    let sql: String = raised.iter().zip(&names).map(|((state, ..), name)| raising(name, "plpgsql", state)).collect();
    let (database, guests, node) = node_with(&sql, names.iter().map(String::as_str)).await;
    let check = async |is_remote: bool| {
        for ((sqlstate, sent, local, remote), name) in raised.into_iter().zip(&names) {
            let before = calls(&database).await;
            let expected = if is_remote { (remote, 1) } else { (local, sent) };
            let status = node.get(&format!("/{name}")).await.status.as_u16();
            assert_eq!((status, calls(&database).await - before), expected, "{sqlstate}, remote: {is_remote}");
        }
    };
    check(false).await;
    let remote = names.iter().fold(guests.manifest(), |manifest, name| {
        let granted = format!("procedures = [\"{name}\"]");
        manifest.replace(&granted, &format!("{granted}\nremote = [\"{name}\"]"))
    });
    guests.put_file("galo.toml", remote.as_bytes());
    for name in &names {
        let is_remote = || node.handler(name).procedures[0].to_string() == format!("{name} (remote)");
        until("the manifest is taken", String::new, is_remote).await;
    }
    check(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_left_to_the_host_is_logged_once_without_the_clients_data() {
    let database = TestDatabase::new().await;
    let sql = PROCEDURES.to_owned() + &raising("proibido", "plpgsql", "42501") + &raising("longo", "plpgsql", "22001");
    database.execute(&sql).await;
    let add = |guests: Guests, name| guests.add(name, &calling(name), &format!("procedures = [\"{name}\"]"));
    let guests = ["repetido", "longo", "proibido"].into_iter().fold(Guests::new(), add);
    let program = Program::serve(&database, guests.folder.path());
    for (name, status) in [("repetido", 409), ("longo", 400), ("proibido", 403)].repeat(3) {
        let answer = crate::harness::request(&program.listen, http::Method::GET, &format!("/{name}"), "").await;
        assert_eq!(answer.status.as_u16(), status, "{name}");
    }
    // A missing grant is a failure of the procedure, which the operator mends.
    let line = program.wait_for("procedure failed");
    assert!(line.contains("ERROR") && line.contains("42501") && line.contains("handler=\"proibido\""), "{line}");
    let left: Vec<_> = ["repetido", "longo"].map(|name| program.wait_for(&format!("procedure=\"{name}\""))).into();
    assert!(left.iter().all(|line| line.contains("WARN") && line.contains("generation=1")), "{left:?}");
    assert!(
        left[0].contains("sqlstate=\"23505\" constraint=\"pedidos_pkey\" code=\"conflict\" status=409"),
        "{left:?}"
    );
    assert!(left[1].contains("sqlstate=\"22001\" code=\"invalid_value\" status=400"), "{left:?}");
    let log = program.log();
    assert_eq!(log.matches("leaves an error of its procedure to the host").count(), 2, "{log}");
    assert!(!left.concat().contains("segredo"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_constraint_that_is_left_to_the_host_is_logged_once() {
    let database = TestDatabase::new().await;
    // Two constraints with the same answer, one after the other; the second has a name that a procedure made up.
    let sql = "CREATE FUNCTION alternado() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                   IF nextval('public.chamadas') % 2 = 1 THEN
                       RAISE unique_violation USING CONSTRAINT = 'um';
                   END IF;
                   RAISE unique_violation USING CONSTRAINT = 'dois' || repeat('x', 100000);
               END $$;";
    database.execute(&(PROCEDURES.to_owned() + sql)).await;
    let guests = Guests::new().add("alternado", &calling("alternado"), "procedures = [\"alternado\"]");
    let program = Program::serve(&database, guests.folder.path());
    for _ in 0..6 {
        let answer = crate::harness::request(&program.listen, http::Method::GET, "/alternado", "").await;
        assert_eq!(answer.status, 409);
    }
    program.wait_for("constraint=\"um\"");
    let line = program.wait_for("constraint=\"dois");
    assert!(line.len() < 1000, "{}", line.len());
    let log = program.log();
    assert_eq!(log.matches("leaves an error of its procedure to the host").count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_a_response_are_logged_with_its_handler() {
    let database = TestDatabase::new().await;
    let reply = replying(200, None, 0);
    // Three lines: two texts, the second with a control character, and a debug line, which is not written.
    let items = format!(
        r#"{} (data (i32.const 1048) "\00\20\00\00\03\00\00\00")
           (data (i32.const 8192) "\02\00\00\00\00\24\00\00\05\00\00\00\01\00\00\00\10\24\00\00\06\00\00\00\00\00\00\00\20\24\00\00\05\00\00\00")
           (data (i32.const 9216) "alarm") (data (i32.const 9232) "a\1b[2Jb") (data (i32.const 9248) "quiet")"#,
        reply.items
    );
    let guests = Guests::new().add("fala", &Guest { items: items.into(), ..reply }.component(), "");
    let program = Program::serve(&database, guests.folder.path());
    assert_eq!(crate::harness::request(&program.listen, http::Method::GET, "/fala", "").await.status, 200);
    let line = program.wait_for("alarm");
    assert!(line.contains("WARN") && line.contains("handler=\"fala\"") && line.contains("generation=1"), "{line}");
    let line = program.wait_for("a?[2Jb");
    assert!(line.contains("INFO") && !program.log().contains("quiet"), "{line}");
}
