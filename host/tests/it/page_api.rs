//! The API of the page, held against its description: every answer has exactly the fields that it says.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use galo::develop::build::Profile;
use http::Method;
use serde_json::{Value, json};

use crate::fixture::marked;
use crate::harness::{TestDatabase, TestNode, handlers, request, transacao, until};
use crate::page::{developers, recorded};
use crate::postgres::OwnPostgres;

/// Where a value differs from a schema of the description.
fn differences(description: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = description.pointer(reference.trim_start_matches('#')).expect("a reference leads somewhere");
        return differences(description, schema, value, at, wrong);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| {
            let mut wrong = Vec::new();
            differences(description, choice, value, at, &mut wrong);
            wrong.is_empty()
        };
        if choices.iter().filter(fits).count() != 1 {
            wrong.push(format!("{at}: {value} fits not exactly one choice"));
        }
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed: Vec<_> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    if !allowed.is_empty() && !allowed.contains(&kind) {
        wrong.push(format!("{at}: {value} is not {allowed:?}"));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        wrong.push(format!("{at}: {value} is not one of {}", schema["enum"]));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        differences(description, &schema["items"], item, &format!("{at}[{index}]"), wrong);
    }
    let Some(members) = value.as_object().filter(|_| schema["additionalProperties"] != true) else { return };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(required) {
            wrong.push(format!("{at}: `{required}` is missing"));
        }
    }
    for (name, member) in members {
        match schema["properties"].get(name) {
            Some(schema) => differences(description, schema, member, &format!("{at}.{name}"), wrong),
            None if schema["properties"].is_object() => wrong.push(format!("{at}: `{name}` is not described")),
            None => {}
        }
    }
}

/// Asks, and holds the answer against what the description says about this path and status.
async fn ask(node: &TestNode, description: &Value, method: Method, path: &str, described: &str, body: Value) -> Value {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let answer = request(&node.admin_address(), method.clone(), path, text).await;
    let operation = &description["paths"][described][method.as_str().to_ascii_lowercase()];
    let mut response = &operation["responses"][answer.status.as_str()];
    assert!(response.is_object(), "{method} {path} answers {}, which is not described", answer.status);
    if let Some(reference) = response["$ref"].as_str() {
        response = description.pointer(reference.trim_start_matches('#')).unwrap();
    }
    let content = response["content"][answer.header("content-type")].as_object().unwrap();
    let value = match answer.header("content-type") {
        "application/jsonl" => serde_json::from_str(answer.text().lines().next().unwrap()).unwrap(),
        _ => answer.json(),
    };
    let mut wrong = Vec::new();
    differences(description, &content["schema"], &value, "answer", &mut wrong);
    assert!(wrong.is_empty(), "{method} {path}: {wrong:#?}");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_api_is_as_it_is_described() {
    let database = TestDatabase::new().await;
    let node = developers(&database, handlers(Profile::Release)).await;
    node.post("/clientes/1/transacoes", transacao(7, "c", "first")).await;
    node.get("/clientes/99/extrato").await;
    recorded(&node, "transacoes", 1).await;
    recorded(&node, "extrato", 1).await;
    // Refused, so that the audit log has an entry; and a canary and a shadow, so that handlers have all that they may.
    let component = std::fs::read(handlers(Profile::Release).join("extrato.wasm")).unwrap();
    let component = [marked(&component, 1), marked(&component, 2), b"nothing".to_vec()];
    let order = |component: &[u8]| json!({"component": BASE64_STANDARD.encode(component), "percent": "1%", "by": "id", "differences": "refuse", "who": "ana", "why": "a test"});
    for (path, body, status) in [
        ("deploy", order(&component[2]).to_string().into_bytes(), 422),
        ("deploy", order(&component[0]).to_string().into_bytes(), 200),
        ("shadow", component[1].clone(), 202),
    ] {
        let answer = request(&node.admin_address(), Method::POST, &format!("/handlers/extrato/{path}"), body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let page = node.admin("/").await;
    assert!(page.text().contains("1% by id") && page.text().contains("0 of 0 decided otherwise"), "{}", page.text());
    let description = node.admin("/api/openapi.json").await.json();
    assert_eq!(description["openapi"], "3.1.0");
    let paths = description["paths"].as_object().unwrap();
    for (path, item) in paths.iter().filter(|(_, item)| item["get"].is_object()) {
        let mut named = path.replace("{handler}", "transacoes").replace("{number}", "1");
        if path == "/api/explain" {
            let id = node.admin("/api/requests").await.json()[0]["id"].as_str().unwrap().to_owned();
            named += &format!("?id={id}");
        }
        let value = ask(&node, &description, Method::GET, &named, path, Value::Null).await;
        assert!(!value.as_array().is_some_and(Vec::is_empty) || path == "/api/events", "{path} shows nothing");
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["name"].is_string() && parameter["schema"]["type"].is_string(), "{path}");
        }
    }
    // What is refused is said in the same form everywhere, and no parameter is ignored.
    for (path, described, status) in [
        ("/api/records?handler=nope", "/api/records", 404),
        ("/api/records?last=x", "/api/records", 400),
        ("/api/records?after=x", "/api/records", 400),
        ("/api/records?lst=1", "/api/records", 400),
        ("/api/requests?handler=nope", "/api/requests", 404),
        ("/api/requests?only=foo", "/api/requests", 400),
        ("/api/requests?lst=1", "/api/requests", 400),
        ("/api/events?after=x", "/api/events", 400),
        ("/api/audit?last=x", "/api/audit", 400),
        ("/api/explain", "/api/explain", 400),
        ("/api/explain?id=nope", "/api/explain", 404),
        ("/api/recording?handler=nope", "/api/recording", 404),
    ] {
        let value = ask(&node, &description, Method::GET, path, described, Value::Null).await;
        assert!(value["error"].is_string(), "{path}: {value}");
        assert_eq!(node.admin(path).await.status, status, "{path}");
    }
    for (method, path, status) in [(Method::PUT, "/api/records", 405), (Method::GET, "/api/nothing", 404)] {
        let answer = request(&node.admin_address(), method, path, "").await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"].is_string()), (status, true), "{path}");
    }
    let hint = node.admin("/nothing").await.text().to_owned();
    for path in ["/api/records", "/api/explain", "/api/recording", "/deploy", "/shadow", "/accept"] {
        assert!(hint.contains(path), "{hint}");
    }
    let posts = [
        ("/api/replay", json!({"handler": "transacoes", "number": 1}), 200),
        ("/api/replay", json!({"handler": "transacoes", "number": 1, "on": "candidate"}), 409),
        ("/api/examples", json!({"handler": "transacoes", "number": 1, "name": "x"}), 403),
        ("/api/send", json!({"method": "GET", "path": "/clientes/1/extrato", "headers": [["x-a", "b"]]}), 200),
        ("/api/send", json!({"method": "GET", "path": "no path"}), 400),
    ];
    for (path, body, status) in posts {
        let value = ask(&node, &description, Method::POST, path, path, body.clone()).await;
        assert_eq!(value.get("error").is_none(), status == 200, "{path} {body}: {value}");
    }
    let described = paths.values().filter(|item| item["post"].is_object()).count();
    // Without a parameter `/api/recording` is not switched.
    assert_eq!(described, 4, "a post is not tried here");
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_is_a_real_one_and_leads_to_its_record() {
    let database = TestDatabase::new().await;
    let node = developers(&database, handlers(Profile::Release)).await;
    let body = transacao(5, "d", "sent");
    let send = json!({
        "method": "POST", "path": "/clientes/1/transacoes", "body": body,
        "headers": [["Content-Type", "application/json"], ["X-Request-Id", "mine"]],
    });
    let sent = request(&node.admin_address(), Method::POST, "/api/send", send.to_string()).await.json();
    assert_eq!((&sent["status"], &sent["id"]), (&200.into(), &"mine".into()), "{sent}");
    assert_eq!(sent["record"], json!({"handler": "transacoes", "number": 1}));
    assert_eq!(database.ledger_rows(1).await, 1);
    // The form of the route is filled from an example of its handler.
    let routes = node.admin("/api/routes").await.json();
    let post = routes.as_array().unwrap().iter().find(|route| route["method"] == "POST").unwrap();
    let first = &post["requests"][0];
    assert!(first["example"].is_string() && first["path"].as_str().unwrap().starts_with("/clientes/"), "{post}");
    let again = json!({"method": "POST", "path": first["path"], "headers": first["headers"], "body": first["body"]});
    let sent = request(&node.admin_address(), Method::POST, "/api/send", again.to_string()).await.json();
    assert!(sent["status"].as_u64().unwrap() < 500, "{sent}");
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_counted_by_route_and_generation() {
    let database = TestDatabase::new().await;
    let node = developers(&database, handlers(Profile::Release)).await;
    for _ in 0..5 {
        node.get("/clientes/1/extrato").await;
    }
    node.get("/clientes/99/extrato").await;
    let of = async |name: &str| {
        let traffic = node.admin("/api/traffic").await.json();
        traffic.as_array().unwrap().iter().find(|route| route["handler"] == name).unwrap().clone()
    };
    let mut seen = of("extrato").await;
    for _ in 0..200 {
        if seen["window_seconds"].as_u64() > Some(0) && seen["client_errors"] == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        seen = of("extrato").await;
    }
    assert_eq!(
        (&seen["requests"], &seen["client_errors"], &seen["server_errors"]),
        (&6.into(), &1.into(), &0.into()),
        "{seen}"
    );
    assert!(seen["p50_us"].as_u64() <= seen["p99_us"].as_u64() && seen["p50_us"].as_u64() > Some(0), "{seen}");
    assert_eq!(
        (&seen["generation"], &seen["serves"], &seen["route"]),
        (&1.into(), &true.into(), &"GET /clientes/{id}/extrato".into())
    );
    let counted: u64 = seen["per_second"].as_array().unwrap().iter().map(|second| second[0].as_u64().unwrap()).sum();
    assert_eq!(counted, 6, "{seen}");
    // A route that nobody asked for is shown, too.
    assert_eq!((of("transacoes").await)["requests"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_its_end_are_events() {
    let mut own = OwnPostgres::start().await;
    let node = own.node().await;
    let events = &node.running.node.metrics.events;
    let kinds = || events.after(0).into_iter().map(|event| event.kind.as_str()).collect::<Vec<_>>();
    own.stop();
    until("the outage is noted", || format!("{:?}", kinds()), || kinds().contains(&"outage")).await;
    own.start_again();
    until("its end is noted", || format!("{:?}", kinds()), || kinds().contains(&"recovery")).await;
    // While it is away the handlers cannot be verified, which is an event as well.
    let shown = node.admin("/api/events").await.json();
    let outage = shown.as_array().unwrap().iter().find(|event| event["kind"] == "outage").unwrap();
    assert!(outage["text"].as_str().unwrap().starts_with("database unavailable: "), "{shown}");
}
