//! What a node records of its requests, and that a record can be run again bit for bit.

use galo::config::{Readers, Recording, Settings};
use galo::develop::build::Profile;
use galo::record::{Plan, Record, Why};
use galo::replay;

use crate::harness::{TestDatabase, TestNode, handlers, settings, transacao};

async fn node(database: &TestDatabase, recording: Recording) -> TestNode {
    TestNode::with(database, Settings { recording, readers: Readers::Loopback, ..settings(handlers(Profile::Release)) })
        .await
}

/// The records of a node, once there are so many.
async fn records(node: &TestNode, count: usize) -> Vec<Record> {
    for _ in 0..100 {
        let lines = node.admin("/api/records").await.text().to_owned();
        let records: Vec<_> = lines.lines().map(|line| Record::parse(line).unwrap()).collect();
        if records.len() >= count {
            return records;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("there were fewer than {count} records");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_request_is_decided_alike_when_it_is_run_again() {
    let database = TestDatabase::new().await;
    let node = node(&database, Recording::one_in(1)).await;
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
        assert_eq!(replay::differences(&replay::recorded(record), &again, 9), [], "{}", record.line());
    }
    let of = |status| records.iter().find(|record| record.response.status == status).unwrap();
    assert!(matches!(&of(422).plan, Some(Plan::Call(call)) if call.procedure == "cliente_existe"));
    assert!(matches!(&of(200).plan, Some(Plan::Call(call)) if call.arguments.len() >= 4));
    assert!(of(200).times.whole > 0 && of(200).signature.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recorded_unless_it_is_asked_for() {
    let database = TestDatabase::new().await;
    let node = node(&database, Recording::OFF).await;
    node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await;
    node.post("/clientes/1/transacoes", "{").await;
    assert_eq!(node.admin("/api/records").await.text(), "");
}
