//! Back up, and restore to a point in time, with the scripts that deploy/README.md names.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use galo::config::Secret;
use galo::database::{self, Target};
use galo::develop::build::Profile;
use galo::develop::postgres::{Cluster, Data, SUPERUSER};
use galo::serve;
use galo_testing::database::{DATABASE, SERVICE_ROLE};

use crate::harness::{GALO, PATIENCE, TestNode, checkout, connect, engine, handlers, settings, transacao};

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn node(cluster: &Cluster) -> TestNode {
    let target = Target::parse(&Secret::new(cluster.url(SERVICE_ROLE, DATABASE))).unwrap();
    TestNode { running: serve::start(&settings(handlers(Profile::Release)), &target, engine()).await.unwrap() }
}

async fn credit(node: &TestNode, valor: i64) {
    assert_eq!(node.post("/clientes/1/transacoes", transacao(valor, "c", "x")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_restored_to_a_moment() {
    // Given a base backup, transactions before a moment and mistaken ones after it, when the ledger is restored to that
    // moment, then it has the first and not the others, it is consistent, and a node serves with it.
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for script in ["keep-wal", "restore-to"] {
        std::fs::copy(checkout().root.join("deploy/postgres").join(script), at(script)).unwrap();
    }
    std::fs::create_dir(at("wal")).unwrap();
    std::fs::set_permissions(at("wal"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let archive = [
        "wal_level=replica".to_owned(),
        "archive_mode=on".to_owned(),
        format!("archive_command=sh {} %p {}", at("keep-wal").display(), at("wal").display()),
    ];
    let data = Data::Lasting(at("cluster"));
    let mut cluster = tokio::task::block_in_place(|| Cluster::start_with(Path::new(GALO), data, &archive).unwrap());
    let target = |database| Target::parse(&Secret::new(cluster.url(SUPERUSER, database))).unwrap();
    database::create(&target("postgres"), DATABASE).await.unwrap();
    database::apply(&target(DATABASE), &checkout().sql()).await.unwrap();
    let owner = connect(&cluster.url(SUPERUSER, DATABASE)).await;
    let programs: String =
        owner.query_one("SELECT setting FROM pg_config WHERE name = 'BINDIR'", &[]).await.unwrap().get(0);

    let serving = node(&cluster).await;
    credit(&serving, 1).await;
    run(Command::new(Path::new(&programs).join("pg_basebackup"))
        .args(["-c", "fast", "-U", SUPERUSER, "-h"])
        .arg(&cluster.socket)
        .arg("-D")
        .arg(at("base")));
    credit(&serving, 10).await;
    let moment: String = owner.query_one("SELECT clock_timestamp()::text", &[]).await.unwrap().get(0);
    credit(&serving, 100).await;
    serving.stop().await;
    let last: String = owner.query_one("SELECT pg_walfile_name(pg_switch_wal())", &[]).await.unwrap().get(0);
    let begun = Instant::now();
    while !at("wal").join(&last).exists() {
        assert!(begun.elapsed() < PATIENCE, "{last} is not kept");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(owner);
    let runs_as = std::fs::metadata(at("cluster/data")).unwrap();
    tokio::task::block_in_place(|| cluster.stop());

    std::fs::create_dir(at("restored")).unwrap();
    let arguments = [moment.into(), at("base"), at("wal"), at("restored/data")];
    run(Command::new("sh").arg(at("restore-to")).args(arguments));
    // The script runs as the user that Postgres runs as, and the test may run as root.
    give(&at("restored/data"), runs_as.uid(), runs_as.gid());
    let data = Data::Lasting(at("restored"));
    let cluster = tokio::task::block_in_place(|| Cluster::start(Path::new(GALO), data).unwrap());
    // A node waits until the log is replayed: before that, the server does not take writes.
    let serving = node(&cluster).await;
    assert_eq!(serving.get("/clientes/1/extrato").await.json()["saldo"]["total"], 11);
    let owner = connect(&cluster.url(SUPERUSER, DATABASE)).await;
    let check = std::fs::read_to_string(checkout().root.join("sql/check/ledger.sql")).unwrap();
    assert!(owner.query(&check, &[]).await.unwrap().is_empty());
    credit(&serving, 1000).await;
}

fn give(path: &Path, uid: u32, gid: u32) {
    if std::fs::metadata(path).unwrap().uid() == uid {
        return;
    }
    chown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), uid, gid));
    }
}
