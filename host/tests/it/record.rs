//! What a node records of its requests, what it does not, who may read it, and that a record can be run again bit for
//! bit.

use std::path::Path;
use std::time::Duration;

use galo::config::{Readers, Recording, Settings, Token};
use galo::contract::Value;
use galo::develop::build::Profile;
use galo::record::{Outcome, Plan, Record, Unreadable, Why};
use galo::registry::Stage;
use galo::replay::{self, Skipped};
use http::Method;

use crate::fixture::{Part, calling, calling_then, echoing, replying};
use crate::harness::{
    Answer, Guests, TestDatabase, TestNode, handlers, request, request_with, settings, transacao, until,
};

fn recording(folder: &Path, recording: Recording) -> Settings {
    Settings { recording, readers: Readers::Loopback, ..settings(folder) }
}

/// A node with the project's handlers.
async fn node(database: &TestDatabase, every: usize) -> TestNode {
    TestNode::with(database, recording(handlers(Profile::Release), Recording::one_in(every))).await
}

/// A node with these guests, of which every request is recorded unless the manifest says otherwise.
async fn node_of(database: &TestDatabase, guests: &Guests) -> TestNode {
    TestNode::with(database, recording(guests.folder.path(), Recording::one_in(1))).await
}

/// The records of a node, once there are so many.
async fn records(node: &TestNode, count: usize) -> Vec<Record> {
    for _ in 0..200 {
        let lines = node.admin("/api/records").await.text().to_owned();
        let records: Vec<_> = lines.lines().map(|line| Record::parse(line).unwrap()).collect();
        if records.len() >= count {
            return records;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("there were fewer than {count} records");
}

async fn ask(node: &TestNode, method: Method, path: &str) -> Answer {
    request(&node.admin_address(), method, path, "").await
}

async fn metric(node: &TestNode, name: &str) -> f64 {
    let metrics = node.admin("/metrics").await;
    let value = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_request_is_decided_alike_when_it_is_run_again() {
    let database = TestDatabase::new().await;
    let node = node(&database, 1).await;
    node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await;
    node.post("/clientes/1/transacoes", transacao(1, "x", "x")).await;
    node.post("/clientes/6/transacoes", transacao(1, "d", "x")).await;
    node.get("/clientes/1/extrato").await;
    let records = records(&node, 4).await;
    assert_eq!(records.len(), 4);
    let table = node.running.node.registry.table();
    for record in &records {
        assert_eq!((record.why, record.generation), (Why::Sampled, 1));
        let component = &table.handler(&record.handler).unwrap().lineage().current.component;
        let again = replay::run(component, record).unwrap();
        assert_eq!(replay::differences(&replay::recorded(record), &again, 9, &[]), [], "{}", record.line());
    }
    let of = |status| records.iter().find(|record| record.response.status == status).unwrap();
    assert!(matches!(&of(422).plan, Some(Plan::Call(call)) if call.procedure == "cliente_existe"));
    assert!(matches!(&of(200).plan, Some(Plan::Call(call)) if call.arguments.len() >= 4));
    assert!(of(200).times.whole > 0 && of(200).times.database > 0 && of(200).signature.is_some());
    let kept = metric(&node, "galo_records_kept_total{handler=\"transacoes\"}").await;
    assert_eq!((kept, metric(&node, "galo_records_dropped_total").await), (3.0, 0.0));
    assert!(metric(&node, "galo_records_bytes").await > 1000.0);
    // With the procedures that were called, and with others.
    let handler = table.handler("transacoes").unwrap();
    assert_eq!(replay::check_signature(&handler.procedures, of(200)), Ok(()));
    let other = Record { signature: Some("0123456789abcdef".to_owned()), ..of(200).clone() };
    let Some(Plan::Call(call)) = &other.plan else { panic!("{other:?}") };
    let skipped = Skipped::Signature(call.procedure.clone());
    assert_eq!(replay::check_signature(&handler.procedures, &other), Err(skipped.clone()));
    assert_eq!(replay::check_signature(&[], of(200)), Err(skipped));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recorded_unless_it_is_asked_for_and_it_is_switched_while_the_node_runs() {
    let database = TestDatabase::new().await;
    let node = node(&database, 0).await;
    let requests = async || {
        node.get("/clientes/1/extrato").await;
        node.post("/clientes/1/transacoes", "{").await;
    };
    requests().await;
    let shown = |answer: &Answer| {
        let of = |one: &serde_json::Value| (one["every"].as_u64().unwrap(), one["records"].as_u64().unwrap());
        answer.json().as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(shown(&node.admin("/api/recording").await), [(0, 0), (0, 0)]);
    assert_eq!(node.admin("/api/records").await.text(), "");

    let switched = ask(&node, Method::POST, "/api/recording?handler=extrato&every=1").await;
    assert_eq!((switched.status, shown(&switched)), (200.try_into().unwrap(), vec![(1, 0)]));
    requests().await;
    assert_eq!(records(&node, 1).await[0].handler, "extrato");
    // What was said last counts: for all, then for one.
    ask(&node, Method::POST, "/api/recording?every=0").await;
    ask(&node, Method::POST, "/api/recording?every=1&handler=transacoes").await;
    requests().await;
    let handlers = records(&node, 2).await.into_iter().map(|record| record.handler).collect::<Vec<_>>();
    assert_eq!(handlers, ["transacoes", "extrato"]);

    for (method, path, status) in [
        (Method::POST, "/api/recording", 400),
        (Method::POST, "/api/recording?every=x", 400),
        (Method::POST, "/api/recording?every=1&hander=extrato", 400),
        (Method::POST, "/api/recording?every=1&handler=other", 404),
        (Method::PUT, "/api/recording?every=1", 405),
    ] {
        assert_eq!(ask(&node, method, path).await.status, status, "{path}");
    }
    let discarded = ask(&node, Method::DELETE, "/api/recording?handler=extrato").await;
    assert_eq!(shown(&discarded), [(0, 0)]);
    assert_eq!(records(&node, 1).await.len(), 1);
    ask(&node, Method::DELETE, "/api/recording").await;
    assert_eq!((node.admin("/api/records").await.text(), metric(&node, "galo_records_bytes").await), ("", 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_with_the_token_or_over_the_socket_only() {
    let database = TestDatabase::new().await;
    let token = "0123456789abcdef";
    let with = |admin_token: Option<Token>| Settings {
        recording: Recording::one_in(1),
        admin_token,
        readers: Readers::Guarded,
        ..settings(handlers(Profile::Release))
    };
    let open = TestNode::with(&database, with(None)).await;
    for (method, path, status) in [
        (Method::GET, "/api/records", 403),
        (Method::GET, "/api/records/extrato/1", 403),
        (Method::GET, "/api/requests", 403),
        (Method::GET, "/api/explain?id=x", 403),
        (Method::POST, "/api/recording?every=1", 403),
        (Method::DELETE, "/api/recording", 403),
        (Method::GET, "/api/recording", 200),
    ] {
        let answer = ask(&open, method, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(status == 200 || answer.text().contains("--admin-token-file"), "{}", answer.text());
    }
    let guarded = TestNode::with(&database, with(Some(Token::new(token).unwrap()))).await;
    let bearer = format!("Bearer {token}");
    for (header, status) in [(&[][..], 401), (&[("authorization", bearer.as_str())][..], 200)] {
        let answer = request_with(&guarded.admin_address(), Method::GET, "/api/records", header).await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_credentials_secrets_and_what_the_manifest_names_are_not_recorded() {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'").await;
    let headers = "headers = [\"Authorization\", \"X-Customer\"]\nrecord = { headers = [\"X-Customer\"], query = [\"document\"] }";
    let guests = Guests::new()
        .add("secret", &echoing(Part::Config), "config = { key = { file = \"key\" } }")
        .add("header", &echoing(Part::Header), headers)
        .add("rows", &calling("um"), "procedures = [\"um\"]\nrecord = { rows = [\"$[*].um\"], response = [\"$\"] }")
        .add("off", &replying(200, None, 1).component(), "record = { every = 0 }");
    guests.put_file("key", b"hunter2\n");
    let node = node_of(&database, &guests).await;
    assert_eq!(node.get("/secret").await.text(), "hunter2");
    let sent = [("authorization", "Bearer eyJhbGciOi"), ("x-customer", "Maria da Silva")];
    let path = "/header?document=123.456.789-00&page=2";
    assert_eq!(request_with(&node.address(), Method::GET, path, &sent).await.text(), "Bearer eyJhbGciOi");
    node.get("/rows").await;
    node.get("/off").await;
    let records = records(&node, 3).await;
    assert_eq!(records.len(), 3);
    let of = |name: &str| records.iter().find(|record| record.handler == name).unwrap();
    let lines: String = records.iter().map(Record::line).collect();
    for taken in ["hunter2", "eyJhbGciOi", "Maria", "123.456"] {
        assert!(!lines.contains(taken), "{taken}: {lines}");
    }
    // The answer repeats what was taken out of the request: it is taken out there too.
    assert_eq!(of("secret").redacted, ["request.config.key", "response.body"]);
    let redacted = ["request.headers.authorization", "request.headers.x-customer", "request.query.document"];
    assert_eq!(of("header").redacted[..3], redacted);
    assert_eq!(of("header").request.query.as_deref(), Some("document=(redacted)&page=2"));
    assert!(of("header").redacted.contains(&"response.body".to_owned()), "{:?}", of("header").redacted);
    let Some(Outcome::Rows(rows)) = &of("rows").outcome else { panic!("{:?}", of("rows")) };
    assert_eq!(rows.values, [galo::record::Cell::Integer(0)]);
    assert_eq!(of("rows").redacted[0], "outcome.rows[*].um");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_before_more_had_to_be_taken_out_is_dropped_and_so_is_that_of_a_handler_that_left() {
    let database = TestDatabase::new().await;
    let component = replying(200, None, 1).component();
    let guests = Guests::new().add("x", &component, "").add("y", &component, "");
    let node = node_of(&database, &guests).await;
    node.get("/x?name=Maria").await;
    node.get("/y").await;
    records(&node, 2).await;
    let manifest = guests.manifest();
    let more = manifest.replace("route = \"GET /x\"", "route = \"GET /x\"\nrecord = { query = [\"name\"] }");
    guests.put_file("galo.toml", more.as_bytes());
    let handler = || node.handler("x").entry.record.redact.query.len();
    until("the new manifest", || handler().to_string(), || handler() == 1).await;
    let left = records(&node, 1).await;
    assert_eq!((left.len(), left[0].handler.as_str()), (1, "y"));
    node.get("/x?name=Maria").await;
    assert!(records(&node, 2).await.iter().all(|record| !record.line().contains("Maria")));

    let without = more.split("[[handler]]\nname = \"y\"").next().unwrap();
    guests.put_file("galo.toml", without.as_bytes());
    let there = || node.running.node.registry.table().handlers.len();
    until("y is gone", || there().to_string(), || there() == 1).await;
    assert_eq!(records(&node, 1).await[0].handler, "x");
    let shown = node.admin("/api/recording").await.json();
    assert_eq!(metric(&node, "galo_records_bytes").await, shown[0]["bytes"].as_f64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_rescues_and_errors_are_kept_whatever_the_sample_is() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
             CREATE FUNCTION falha() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'",
        )
        .await;
    let procedures = "procedures = [\"um\", \"falha\"]";
    let guests = Guests::new().add("x", &calling("um"), procedures).add("bad", &calling("falha"), procedures);
    let node = TestNode::with(&database, recording(guests.folder.path(), Recording::one_in(1000))).await;
    // The turn of the first request of each.
    node.get("/x").await;
    node.get("/bad").await;
    node.get("/x").await;
    assert_eq!(node.get("/bad").await.status, 500);
    guests.put("x", &calling_then("um", 503).component());
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 200);
    let records = records(&node, 4).await;
    let why: Vec<_> = records.iter().map(|record| (record.handler.as_str(), record.why, record.generation)).collect();
    let expected = [("x", Why::Sampled, 1), ("x", Why::Fault, 1), ("bad", Why::Error, 1), ("bad", Why::Error, 1)];
    assert_eq!(why, expected);
    let rescued = &records[1];
    let fault = rescued.fault.as_deref().unwrap();
    assert!(fault.starts_with("worse in respond: it answered 503"), "{fault}");
    // The record is of the generation that answered: run again there, it is the same.
    let component = &node.handler("x").lineage().current.component;
    assert_eq!(component.compiled.digest.to_string(), rescued.sha256);
    assert_eq!(replay::run(component, rescued).unwrap(), replay::recorded(rescued));
    let failed = &records[3];
    assert_eq!((failed.failure.as_deref(), failed.response.status), (Some("internal_error"), 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_shed_have_their_share_of_the_ring_and_push_nothing_else_out() {
    // Given a ring of 16 with 8 answers, and a node that admits one request, when 100 requests are shed behind one that
    // waits for a lock, then two of them are recorded and all of the others are there still.
    let database = TestDatabase::new().await;
    let small = Recording { records_max: 16, ..Recording::one_in(1) };
    let settings = Settings { in_flight_max: 1, ..recording(handlers(Profile::Release), small) };
    let node = TestNode::with(&database, settings).await;
    for _ in 0..8 {
        assert_eq!(node.get("/clientes/2/extrato").await.status, 200);
    }
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let held = node.post("/clientes/1/transacoes", transacao(1, "c", "x"));
    let shed = async {
        while node.running.node.metrics.in_flight.get() < 1 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            assert_eq!(node.get("/clientes/2/extrato").await.status, 503);
        }
        lock.commit().await.unwrap();
    };
    let (held, ()) = tokio::join!(held, shed);
    assert_eq!(held.status, 200);
    // The last one, after those that were shed.
    assert_eq!(node.get("/clientes/2/extrato").await.status, 200);
    let of_extrato =
        |records: Vec<Record>| records.into_iter().filter(|record| record.handler == "extrato").collect::<Vec<_>>();
    let recorded = of_extrato(records(&node, 12).await);
    let statuses: Vec<_> = recorded.iter().map(|record| record.response.status).collect();
    assert_eq!(statuses, [&[200; 8][..], &[503, 503], &[200]].concat());
    let is_shed = |record: &&Record| record.failure.as_deref() == Some("unavailable") && record.plan.is_none();
    assert_eq!(recorded.iter().filter(is_shed).count(), 2);
    assert!((metric(&node, "galo_records_shed_total").await - 98.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_of_the_previous_generation_is_recorded_as_its_own() {
    let database = TestDatabase::new().await;
    database
        .execute("CREATE FUNCTION falha() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'")
        .await;
    let guests = Guests::new().add("x", &replying(422, None, 0).component(), "procedures = [\"falha\"]");
    let node = node_of(&database, &guests).await;
    guests.put("x", &calling("falha"));
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 422);
    let record = records(&node, 1).await.remove(0);
    assert_eq!((record.why, record.generation, &record.plan), (Why::Fault, 1, &Some(Plan::Reply)));
    assert!(record.fault.as_deref().unwrap().contains("rejected its call with P0001"), "{:?}", record.fault);
    let component = &node.handler("x").lineage().current.component;
    assert_eq!(replay::run(component, &record).unwrap(), replay::recorded(&record));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waited_is_recorded_with_its_wait_and_those_that_it_was_sent_with() {
    let database = TestDatabase::new().await;
    let node = node(&database, 1).await;
    node.post("/clientes/1/transacoes", transacao(1, "c", "first")).await;
    let held = database.hold_batches().await;
    let address = node.address();
    let post = |cliente: usize| {
        let address = address.clone();
        tokio::spawn(async move {
            let path = format!("/clientes/{cliente}/transacoes");
            request(&address, Method::POST, &path, transacao(1, "c", "x")).await.status
        })
    };
    let first = post(1);
    // The statement of the first call is under way: the others wait for the next one.
    while metric(&node, "galo_batch_calls_count").await < 2.0 {}
    let others: Vec<_> = (2..=5).map(post).collect();
    while metric(&node, "galo_lane_calls_waiting{procedure=\"realizar_transacao\"}").await < 4.0 {}
    let waited = Duration::from_millis(20);
    tokio::time::sleep(waited).await;
    drop(held);
    for answer in [first].into_iter().chain(others) {
        assert_eq!(answer.await.unwrap(), 200);
    }
    let records = records(&node, 6).await;
    let batched: Vec<_> = records.iter().filter(|record| record.batch.is_some()).collect();
    assert_eq!(batched.len(), 4, "{records:?}");
    for record in batched {
        assert!(record.batch == Some(4) && u128::from(record.times.wait) >= waited.as_micros(), "{}", record.line());
        assert!(record.times.wait + record.times.database <= record.times.whole, "{}", record.line());
    }
    assert!(records.iter().any(|record| record.batch.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_not_sent_is_recorded_with_its_arguments() {
    let database = TestDatabase::new().await;
    let node = node(&database, 1).await;
    let held = database.hold_batches().await;
    let first = tokio::spawn({
        let address = node.address();
        async move { request(&address, Method::POST, "/clientes/1/transacoes", transacao(1, "c", "x")).await.status }
    });
    while metric(&node, "galo_batch_calls_count").await < 1.0 {}
    let answer = node.post("/clientes/2/transacoes", transacao(7, "c", "x")).await;
    let record = records(&node, 1).await.remove(0);
    drop(held);
    assert_eq!((answer.status.as_u16(), record.why, record.failure.as_deref()), (503, Why::Error, Some("unavailable")));
    let Some(Plan::Call(call)) = &record.plan else { panic!("{}", record.line()) };
    assert_eq!((call.arguments[0].value().unwrap(), record.outcome.is_none()), (Value::Integer(2), true));
    assert!(record.times.wait > 500_000 && record.times.database == 0, "{}", record.line());
    assert_eq!(first.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_a_mistake_in_its_record_is_refused_and_changes_nothing() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &replying(200, None, 1).component(), "record = { every = 2 }");
    let node = node_of(&database, &guests).await;
    let every = async || node.admin("/api/recording").await.json()[0]["every"].as_u64();
    assert_eq!(every().await, Some(2));
    guests.put_file("galo.toml", guests.manifest().replace("every = 2", "body = [\"card\"]").as_bytes());
    let (stage, refused) = node.until_manifest_refused().await;
    assert_eq!(stage, Stage::Manifest);
    assert!(refused.contains("record: body: `card`: a path begins with `$`"), "{refused}");
    assert_eq!(every().await, Some(2));
    // The operator's word at the start counts more than the manifest's.
    let own = recording(guests.folder.path(), Recording::OFF.asked(7));
    guests.put_file("galo.toml", guests.manifest().replace("body = [\"card\"]", "every = 2").as_bytes());
    let other = TestNode::with(&database, own).await;
    assert_eq!(other.admin("/api/recording").await.json()[0]["every"], 7);
}

/// Records of format 1, as its first program wrote them. They are never changed; a later format adds a file.
const FORMAT_1: &str = include_str!("../golden/format-1.jsonl");

#[test]
fn a_record_of_a_later_format_is_refused_with_the_remedy() {
    let line = FORMAT_1.lines().next().unwrap();
    let later = Record::parse(&line.replacen("\"format\":1", "\"format\":2", 1)).unwrap_err();
    assert!(
        matches!(later, Unreadable::Later { format: 2 }) && later.to_string().ends_with("use a later galo"),
        "{later}"
    );
    for malformed in ["", "{}", "[]", &line[..line.len() - 1]] {
        assert!(matches!(Record::parse(malformed), Err(Unreadable::Malformed(_))), "{malformed}");
    }
    // A field that a later minor program adds is passed over.
    assert!(Record::parse(&line.replacen('{', "{\"later\":1,", 1)).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_and_a_client_that_leaves_are_recorded() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let database = TestDatabase::new().await;
    let sql = "CREATE FUNCTION slow() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint FROM pg_sleep(2)'";
    database.execute(sql).await;
    let guests = Guests::new().add("x", &calling("slow"), "procedures = [\"slow\"]").add(
        "y",
        &replying(200, None, 0).component(),
        "",
    );
    let manifest = guests.manifest().replace("GET /x", "GET /x/{id}").replace("GET /y", "POST /y");
    guests.put_file("galo.toml", manifest.as_bytes());
    let node = node_of(&database, &guests).await;
    let send = async |text: &str| {
        let mut stream = tokio::net::TcpStream::connect(node.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    // Given a body that breaks off, then the record has the code that its client would have read.
    let mut broken = send("POST /y?a=b HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc").await;
    broken.shutdown().await.unwrap();
    let _ = broken.read_to_end(&mut Vec::new()).await;
    let found = records(&node, 1).await.remove(0);
    assert_eq!((found.failure.as_deref(), found.response.status), (Some("body_incomplete"), 400), "{}", found.line());
    let query = found.request.query.as_deref();
    assert_eq!((found.request.path.as_str(), query, found.request.route.as_str()), ("/y", Some("a=b"), "POST /y"));
    assert!(found.trace.is_some() && !found.request.id.is_empty() && found.generation == 1, "{}", found.line());
    // Given a client that leaves while its call is under way, then the record says so. Neither can be run again.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let head = format!(
        "GET /x/7 HTTP/1.1\r\nhost: x\r\nx-request-id: gone\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n"
    );
    let left = send(&head).await;
    until("it is in flight", String::new, || node.running.node.metrics.in_flight.get() == 1).await;
    drop(left);
    let left = records(&node, 2).await.into_iter().find(|record| record.handler == "x").unwrap();
    assert_eq!((left.failure.as_deref(), left.response.status), (Some("client_left"), 499), "{}", left.line());
    assert_eq!((left.request.id.as_str(), left.trace.as_deref()), ("gone", Some(trace)));
    assert_eq!(left.request.parameters, [("id".to_owned(), "7".to_owned())]);
    assert!(left.times.whole > 0 && left.plan.is_none(), "{}", left.line());
    for record in [&found, &left] {
        assert_eq!(replay::stored(record), Err(Skipped::Undecided));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_whose_status_a_procedure_chose_is_not_recorded_as_internal() {
    let database = TestDatabase::new().await;
    database
        .execute("CREATE FUNCTION taken() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE 'PT409'; END $$")
        .await;
    let guests = Guests::new().add("x", &calling("taken"), "procedures = [\"taken\"]");
    let node = node_of(&database, &guests).await;
    assert_eq!(node.get("/x").await.status, 409);
    let record = records(&node, 1).await.remove(0);
    assert_eq!((record.failure.as_deref(), record.response.status), (Some("raised"), 409), "{}", record.line());
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_go_on_when_a_handler_leaves_and_returns() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &calling("um"), "procedures = [\"um\"]").add(
        "y",
        &replying(200, None, 0).component(),
        "",
    );
    database.execute("CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'").await;
    let node = node_of(&database, &guests).await;
    node.get("/x").await;
    node.get("/x").await;
    records(&node, 2).await;
    let cursor = node.admin("/api/records?handler=x").await.header("galo-cursor").to_owned();
    assert_eq!(cursor, "x:2");
    // Given a handler that leaves the manifest and returns, then a follower misses and repeats nothing.
    let manifest = guests.manifest();
    let (begin, end) = (manifest.find("[[handler]]").unwrap(), manifest.rfind("[[handler]]").unwrap());
    let (x, y) = (&manifest[begin..end], &manifest[end..]);
    let only = if y.contains("GET /y") { y } else { x };
    guests.put_file("galo.toml", format!("{}{only}", &manifest[..begin]).as_bytes());
    until("it has left", String::new, || node.running.node.registry.table().handler("x").is_none()).await;
    guests.put_file("galo.toml", manifest.as_bytes());
    until("it is back", String::new, || node.running.node.registry.table().handler("x").is_some()).await;
    node.get("/x").await;
    until("it is recorded", String::new, || node.handler("x").ring.get().unwrap().count().0 == 1).await;
    let news = node.admin(&format!("/api/records?handler=x&after={cursor}")).await;
    assert_eq!((news.text().lines().count(), news.header("galo-cursor"), news.header("galo-missed")), (1, "x:3", "0"));
}
