//! `galo put`: copies handlers into the folder that nodes watch.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio_postgres::Client;

use crate::cli::run;
use crate::fixture::{answers, calling, marked};
use crate::harness::{Guests, TestDatabase, connect, galo, scratch};
use crate::lanes::PROCEDURES;

const EXAMPLE: &str = r#"{"about": "a", "request": {"path": "/a"}, "plan": {"reply": {"status": 204}}}"#;

/// Runs it, and returns whether it succeeded, what it printed, and what it logged.
fn put(from: &Guests, to: &Path, database: &TestDatabase) -> (bool, String, String) {
    run(&mut command(from, to, database))
}

fn command(from: &Guests, to: &Path, database: &TestDatabase) -> Command {
    let mut command = galo();
    command.arg("put").arg(from.folder.path()).env("GALO_HANDLERS", to).env("DATABASE_URL", database.service_url());
    command.env("GALO_CACHE", to.with_file_name("cache"));
    command
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_are_put_whole_and_only_when_they_are_new() {
    let database = TestDatabase::new().await;
    let (_folder, to) = scratch("handlers");
    let from = Guests::new().add("a", &answers(204), "").add("b", &answers(204), "");
    for name in ["a/examples/one.json", "a/examples/two.json"] {
        from.put_file(name, EXAMPLE.as_bytes());
    }
    let (success, shown, logged) = put(&from, &to, &database);
    assert!(success && shown.contains("2 handlers verified"), "{shown}{logged}");
    // The examples of a component, then the component; the manifest comes last.
    let order = ["a/examples/one.json", "a/examples/two.json", "a.wasm", "b.wasm", "galo.toml"];
    assert!(shown.ends_with(&(order.join("\n") + "\n")), "{shown}{logged}");
    for name in order {
        assert_eq!(read(&to, name), read(from.folder.path(), name), "{name}");
        assert_eq!(std::fs::metadata(to.join(name)).unwrap().mode() & 0o777, 0o644, "{name}");
    }
    assert!(to.with_file_name("cache").read_dir().unwrap().count() > 0, "nothing is compiled");
    // A component that arrived by another way stays: the same handlers are not copied again.
    let other = marked(&answers(204), 1);
    std::fs::write(to.join("a.wasm"), &other).unwrap();
    let (success, shown, logged) = put(&from, &to, &database);
    assert!(success && shown.ends_with("nothing new\n"), "{shown}{logged}");
    assert_eq!(read(&to, "a.wasm"), other);
    // New handlers replace it. An example that was removed is deleted, and equal files are left alone.
    std::fs::remove_file(from.folder.path().join("a/examples/two.json")).unwrap();
    let (success, shown, logged) = put(&from, &to, &database);
    assert!(success && shown.ends_with("2 handlers verified\na.wasm\n"), "{shown}{logged}");
    assert_eq!(read(&to, "a.wasm"), answers(204));
    let examples: Vec<_> = to.join("a/examples").read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(examples, ["one.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_do_not_fit_are_not_put() {
    let database = TestDatabase::new().await;
    let (_folder, to) = scratch("handlers");
    let broken = Guests::new().add("a", b"broken", "");
    let unknown = Guests::new().add("a", &calling("no_such_procedure"), "procedures = [\"no_such_procedure\"]");
    let failing = Guests::new().add("a", &answers(204), "");
    failing.put_file("a/examples/one.json", EXAMPLE.replace("204", "200").as_bytes());
    for (from, why) in [(&broken, "a: refused"), (&unknown, "no_such_procedure"), (&failing, "one.json")] {
        let (success, shown, logged) = put(from, &to, &database);
        assert!(!success && (shown + &logged).contains(why), "{logged}");
        assert!(!to.exists(), "{why}: something was copied");
    }
}

/// Connections to this database that were ever opened, and have ended: a backend reports its own at its end.
async fn sessions(client: &Client) -> i64 {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let count = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()";
    client.query_one(count, &[]).await.unwrap().get(0)
}

/// How many connections a node has for lanes is a setting of the node, which `put` and `check` do not have.
#[tokio::test(flavor = "multi_thread")]
async fn handlers_with_lanes_are_put_unless_no_node_can_have_so_many() {
    let database = TestDatabase::new().await;
    database.execute(PROCEDURES).await;
    let (_folder, to) = scratch("handlers");
    let grant = "procedures = [\"um\"]\nbatch = { um = { form = \"muitos\", by = \"id\", lanes = 64 } }";
    let from = Guests::new().add("a", &calling("um"), grant);
    let client = connect(&database.owner_url()).await;
    let before = sessions(&client).await;
    let (success, shown, logged) = put(&from, &to, &database);
    assert!(success && shown.contains("1 handlers verified"), "{shown}{logged}");
    // A database in use has none to spare.
    let opened = sessions(&client).await - before;
    assert!((1..=3).contains(&opened), "{opened} connections were opened");
    database
        .execute(
            "CREATE FUNCTION terceiro(id integer, x integer, OUT y integer) LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION terceiros(ordinals integer[], id integer[], x integer[])
             RETURNS TABLE (ordinal integer, y integer) LANGUAGE sql AS 'SELECT 1, 1'",
        )
        .await;
    let grant_of_another = grant.replace("um", "terceiro").replace("muitos", "terceiros");
    let from = from.add("b", &calling("terceiro"), &grant_of_another);
    let (success, _, logged) = put(&from, &to, &database);
    assert!(!success && logged.contains("have 128 lanes"), "{logged}");
    assert!(!to.join("b.wasm").exists(), "something was copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_keys_are_put_and_secrets_are_not() {
    let database = TestDatabase::new().await;
    let (_folder, to) = scratch("handlers");
    let more = "claims = \"optional\"\nconfig = { a = { file = \"a.key\" }, b = { variable = \"SHOP_KEY\" } }\n\
                [token]\njwks = \"keys/jwks.json\"\nalgorithms = [\"EdDSA\"]\n";
    let from = Guests::new().add("a", &answers(204), more);
    let keys = format!("{{\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{}\"}}]}}", "A".repeat(43));
    from.put_file("keys/jwks.json", keys.as_bytes());
    from.put_file("a.key", b"hunter2");
    // Where the nodes' secrets have to be, one that is missing is refused, and nothing is put.
    let (success, _, logged) = run(command(&from, &to, &database).arg("--require-secrets"));
    assert!(!success && logged.contains("config: `b`: the variable SHOP_KEY is not set; set it in"), "{logged}");
    assert!(!to.join("galo.toml").exists());
    let (success, shown, logged) = put(&from, &to, &database);
    assert!(success && shown.ends_with("a.wasm\nkeys/jwks.json\ngalo.toml\n"), "{shown}{logged}");
    assert_eq!(read(&to, "keys/jwks.json"), keys.as_bytes());
    assert!(!to.join("a.key").exists());
    // A secret of the nodes need not be here; a node and `galo check` need it.
    assert!(logged.contains("a: config: `b`: the variable SHOP_KEY is not set"), "{logged}");
    let check = || {
        let mut command = galo();
        command.arg("check").arg(from.folder.path()).env("DATABASE_URL", database.service_url());
        command
    };
    let (success, shown, logged) = run(&mut check());
    assert!(!success && logged.contains("config: `b`: the variable SHOP_KEY is not set; set it in"), "{shown}{logged}");
    let (success, shown, logged) = run(check().env("SHOP_KEY", "hunter3"));
    assert!(success && shown.contains("1 handlers verified"), "{shown}{logged}");
    assert!(!(shown + &logged).contains("hunter"));
}

#[test]
fn all_its_mistakes_are_reported_at_once() {
    let (success, _, logged) = run(galo().args(["put", "from", "--handlers", "to"]).env("GALO_LISTN", "x"));
    assert!(!success && logged.contains("2 mistakes") && logged.contains("DATABASE_URL: not set"), "{logged}");
}
