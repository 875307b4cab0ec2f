//! `galo replay`: a corpus of a real node, and what is found when a component decides otherwise.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use galo::config::{Readers, Recording, Settings};
use galo::develop::build::Profile;
use galo::record::{FORMAT, Kept, Record};
use galo::replay;
use http::Method;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Program, run};
use crate::fixture::replying;
use crate::harness::{Connection, TestDatabase, TestNode, checkout, galo, handlers, settings, transacao};

/// Records of format 1, made by a node: four of `transacoes`, one of `extrato`.
fn golden() -> PathBuf {
    checkout().root.join("host/tests/golden/records-1.jsonl")
}

/// Scratch files of a test.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The golden records, each changed.
    fn corpus(&self, name: &str, mut change: impl FnMut(&mut Value)) -> String {
        let lines = lines().into_iter().map(|mut record| {
            change(&mut record);
            format!("{record}\n")
        });
        self.file(name, lines.collect::<String>())
    }
}

fn lines() -> Vec<Value> {
    let text = std::fs::read_to_string(golden()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `galo replay CORPUS`, outside of a project.
fn replayed(corpus: &str, arguments: &[&str]) -> (bool, String, String) {
    let outside = tempfile::tempdir().unwrap();
    run(command(corpus, arguments).current_dir(outside.path()))
}

fn command(corpus: &str, arguments: &[&str]) -> Command {
    let mut command = galo();
    command.args(["replay", corpus]).args(arguments);
    command
}

/// Where the handlers are, as an option.
fn built() -> [&'static str; 2] {
    ["--handlers", handlers(Profile::Release).to_str().unwrap()]
}

/// `format-N.jsonl` has every field and every kind of value of format N. A later program must read each of them; its
/// own format it writes as it is.
#[test]
fn every_format_stays_readable() {
    for format in 1..=FORMAT {
        for name in ["format", "records"] {
            let path = checkout().root.join(format!("host/tests/golden/{name}-{format}.jsonl"));
            let text = std::fs::read_to_string(path).unwrap();
            for line in text.lines() {
                let record = Record::parse(line).unwrap();
                record.request.to_contract().unwrap();
                record.outcome.as_ref().map(|outcome| outcome.to_contract().unwrap());
                assert_eq!(record.format, format);
                assert!(format < FORMAT || record.line() == line, "{line}");
            }
        }
    }
}

#[test]
fn a_corpus_is_decided_alike_by_the_same_handlers() {
    let corpus = golden();
    let (success, out, stderr) = replayed(corpus.to_str().unwrap(), &built());
    assert!(success, "{out}{stderr}");
    assert!(out.contains("extrato: 0 of 1 differ\n    instructions a request: "), "{out}");
    assert!(out.contains("transacoes: 0 of 4 differ\n"), "{out}");
    assert!(out.contains("result: ok, 0 of 5 differ, 0 skipped, in "), "{out}");
    // Instructions are the same each time, and from a pipe.
    let file = std::fs::File::open(&corpus).unwrap();
    let mut piped = Command::new("cat").stdin(file).stdout(Stdio::piped()).spawn().unwrap();
    let again = command("-", &built()).stdin(piped.stdout.take().unwrap()).output().unwrap();
    assert!(piped.wait().unwrap().success());
    let counted =
        |text: &str| text.lines().filter(|line| line.contains("instructions")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(counted(&String::from_utf8(again.stdout).unwrap()), counted(&out));
}

#[test]
fn the_result_as_json_is_all_of_stdout_and_agrees_with_the_exit_code() {
    let scratch = Scratch::new();
    let corpus = golden();
    let report = |corpus: &str, arguments: &[&str]| {
        let (success, out, stderr) = replayed(corpus, &[arguments, &["--json"]].concat());
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{stderr}"));
        assert_eq!(report["passed"], success, "{out}");
        report
    };
    let same = report(corpus.to_str().unwrap(), &built());
    assert_eq!((&same["compared"], &same["differing"], &same["skipped"]), (&json!(5), &json!(0), &json!({})), "{same}");
    let extrato = &same["handlers"]["extrato"];
    assert_eq!((&extrato["compared"], &extrato["paths"], &same["over_budget"]), (&json!(1), &json!({}), &json!([])));
    // What was stored executed nothing here.
    assert!(extrato["instructions"]["after"].as_u64().unwrap() > 0, "{same}");
    assert!(extrato["instructions"].get("before").is_none(), "{same}");
    let against =
        report(corpus.to_str().unwrap(), &[&built()[..], &["--against", built()[1], "--budget", "1.0"]].concat());
    let counted = &against["handlers"]["extrato"]["instructions"];
    assert!(counted["before"] == counted["after"] && against["over_budget"] == json!([]), "{against}");
    let other = scratch.file("other.wasm", replying(201, None, 0).component());
    let differs = report(corpus.to_str().unwrap(), &["--component", &other, "--handler", "transacoes"]);
    assert_eq!((&differs["passed"], &differs["differing"]), (&json!(false), &json!(4)), "{differs}");
    let path = &differs["handlers"]["transacoes"]["paths"]["response.status"];
    assert_eq!((&path["count"], &path["after"]), (&json!(4), &json!(201)), "{differs}");
    assert_eq!(differs["skipped"], json!({"of `extrato`, which is not compared": 1}), "{differs}");
    let redacted = scratch.corpus("redacted.jsonl", |record| record["redacted"] = json!(["request.claims"]));
    let nothing = report(&redacted, &built());
    assert_eq!((&nothing["passed"], &nothing["compared"]), (&json!(false), &json!(0)), "{nothing}");
}

#[test]
fn what_is_decided_otherwise_is_shown_by_path_with_counts_and_the_first_example() {
    let scratch = Scratch::new();
    let other = scratch.file("other.wasm", replying(201, None, 0).component());
    let corpus = golden();
    let corpus = corpus.to_str().unwrap();
    let (success, out, stderr) = replayed(corpus, &["--component", &other, "--handler", "transacoes"]);
    assert!(!success && stderr.is_empty(), "{stderr}");
    for part in [
        "transacoes: 4 of 4 differ\n",
        "    response.status  4 x\n        ",
        " -> 201  (line 1, id golden-1)\n",
        "    call  3 x\n        {\"arguments\":[",
        "skipped: 1 of `extrato`, which is not compared\n",
        "result: FAILED, 4 of 4 differ, 1 skipped, in ",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    // One stored answer is another one now.
    let mut changed = scratch.corpus("changed.jsonl", |record| {
        if record["request"]["id"] == "golden-1" {
            record["response"]["body"] = json!("{\"limite\":100000,\"saldo\":1}");
        }
    });
    let (success, out, _) = replayed(&changed, &built());
    assert!(
        !success && out.contains("transacoes: 1 of 4 differ\n    response.body.saldo  1 x\n        1 -> "),
        "{out}"
    );
    let (success, out, _) = replayed(&changed, &[&built()[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&out).unwrap();
    assert!(!success && report["passed"] == false, "{out}");
    let path = &report["handlers"]["transacoes"]["paths"]["response.body.saldo"];
    assert_eq!(
        (&path["count"], &path["line"], &path["id"], &path["before"]),
        (&json!(1), &json!(1), &json!("golden-1"), &json!(1))
    );
    // A line that is blank counts as a line.
    changed = scratch.file("blank.jsonl", format!("\n{}", std::fs::read_to_string(&changed).unwrap()));
    assert!(replayed(&changed, &built()).1.contains("(line 2, id golden-1)"));
}

#[test]
fn records_that_cannot_be_compared_are_skipped_and_counted_and_nothing_compared_is_not_passed() {
    let scratch = Scratch::new();
    let of = |record: &Value, id: &str| record["request"]["id"] == id;
    let mixed = scratch.corpus("mixed.jsonl", |record| {
        if of(record, "golden-1") {
            record["contract"] = json!("1.0");
        }
        if of(record, "golden-2") {
            record["signature"] = json!("0123456789abcdef");
            record["request"]["now"] = json!(0);
        }
        if of(record, "golden-3") {
            record["redacted"] = json!(["request.headers.idempotency-key"]);
        }
    });
    let (success, out, stderr) = replayed(&mixed, &built());
    assert!(success, "{out}{stderr}");
    for part in [
        "skipped: 1 recorded under contract 1.0, this host has 2.",
        "skipped: 1 the procedure `",
        "` has another signature now",
        "skipped: 1 redacted: only two components can be compared on it",
        "result: ok, 0 of 2 differ, 3 skipped",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    let against = [&built()[..], &["--against", built()[1]]].concat();
    let (success, out, _) = replayed(&mixed, &against);
    assert!(success && out.contains("0 of 3 differ, 2 skipped"), "{out}");
    let redacted = scratch.corpus("redacted.jsonl", |record| record["redacted"] = json!(["request.claims"]));
    let (success, out, _) = replayed(&redacted, &built());
    assert!(!success && out.contains("result: FAILED: nothing was compared, 0 of 0 differ, 5 skipped"), "{out}");
    assert!(replayed(&redacted, &against).0);
}

#[test]
fn a_replay_is_stopped_by_ctrl_c_and_proves_nothing() {
    let scratch = Scratch::new();
    let corpus = scratch.file("long.jsonl", std::fs::read_to_string(golden()).unwrap().repeat(20_000));
    let mut program = Program::start(command(&corpus, &built()));
    // The progress of a comparison that takes longer.
    program.wait_for(" of 100000 records, 0 differ");
    program.signal(Signal::SIGINT);
    assert_eq!(program.wait().code(), Some(130));
    program.wait_for("stopped before the end of the corpus: nothing is proved");
    assert!(!program.log().contains("result: "), "{}", program.log());
}

/// A node that keeps every request.
async fn recording(database: &TestDatabase) -> TestNode {
    let recording = Recording { records_max: 20_000, bytes_max: 1 << 30, ..Recording::one_in(1) };
    let settings = settings(handlers(Profile::Release));
    TestNode::with(database, Settings { recording, readers: Readers::Loopback, ..settings }).await
}

/// The records of a node that was sent so many requests; more are sent in place of those that were dropped.
async fn records(node: &TestNode, count: usize) -> Vec<Record> {
    loop {
        let table = node.running.node.registry.table();
        let rings = table.handlers.iter().filter_map(|handler| handler.ring.get());
        let kept: Vec<Kept> = rings.flat_map(|ring| ring.last(usize::MAX, 0)).collect();
        if kept.len() >= count {
            return kept.iter().map(|kept| Record::parse(&kept.line).unwrap()).collect();
        }
        ask(node, 10).await;
    }
}

/// Sends requests of every kind: recorded, refused by the ledger, by the handler, and of clients that do not exist.
async fn ask(node: &TestNode, count: i64) {
    let mut connection = Connection::open(&node.address()).await;
    for number in 0..count {
        let client = number % 7;
        let path = format!("/clientes/{client}/transacoes");
        let kind = match number % 3 {
            0 => "c",
            1 => "d",
            _ => "x",
        };
        let body = transacao(1 + number % 50_000, kind, &format!("n{}", number % 1000));
        let (method, path, body) = match number % 4 {
            0 => (Method::GET, format!("/clientes/{client}/extrato"), String::new()),
            _ => (Method::POST, path, body),
        };
        connection.send(method, &path, body).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_are_decided_alike_bit_for_bit_on_both_nodes_and_after_a_restart() {
    let database = TestDatabase::new().await;
    let (one, other) = tokio::join!(recording(&database), recording(&database));
    tokio::join!(ask(&one, 2500), ask(&one, 2500), ask(&other, 2500), ask(&other, 2500));
    let (of_one, of_other) = tokio::join!(records(&one, 5000), records(&other, 5000));
    let again = |node: &TestNode, records: &[Record]| {
        for record in records {
            let component = &node.handler(&record.handler).lineage().current.clone();
            let decision = replay::run(&component.component, record).unwrap();
            assert_eq!(decision, replay::stored(record).unwrap(), "{}", record.line());
        }
    };
    again(&one, &of_other);
    again(&other, &of_one);
    drop((one, other));
    let restarted = recording(&database).await;
    again(&restarted, &of_one);
    again(&restarted, &of_other);
    database.assert_ledger_holds().await;
}

#[test]
fn a_budget_of_instructions_is_held_on_every_machine() {
    let scratch = Scratch::new();
    let corpus = golden();
    let corpus = corpus.to_str().unwrap();
    let against = [&built()[..], &["--against", built()[1]]].concat();
    let with = |budget: &str| replayed(corpus, &[&against[..], &["--budget", budget]].concat());
    let (success, out, _) = with("0%");
    assert!(success && out.contains(" (+0.00 %)"), "{out}");
    let (success, out, _) = with("-1%");
    assert!(!success && out.contains("extrato: executes more instructions than the budget of -1% allows"), "{out}");
    assert!(out.contains("result: FAILED, 0 of 5 differ"), "{out}");
    let (success, _, stderr) = with("much");
    assert!(!success && stderr.contains("`much` is not a budget: write a percentage, such as +5%"), "{stderr}");
    let (success, _, stderr) = replayed(corpus, &["--budget", "5%"]);
    assert!(!success && stderr.contains("--against"), "{stderr}");
    let nowhere = scratch.0.path().join("nowhere");
    let (success, _, stderr) = replayed(corpus, &[&built()[..], &["--against", nowhere.to_str().unwrap()]].concat());
    assert!(!success && stderr.contains("is neither a component nor a folder of components"), "{stderr}");
}

#[test]
fn what_is_not_a_corpus_is_refused_with_the_line() {
    let scratch = Scratch::new();
    let good = std::fs::read_to_string(golden()).unwrap();
    let cut = format!("{good}{}", &good[..100]);
    let later = good.replacen("{\"format\":1", "{\"format\":2", 1);
    for (name, text, reason) in [
        ("cut.jsonl", cut.as_str(), "cut.jsonl:6: not a record: EOF while parsing"),
        ("later.jsonl", &later, "later.jsonl:1: the record has format 2, this program reads up to 1: use a later galo"),
        ("other.jsonl", "[1]\n", "other.jsonl:1: not a record: "),
        ("empty.jsonl", "", "has no record; `galo record --last 1000 >corpus.jsonl` writes some"),
        ("blank.jsonl", "\n\n", "has no record"),
    ] {
        let (success, out, stderr) = replayed(&scratch.file(name, text), &built());
        assert!(!success && out.is_empty() && stderr.contains(reason), "{stderr}");
    }
    let corpus = golden();
    let corpus = corpus.to_str().unwrap();
    let component = scratch.file("x.wasm", replying(200, None, 0).component());
    for (corpus, arguments, reason) in [
        ("nowhere.jsonl", &built()[..], "cannot read nowhere.jsonl: No such file"),
        (corpus, &["--component", &component], "records of several handlers (extrato, transacoes): use --handler"),
        (corpus, &["--component", &component, "--handler", "x"], "the corpus has no record of `x`; it has records of"),
        (corpus, &["--component", corpus, "--handler", "extrato"], "records-1.jsonl: "),
        (corpus, &[], "is not in a project"),
    ] {
        let (success, out, stderr) = replayed(corpus, arguments);
        assert!(!success && out.is_empty() && stderr.contains(reason), "{reason}: {stderr}");
    }
    assert!(Path::new(corpus).is_file());
}

#[test]
fn the_corpora_of_a_project_are_run_with_its_tests() {
    let scratch = Scratch::new();
    let root = scratch.0.path();
    let handler = root.join("handlers/a");
    std::fs::create_dir_all(&handler).unwrap();
    scratch.file("galo.toml", "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a\"\n");
    std::fs::write(handler.join("a.wasm"), replying(200, None, 0).component()).unwrap();
    let test = |arguments: &[&str]| run(galo().arg("test").args(arguments).current_dir(root));
    let (success, _, stderr) = test(&["--corpus"]);
    assert!(
        !success && stderr.contains("no handler has a corpus; this writes one from a running node: galo record"),
        "{stderr}"
    );
    let recorded = |status: u16| {
        let mut record = lines().remove(3);
        (record["handler"], record["response"]) = (json!("a"), json!({ "status": status, "body": "" }));
        std::fs::write(handler.join("corpus.jsonl"), format!("{record}\n")).unwrap();
    };
    recorded(200);
    let (success, out, stderr) = test(&["--corpus"]);
    assert!(success && out.contains("corpora              1 passed, 0 failed\n"), "{out}{stderr}");
    // Without the option nothing is there to test.
    assert!(!test(&[]).0);
    recorded(404);
    let (success, out, _) = test(&["--corpus", "a"]);
    assert!(!success && out.contains("response.status  1 x\n        404 -> 200  (line 1, id golden-4)"), "{out}");
    assert!(out.contains("failed: a, corpus corpus.jsonl\n"), "{out}");
    for (text, reason) in [("", "nothing was compared"), ("x\n", "corpus.jsonl:1: not a record: ")] {
        std::fs::write(handler.join("corpus.jsonl"), text).unwrap();
        let (success, out, _) = test(&["--corpus"]);
        assert!(!success && out.contains(reason), "{out}");
    }
}

#[test]
fn threads_change_nothing_of_what_is_printed_and_compiled_components_are_kept() {
    // Given a corpus of many records, some of which differ or are skipped, when it is run on one thread and on several,
    // then the output is the same to the byte, but for the time.
    let scratch = Scratch::new();
    let mut text = String::new();
    for number in 0..400 {
        for mut record in lines() {
            record["request"]["id"] = json!(format!("r{number}"));
            if number % 7 == 0 {
                record["response"]["status"] = json!(299);
            }
            if number % 11 == 0 {
                record["contract"] = json!("9.9");
            }
            text += &format!("{record}\n");
        }
    }
    let corpus = scratch.file("many.jsonl", text);
    let cache = scratch.0.path().join("cache");
    let run = |threads: &str, json: bool| {
        let [option, folder] = built();
        let mut arguments =
            vec![option, folder, "--against", folder, "--threads", threads, "--cache", cache.to_str().unwrap()];
        if json {
            arguments.push("--json");
        } else {
            arguments.truncate(2);
            arguments.extend(["--threads", threads, "--cache", cache.to_str().unwrap()]);
        }
        let (success, stdout, stderr) = replayed(&corpus, &arguments);
        let printed: Vec<_> = stdout.lines().map(|line| line.split(", in ").next().unwrap().to_owned()).collect();
        (success, printed, stderr)
    };
    for json in [false, true] {
        let one = run("1", json);
        assert!(one.1.len() > 3, "{one:?}");
        for threads in ["2", "7"] {
            assert_eq!(run(threads, json), one);
        }
    }
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 2);
    let (success, _, stderr) = replayed(&corpus, &["--threads", "0"]);
    assert!(!success && stderr.contains("--threads: `0` is not a whole number"), "{stderr}");
}
