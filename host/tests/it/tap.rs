//! `galo tap`, `galo explain` and `galo record` against running nodes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use galo::config::{Readers, Recording, Settings};
use galo::develop::build::Profile;
use galo::operator::{self, Access};
use galo::record::Record;
use http::Method;
use nix::sys::signal::Signal;

use crate::cli::{Program, run};
use crate::fixture;
use crate::harness::{Connection, Guests, TestDatabase, TestNode, galo, handlers, scratch, settings, transacao};

const TOKEN: &str = "0123456789abcdef";

/// A command with the token of the nodes.
fn with_token(arguments: &[&str]) -> Command {
    let mut command = galo();
    command.args(arguments).env("GALO_ADMIN_TOKEN", TOKEN);
    command
}

/// A node that requires the token, and records one request in so many.
fn node(database: &TestDatabase, folder: &Path, every: &str) -> Program {
    let mut command = with_token(&["serve", "--record", every]);
    command.env("GALO_LOG_FORMAT", "text");
    Program::serve_with(command, database, folder)
}

/// A POST with an id and a key.
async fn post(node: &Program, id: &str, key: &str, body: &str) {
    let headers = [("x-request-id", id), ("idempotency-key", key)];
    let mut connection = Connection::open(&node.listen).await;
    connection.send_with(Method::POST, "/clientes/1/transacoes", &headers, body.to_owned()).await.unwrap();
}

fn galo_with(arguments: &[&str]) -> (bool, String, String) {
    run(&mut with_token(arguments))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_shows_the_requests_that_its_filter_takes_until_it_is_interrupted() {
    let database = TestDatabase::new().await;
    let node = node(&database, handlers(Profile::Release), "1");
    let tap = |more: &[&str]| Program::start(with_token(&[&["tap", "--admin", &node.admin], more].concat()));
    post(&node, "before", "k0", &transacao(1, "c", "x")).await;
    let mut all = tap(&[]);
    all.wait_for("before");
    let mut refused = tap(&["transacoes", "--status", "4xx", "--method", "post", "--path", "/1/"]);
    let json = tap(&["--json", "--slower", "0"]);
    post(&node, "good", "k1", &transacao(1, "c", "x")).await;
    post(&node, "bad", "k2", &transacao(1, "x", "x")).await;
    let line = all.wait_for("good");
    assert!(line.contains("Z 200 POST /clientes/1/transacoes  transacoes#1  "), "{line}");
    assert!(line.contains(" ms (") && line.contains("prepare "), "{line}");
    assert!(!line.contains('\u{1b}'), "colours are for a terminal: {line}");
    assert!(refused.wait_for("bad").contains(" 422 POST "));
    let line = json.wait_for("\"good\"");
    assert_eq!(Record::parse(&line).unwrap().request.id, "good");
    for (program, absent) in [(&mut all, "nothing"), (&mut refused, "good")] {
        program.signal(Signal::SIGINT);
        assert!(program.wait().success());
        assert!(!program.log().contains(absent), "{}", program.log());
    }
    assert!(!refused.log().contains("before"), "{}", refused.log());
    // It ends with its reader, also if no request comes: `galo tap | head -1`.
    let mut tap = with_token(&["tap", "--admin", &node.admin]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(tap.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("before") && tap.wait().unwrap().success(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_goes_on_with_a_node_that_is_restarted() {
    let database = TestDatabase::new().await;
    let (_folder, socket) = scratch("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let serve = || {
        let mut command = galo();
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", &admin, "--record", "1", "--handlers"]);
        command.arg(handlers(Profile::Release)).env("DATABASE_URL", database.service_url());
        Program::start(command).until_ready()
    };
    let mut node = serve();
    for number in 0..5 {
        post(&node, &format!("first-{number}"), &format!("k{number}"), &transacao(1, "c", "x")).await;
    }
    let mut command = galo();
    command.args(["tap", "--admin", &admin]);
    let tap = Program::start(command);
    tap.wait_for("first-4");
    node.signal(Signal::SIGTERM);
    node.wait();
    tap.wait_for("waiting for it, Ctrl-C ends");
    let node = serve();
    // The numbers of its records begin again, below those that the tap has seen.
    post(&node, "second", "k9", &transacao(1, "c", "x")).await;
    tap.wait_for("second");
    tap.wait_for("answers again");
    assert_eq!(tap.log().matches("first-4").count(), 1, "{}", tap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_is_started_before_a_node_says_so_and_waits_for_it_beside_another_one() {
    let database = TestDatabase::new().await;
    let there = node(&database, handlers(Profile::Release), "1");
    let (_folder, socket) = scratch("admin.sock");
    let admin = format!("unix:{}", socket.display());
    // Alone, it is more probably a wrong address.
    let (success, out, stderr) = galo_with(&["tap", "--admin", &admin]);
    let expected = format!("galo: nothing listens on {admin}; start a node there, or use the admin address of one");
    assert!(!success && out.is_empty() && stderr.starts_with(&expected), "{out}{stderr}");
    let tap = Program::start(with_token(&["tap", "--admin", &there.admin, "--admin", &admin]));
    tap.wait_for(&format!("{admin}: it cannot be reached; waiting for it, Ctrl-C ends"));
    post(&there, "one", "k1", &transacao(1, "c", "x")).await;
    tap.wait_for("one");
    let mut command =
        with_token(&["serve", "--listen", "127.0.0.1:0", "--admin", &admin, "--record", "1", "--handlers"]);
    command.arg(handlers(Profile::Release)).env("DATABASE_URL", database.service_url());
    let late = Program::start(command).until_ready();
    post(&late, "two", "k2", &transacao(1, "c", "x")).await;
    tap.wait_for("answers again");
    let line = tap.wait_for("two");
    assert!(line.contains(&admin), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_tells_what_is_wrong_and_what_to_do() {
    let database = TestDatabase::new().await;
    let node = node(&database, handlers(Profile::Release), "0");
    let tap = Program::start(with_token(&["tap", "--admin", &node.admin]));
    tap.wait_for("records nothing: start the node with --record 1 (or GALO_RECORD=1;");
    let few = Program::start(with_token(&["tap", "--admin", &node.admin, "extrato"]));
    few.wait_for("records nothing");
    for (arguments, reason) in [
        (&["nobody"][..], "has no handler nobody; it has: transacoes, extrato"),
        (&["--status", "9xx"], "`9xx` is not a status: write 404, 5xx or 400-499"),
        (&["--slower", "x"], "--slower"),
        (&["--last", "x"], "--last"),
    ] {
        let (success, out, stderr) = galo_with(&[&["tap", "--admin", &node.admin], arguments].concat());
        assert!(!success && out.is_empty() && stderr.contains(reason), "{stderr}");
    }
    let (success, _, stderr) = run(galo().args(["tap", "--admin", &node.admin]));
    assert!(!success && stderr.contains("requires a token"), "{stderr}");
    let (success, out, stderr) = galo_with(&["record", "--admin", &node.admin]);
    assert!(
        !success && out.is_empty() && stderr.contains("records nothing: start the node with --record 1"),
        "{stderr}"
    );
    let (success, _, stderr) = galo_with(&["explain", "x", "--admin", &node.admin]);
    assert!(!success && stderr.contains("records nothing"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_node_without_a_token_are_not_for_everybody_on_the_machine() {
    let database = TestDatabase::new().await;
    let mut command = galo();
    command.args(["serve", "--record", "1"]);
    let node = Program::serve_with(command, &database, handlers(Profile::Release));
    for arguments in [&["record"][..], &["explain", "x"], &["tap"]] {
        let (success, out, stderr) = run(galo().args(arguments).args(["--admin", &node.admin]));
        assert!(
            !success && out.is_empty() && stderr.contains("--admin-token-file FILE, or with --admin unix:PATH"),
            "{stderr}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_reached_hides_nothing_of_the_others() {
    let database = TestDatabase::new().await;
    let node = node(&database, handlers(Profile::Release), "1");
    post(&node, "one", "k", &transacao(1, "c", "x")).await;
    let both = ["--admin", &node.admin, "--admin", "unix:/nope/admin.sock"];
    let run = |command: &[&str]| galo_with(&[command, &both[..]].concat());
    crate::cli::wait_until("it is recorded", || run(&["record"]).1.lines().count() == 1);
    // What is known is printed; that it may not be all is an error.
    for (command, printed) in [(&["explain", "one"][..], "/clientes/1/transacoes"), (&["record"], "\"id\":\"one\"")] {
        let (success, out, stderr) = run(command);
        assert!(!success && out.contains(printed) && stderr.contains("/nope/admin.sock"), "{command:?}: {out}{stderr}");
    }
    let (success, out, stderr) = run(&["explain", "two"]);
    assert!(!success && out.is_empty() && stderr.contains("no record of two") && stderr.contains("/nope/"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_several_nodes_make_one_corpus() {
    let database = TestDatabase::new().await;
    let nodes = [(); 2].map(|()| node(&database, handlers(Profile::Release), "1"));
    for (node, id) in nodes.iter().zip(["one", "two"]) {
        post(node, id, id, &transacao(1, "c", "x")).await;
        post(node, &format!("{id}-again"), "k", &transacao(1, "c", "x")).await;
    }
    let both = ["--admin", &nodes[0].admin, "--admin", &nodes[1].admin];
    let recorded = |more: &[&str]| {
        let (success, out, stderr) = galo_with(&[&["record"], &both[..], more].concat());
        assert!(success, "{stderr}");
        out.lines().map(|line| Record::parse(line).unwrap().request.id).collect::<Vec<_>>()
    };
    crate::cli::wait_until("all are recorded", || galo_with(&[&["record"], &both[..]].concat()).1.lines().count() == 4);
    assert_eq!(recorded(&["--last", "1000"]), ["one", "one-again", "two", "two-again"]);
    assert_eq!(recorded(&["--last", "1"]), ["one-again", "two-again"]);
    assert_eq!(recorded(&["--handler", "transacoes", "--last", "1"]), ["one-again", "two-again"]);
    let (success, _, stderr) = galo_with(&[&["record", "--handler", "nobody"], &both[..]].concat());
    assert!(!success && stderr.contains("has no handler nobody"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_explained_with_the_row_that_the_procedure_finds() {
    let database = TestDatabase::new().await;
    let node = node(&database, handlers(Profile::Release), "1");
    post(&node, "r-1", "\"k 1\"", &transacao(7, "c", "x")).await;
    post(&node, "r-2", "k2", &transacao(1, "x", "x")).await;
    let explain = |id: &str, more: &[&str]| galo_with(&[&["explain", id, "--admin", &node.admin], more].concat());
    crate::cli::wait_until("it is recorded", || explain("r-2", &[]).0);
    let (_, text, _) = explain("r-1", &[]);
    for part in [
        "request     POST /clientes/1/transacoes  id r-1  2",
        "handler     transacoes generation 1, ",
        ", serves\n",
        "call        realizar_transacao(1, 7, \"c\", \"x\", \"c:k 1\")\n",
        "rows        resultado \"ok\", limite 100000, saldo 7\n",
        "response    200  {",
        "explain     transacao_por_chave(cliente_id => 1, chave => \"c:k 1\")\n            seq 1, valor 7, tipo \"c\"",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let (_, text, _) = explain("r-2", &[]);
    assert!(text.contains("the request called `cliente_existe`, which has no `chave`"), "{text}");
    let (_, json, _) = explain("r-1", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["requests"][0]["explain"]["rows"][0][1], 7);
    let (success, _, stderr) = explain("r-", &[]);
    assert!(
        !success && stderr.contains("has no record of r-: it was not recorded, or newer ones took its place"),
        "{stderr}"
    );

    let (_folder, log) = scratch("log");
    std::fs::write(&log, "INFO request_id=\"r-1\" hello\nINFO request_id=\"r-11\" other\n").unwrap();
    let (_, text, _) = explain("r-1", &["--log-file", log.to_str().unwrap()]);
    assert!(text.contains("logged      INFO request_id=\"r-1\" hello\n") && !text.contains("other"), "{text}");

    // It reads, whatever it is replaced by.
    let writing = "CREATE OR REPLACE FUNCTION public.transacao_por_chave(cliente_id integer, chave text)
         RETURNS TABLE (seq bigint, valor bigint, tipo text, descricao text, saldo_apos bigint, realizada_em timestamptz)
         LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$ BEGIN DELETE FROM rinha.transacoes; END $$";
    database.execute(writing).await;
    let (_, text, _) = explain("r-1", &[]);
    assert!(text.contains("cannot execute DELETE in a read-only transaction"), "{text}");
    assert_eq!(database.ledger_rows(1).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generation_of_a_request_is_a_canary_and_later_one_that_was_rolled_back_and_why() {
    // Given requests that a canary answered, and another canary after it, when both were rolled back, then each request
    // is explained with the reason of its own generation, also after the folder has got another component.
    let database = TestDatabase::new().await;
    let guests = crate::canary::folder(&fixture::answers(200), "");
    let recording = Recording::one_in(1);
    let settings = Settings { recording, readers: Readers::Loopback, ..settings(guests.folder.path()) };
    let node = TestNode::with(&database, settings).await;
    let admin = node.admin_address();
    let explain = |id: &str| run(galo().args(["explain", id, "--admin", &admin]));
    let access = [Access { admin: node.running.admin.clone(), token: None }];
    for (number, why) in [(1, "it costs too much"), (2, "the second reason")] {
        let canary = crate::canary::deployment(&fixture::marked(&fixture::answers(200), number), &["99.99%"]);
        operator::deploy(&access, &canary, |_| {}).await.unwrap();
        let id = format!("r-{number}");
        crate::harness::request_with(&node.address(), Method::GET, "/x/1", &[("x-request-id", &id)]).await;
        crate::cli::wait_until("it is recorded", || explain(&id).0);
        let (_, text, _) = explain(&id);
        let generation = number + 1;
        let expected =
            format!("x generation {generation}, {}, is a canary, which answers a share", &canary.sha256[..12]);
        assert!(text.contains(&expected), "{text}");
        let (success, _, stderr) = run(galo().args(["rollback", "x", "-m", why, "--admin", &admin]));
        assert!(success, "{stderr}");
    }
    let both = || {
        for (id, why) in [("r-1", "it costs too much"), ("r-2", "the second reason")] {
            let (_, text, _) = explain(id);
            assert!(text.contains(&format!("rolled back: {why}")), "{id}: {text}");
        }
    };
    both();
    guests.put("x", &fixture::answers(201));
    node.until_generation("x", 4).await;
    both();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explain_that_cannot_be_is_refused_with_the_line() {
    let database = TestDatabase::new().await;
    let guest = fixture::replying(200, None, 0).component();
    for (explain, reason) in [
        ("realizar_transacao", "explain: `realizar_transacao` may write; declare it STABLE"),
        ("extrato", "explain: there is no argument for the parameter `cliente_id` of `extrato`"),
        ("nothing", "explain: "),
    ] {
        let guests = Guests::new().add("a", &guest, &format!("explain = \"{explain}\""));
        let refusal = guests.refusal(&database).await;
        assert!(refusal.contains("galo.toml:1: a: ") && refusal.contains(reason), "{refusal}");
    }
}
