//! `galo dev` in a checkout of its own: one command to a running service, and nothing left behind.

use std::path::Path;
use std::time::Duration;

use http::Method;
use nix::sys::signal::Signal;

use crate::cli::{Program, wait_until};
use crate::handlers::Copy;
use crate::harness::{Answer, TestDatabase, one_build_at_a_time, request, transacao};

/// `galo dev` on ports of its own, ready.
fn dev(copy: &Copy, arguments: &[&str], database_url: Option<&str>) -> Program {
    let _turn = one_build_at_a_time();
    let mut command = copy.galo();
    command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(arguments);
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    Program::start(command).until_ready()
}

async fn credit(program: &Program) -> Answer {
    request(&program.listen, Method::POST, "/clientes/1/transacoes", transacao(10, "c", "x")).await
}

/// Processes whose command line names something in a folder: Postgres and its guard.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    all.filter(|line| line.contains(folder)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_sets_everything_up_keeps_the_data_and_leaves_nothing_running() {
    let copy = Copy::new("data");
    let root = &copy.checkout.root;
    // Given a clean checkout, when dev runs, then it serves, and Ctrl-C ends all of it.
    let mut program = dev(&copy, &[], None);
    program.wait_for(&format!("Galo serves on http://{}, admin on http://{}", program.listen, program.admin));
    program.wait_for("transacoes           POST /clientes/{id}/transacoes");
    program.wait_for(&format!("curl -i http://{}/clientes/1/extrato", program.listen));
    assert_eq!(credit(&program).await.text(), r#"{"limite":100000,"saldo":10}"#);
    assert!(!processes_of(root).is_empty());
    program.signal(Signal::SIGINT);
    assert!(program.wait().success(), "{}", program.log());
    assert_eq!(processes_of(root), Vec::<String>::new());
    // The data is there the next time, and when that one is killed, Postgres goes too.
    let mut program = dev(&copy, &[], None);
    assert_eq!(credit(&program).await.json()["saldo"], 20);
    program.signal(Signal::SIGKILL);
    program.wait();
    wait_until("postgres has gone with us", || processes_of(root).is_empty());
    // What the killed one left is no obstacle.
    let mut program = dev(&copy, &[], None);
    assert_eq!(credit(&program).await.json()["saldo"], 30);
    // A second one on the same checkout is refused, and the first goes on.
    let mut command = copy.galo();
    command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut second = Program::start(command);
    assert!(!second.wait().success());
    assert!(second.log().contains("another galo"), "{}", second.log());
    assert_eq!(credit(&program).await.json()["saldo"], 40);
    program.signal(Signal::SIGTERM);
    assert!(program.wait().success());
    // --fresh starts empty.
    let mut program = dev(&copy, &["--fresh"], None);
    assert_eq!(credit(&program).await.json()["saldo"], 10);
    program.signal(Signal::SIGTERM);
    assert!(program.wait().success());
    assert_eq!(processes_of(root), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_uses_the_database_it_is_given() {
    let copy = Copy::new("given-database");
    let database = TestDatabase::new().await;
    // Given an owner that is no superuser, as one has in a database that somebody else runs.
    database
        .execute(
            "CREATE ROLE dono LOGIN CREATEROLE;
             GRANT rinha_owner, galo TO dono WITH ADMIN OPTION;
             ALTER SCHEMA public OWNER TO dono;
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO dono', current_database()); END $$",
        )
        .await;
    let owner = database.owner_url().replace("postgres@", "dono@");
    let mut program = dev(&copy, &[], Some(&owner));
    assert_eq!(credit(&program).await.status, 200);
    assert_eq!(database.ledger_rows(1).await, 1);
    database.assert_ledger_holds().await;
    // It acts as the service's role there too.
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'galo'";
    assert_eq!(database.owner().await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    program.signal(Signal::SIGTERM);
    assert!(program.wait().success());
    assert!(!copy.path(".galo/postgres").exists());
}

#[test]
fn dev_ends_quickly_when_it_is_stopped_while_it_builds() {
    let _turn = one_build_at_a_time();
    let copy = Copy::new("stopped");
    // A build script that would take an hour.
    copy.edit("handlers/extrato/build.rs", |text| {
        text.replace("fn main() {", "fn main() {\n    std::thread::sleep(std::time::Duration::from_secs(3600));")
    });
    let mut command = copy.galo();
    command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut program = Program::start(command);
    wait_until("the build runs", || {
        processes_of(&copy.checkout.root).iter().any(|line| line.contains("postgres")) && build_scripts() > 0
    });
    program.signal(Signal::SIGTERM);
    let begun = std::time::Instant::now();
    program.wait();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    wait_until("nothing is left", || processes_of(&copy.checkout.root).is_empty() && build_scripts() == 0);
}

/// Build scripts of the handler that are running.
fn build_scripts() -> usize {
    let all =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path().join("exe")).ok());
    all.filter(|exe| exe.to_string_lossy().contains("/build/extrato-")).count()
}

#[test]
fn a_build_that_fails_is_told_as_cargo_tells_it() {
    let _turn = one_build_at_a_time();
    let copy = Copy::new("broken");
    copy.edit("handlers/extrato/src/lib.rs", |text| text + "\nfn broken() -> u8 { \"x\" }\n");
    let mut command = copy.galo();
    command.args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut program = Program::start(command);
    assert!(!program.wait().success());
    assert!(program.log().contains("error[E0308]: mismatched types"), "{}", program.log());
    assert!(program.log().contains("handlers/extrato/src/lib.rs"), "{}", program.log());
    wait_until("nothing is left", || processes_of(&copy.checkout.root).is_empty());
}
