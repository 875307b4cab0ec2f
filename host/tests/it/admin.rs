//! The admin address: what it shows, and when it says ready.

use galo::build::Profile;
use galo::guest::Digest;
use http::Method;

use crate::harness::{TestDatabase, TestNode, handlers, request, transacao};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_that_it_lives_is_ready_and_what_it_serves() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    assert_eq!(node.admin("/live").await.text(), "live\n");
    assert_eq!(node.admin("/ready").await.text(), "ready\n");
    let shown = node.admin("/handlers").await;
    assert_eq!(shown.header("content-type"), "application/json");
    let shown = shown.json();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    let component = std::fs::read(handlers(Profile::Release).join("transacoes.wasm")).unwrap();
    assert_eq!(shown[0]["name"], "transacoes");
    assert_eq!(shown[0]["route"], "POST /clientes/{id}/transacoes");
    assert_eq!(shown[0]["generation"], 1);
    assert_eq!(shown[0]["sha256"], Digest::of(&component).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await;
    node.post("/clientes/1/transacoes", "").await;
    node.get("/nowhere").await;
    let shown = node.admin("/metrics").await;
    assert!(shown.header("content-type").starts_with("application/openmetrics-text"));
    for line in [
        r#"galo_requests_total{handler="transacoes",status="2xx"} 1"#,
        r#"galo_requests_total{handler="transacoes",status="4xx"} 1"#,
        r#"galo_request_seconds_count{handler="transacoes"} 2"#,
        "galo_unrouted_total 1",
        "galo_in_flight 0",
        "galo_shed_total 0",
    ] {
        assert!(shown.text().lines().any(|shown| shown == line), "`{line}` is missing in:\n{}", shown.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_address_only_shows() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let answer = request(&node.admin_address(), Method::POST, "/live", "").await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET"));
    assert_eq!(node.admin("/clientes/1/extrato").await.status, 404);
    assert_eq!(node.get("/live").await.status, 404);
}
