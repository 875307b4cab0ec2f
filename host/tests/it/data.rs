//! What a request carries besides what the client sent: its route, its id, its moment and the config of its handler;
//! and how a config changes while a node serves.

use std::collections::BTreeSet;

use galo::config::Variables;
use galo::registry::Stage;
use http::{Method, StatusCode};

use crate::fixture::{Guest, Part, echoing};
use crate::harness::{Connection, Guests, TestDatabase, TestNode, request, request_with, settings, until};

async fn body(node: &TestNode, path: &str) -> String {
    let answer = node.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    answer.text().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_of_several_routes_learns_which_one_was_taken() {
    let database = TestDatabase::new().await;
    let routes = ["GET /orders", "POST /orders", "GET /orders/{id}", "DELETE /orders/{id}"];
    let guests = Guests::new().add("first", &echoing(Part::Route), "").add("orders", &echoing(Part::Route), "");
    let manifest = guests.manifest().replace("route = \"GET /orders\"", &format!("routes = {routes:?}"));
    guests.put_file("galo.toml", manifest.as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    for (method, path, route) in [
        (Method::GET, "/orders", routes[0]),
        (Method::POST, "/orders", routes[1]),
        (Method::GET, "/orders/7", routes[2]),
        (Method::DELETE, "/orders/7", routes[3]),
        (Method::GET, "/first", "GET /first"),
    ] {
        let answer = request(&node.address(), method.clone(), path, "").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, route), "{method} {path}");
    }
    let refused = request(&node.address(), Method::PUT, "/orders/7", "").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.header("allow"), "GET, HEAD, DELETE, OPTIONS");
    let metrics = node.admin("/metrics").await;
    for route in routes {
        let series = format!("galo_handler_info{{handler=\"orders\",route=\"{route}\"}} 1");
        assert!(metrics.text().contains(&series), "{series}\n{}", metrics.text());
    }
    assert!(metrics.text().contains("galo_requests_total{handler=\"orders\",code=\"200\"} 4"), "{}", metrics.text());
    let report = node.admin("/handlers").await.json();
    assert_eq!(report["handlers"][1]["routes"], serde_json::json!(routes));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_routes_that_match_the_same_paths_are_refused_wherever_they_are() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("a", &echoing(Part::Route), "").add("b", &echoing(Part::Route), "");
    let with = |routes: &str| guests.manifest().replace("route = \"GET /b\"", &format!("routes = [{routes}]"));
    let good = with("\"GET /b\", \"GET /b/{x}\"");
    for (routes, reported) in [
        ("\"GET /b/{x}\", \"GET /b/{y}\"", "b: the route `GET /b/{y}` is ambiguous: `GET /b/{x}` of line"),
        ("\"GET /b\", \"GET /a\"", "b: the route `GET /a` is ambiguous: `GET /a` of line"),
    ] {
        guests.put_file("galo.toml", with(routes).as_bytes());
        let refusal = guests.refusal(&database).await;
        assert!(refusal.contains(reported), "{refusal}");
        guests.put_file(
            "galo.toml",
            guests.manifest().replace(&format!("routes = [{routes}]"), "route = \"GET /b\"").as_bytes(),
        );
    }
    guests.put_file("galo.toml", good.as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(body(&node, "/b/1").await, "GET /b/{x}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_id_that_it_came_with_or_one_of_its_own() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("id", &echoing(Part::Id), "");
    let (one, other) = (TestNode::guests(&database, &guests).await, TestNode::guests(&database, &guests).await);
    let mut ids = BTreeSet::new();
    for node in [&one, &other] {
        let mut connection = Connection::open(&node.address()).await;
        for _ in 0..50 {
            ids.insert(connection.send(Method::GET, "/id", "").await.unwrap().text().to_owned());
        }
    }
    assert_eq!(ids.len(), 100, "{ids:?}");
    let plain = |id: &String| id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    assert!(ids.iter().all(plain), "{ids:?}");
    let given = request_with(&one.address(), Method::GET, "/id", &[("x-request-id", "abc")]).await;
    assert_eq!(given.text(), "abc");
    // Empty is none. A try of an untrusted client is not believed.
    let tried = request_with(&one.address(), Method::GET, "/id", &[("x-request-id", ""), ("galo-try", "1-a")]).await;
    assert!(tried.text().len() > 16 && !ids.contains(tried.text()), "{}", tried.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_moment_of_its_admission() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("now", &echoing(Part::Now), "");
    let node = TestNode::guests(&database, &guests).await;
    let clock = || jiff::Timestamp::now().as_microsecond();
    let before = clock();
    let now = i64::from_le_bytes(node.get("/now").await.body[..].try_into().unwrap());
    assert!((before..=clock()).contains(&now), "{before} {now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_config_is_a_new_generation_and_a_rollback_restores_it() {
    let database = TestDatabase::new().await;
    let config = |text: &str| format!("config = {{ a = {text} }}");
    let guests =
        Guests::new().add("x", &echoing(Part::Config), &config("\"one\"")).add("y", &echoing(Part::Config), "");
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!((body(&node, "/x").await, body(&node, "/y").await), ("one".to_owned(), String::new()));
    let put = |from: &str, to: &str| {
        let manifest = guests.manifest();
        let changed = manifest.replace(&config(from), &config(to));
        assert_ne!(manifest, changed);
        guests.put_file("galo.toml", changed.as_bytes());
    };
    put("\"one\"", "[1, 2.5]");
    node.until_generation("x", 2).await;
    assert_eq!(body(&node, "/x").await, "[1,2.5]");
    assert_eq!(node.generation("y"), 1, "a handler without a change stays as it is");
    // The same component with its earlier config.
    let handler = node.handler("x");
    let current = std::sync::Arc::clone(&handler.lineage().current);
    handler.roll_back(&current, &galo::registry::Who::person("ana"), "the operator's request".to_owned()).unwrap();
    assert_eq!((node.generation("x"), body(&node, "/x").await), (1, "one".to_owned()));
    // What was rolled back is not taken again by itself; another value is.
    node.running.orders.scan_again();
    put("[1, 2.5]", "true");
    node.until_generation("x", 3).await;
    assert_eq!(body(&node, "/x").await, "true");
}

/// A guest that replies with its config, and panics when that has three bytes.
fn panics_at_three_bytes() -> Vec<u8> {
    let field = |at: u32| format!("(i32.load offset={at} (i32.load offset=80 (local.get 0)))");
    let (address, length) = (field(8), field(12));
    let prepare = format!(
        "(if (i32.eq {length} (i32.const 3)) (then unreachable)) \
         (i32.store (i32.const 1040) {address}) (i32.store (i32.const 1044) {length}) i32.const 1024"
    );
    let items = r#"(data (i32.const 1024) "\00\00\00\00\c8\00")"#;
    Guest { prepare: &prepare, items: items.into(), ..Guest::default() }.component()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_makes_a_handler_fault_is_rescued_by_the_earlier_one() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &panics_at_three_bytes(), "config = { a = \"good\" }");
    let node = TestNode::guests(&database, &guests).await;
    guests.put_file("galo.toml", guests.manifest().replace("\"good\"", "\"bad\"").as_bytes());
    node.until_generation("x", 2).await;
    // The same component, with the config that it had: the client notices nothing.
    assert_eq!(body(&node, "/x").await, "good");
    assert_eq!(node.generation("x"), 1);
    let report = node.admin("/handlers").await.json();
    assert_eq!(report["handlers"][0]["rolled_back"]["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_an_example_does_not_expect_changes_nothing() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &echoing(Part::Config), "config = { a = \"one\" }");
    let example = r#"{"request": {"path": "/x"}, "plan": {"reply": {"status": 200, "body": "one"}}}"#;
    guests.put_file("x/examples/a.json", example.as_bytes());
    let own = r#"{"request": {"path": "/x", "config": {"a": "2"}}, "plan": {"reply": {"status": 200, "body": "2"}}}"#;
    guests.put_file("x/examples/b.json", own.as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    let manifest = guests.manifest();
    guests.put_file("galo.toml", manifest.replace("\"one\"", "\"two\"").as_bytes());
    let (stage, message) = node.until_manifest_refused().await;
    assert_eq!(stage, Stage::Manifest);
    assert!(message.contains("x/examples/a.json: the plan is not the expected one"), "{message}");
    assert!(!message.contains("b.json"), "{message}");
    assert_eq!((node.generation("x"), body(&node, "/x").await), (1, "one".to_owned()));
    guests.put_file("galo.toml", manifest.as_bytes());
    until("the manifest is accepted", String::new, || node.running.node.registry.refusal().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_manifest_is_shown_nowhere() {
    let database = TestDatabase::new().await;
    let more = "config = { a = { file = \"secret\" }, b = { variable = \"SHOP_KEY\" } }";
    let guests = Guests::new().add("x", &echoing(Part::Config), more);
    // Both missing: both are reported, with their places.
    let refusal = guests.refusal(&database).await;
    assert!(refusal.contains("x: config: `a`: the file ") && refusal.contains("/secret: No such file"), "{refusal}");
    assert!(refusal.contains("config: `b`: the variable SHOP_KEY is not set; set it in the environment"), "{refusal}");
    // An example sees no secret, so that its difference shows none.
    let example = r#"{"request": {"path": "/x"}, "plan": {"reply": {"status": 200, "body": "secret"}}}"#;
    guests.put_file("x/examples/a.json", example.as_bytes());
    guests.put_file("secret", b"hunter2\n");
    let mut settings = settings(guests.folder.path());
    settings.sources.variables = Variables::from_iter([("SHOP_KEY".to_owned(), "hunter3".to_owned())]);
    assert!(!format!("{settings:?}").contains("hunter"));
    let node = TestNode::with(&database, settings).await;
    assert_eq!(body(&node, "/x").await, "hunter2");
    // A changed file is a new generation.
    guests.put_file("secret", b"hunter4");
    node.until_generation("x", 2).await;
    assert_eq!(body(&node, "/x").await, "hunter4");
    // One that is gone changes nothing.
    std::fs::remove_file(guests.folder.path().join("secret")).unwrap();
    let (stage, message) = node.until_refused("x").await;
    assert_eq!(stage, Stage::Config);
    assert!(message.contains("config: `a`: the file "), "{message}");
    assert_eq!((node.generation("x"), body(&node, "/x").await), (2, "hunter4".to_owned()));
    for path in ["/handlers", "/metrics"] {
        let answer = node.admin(path).await;
        assert!(!answer.text().contains("hunter"), "{}", answer.text());
    }
    assert!(
        !format!("{:?} {:?}", node.handler("x").entry, node.handler("x").lineage().current.config).contains("hunter")
    );
}
