//! `compose.yaml` as it is: durable. The tests share one stack, and leave it serving.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use galo_bank::compose::{docker, finish};

use crate::stack::{Stack, until};
use crate::variants::assert_confined;

pub fn settings_and_limits_are_those_of_the_files(stack: &Stack) {
    assert_eq!((stack.sql("SHOW fsync").as_str(), stack.sql("SHOW synchronous_commit").as_str()), ("on", "on"));
    let scheduling = stack.exec("postgres", &["chrt", "--pid", "1"]).unwrap();
    assert!(scheduling.contains("SCHED_BATCH"), "{scheduling}");
    assert_confined(stack);
    stack.until_all_serve(&["node-1", "node-2"]);
    stack.assert_ledger_holds();
}

pub fn what_nginx_refuses_is_json(stack: &Stack) {
    let long = |bytes: usize| "a".repeat(bytes);
    let refused = [
        (404, stack.send_to("/nowhere", "{}")),
        (405, stack.send_to("/clientes/1/extrato", "{}")),
        // A node's limit, and nginx's.
        (413, stack.post(&[], &long(9_000))),
        (413, stack.post(&[], &long(20_000))),
        (431, stack.post(&[("x-long", &long(20_000))], "{}")),
    ];
    for (status, answer) in refused {
        assert!(answer.0 == status && answer.1.starts_with("{\"error\":"), "{status}: {answer:?}");
    }
    for node in ["node-1", "node-2"] {
        docker(&["kill", &stack.container(node)]).unwrap();
    }
    let answer = stack.post(&[], r#"{"valor":1,"tipo":"c","descricao":"nobody"}"#);
    assert!(answer.0 == 503 && answer.1.starts_with("{\"error\":"), "{answer:?}");
    stack.compose.run(&["start", "node-1", "node-2"]).unwrap();
    stack.until_ready();
}

/// A component comes into the volume by the service `handlers`, and both nodes swap; one that does not fit does not.
pub fn handlers_come_and_go_without_a_restart(stack: &Stack) {
    let started = || ["node-1", "node-2"].map(|node| stack.inspect(node)["State"]["StartedAt"].clone());
    let begun = started();
    let folder = tempfile::tempdir().unwrap();
    let components = folder.path().join("components");
    take_components(&components);
    // A custom section: the same component with another digest.
    let component = components.join("transacoes.wasm");
    let mut bytes = fs::read(&component).unwrap();
    bytes.extend(b"\0\x05\x04galo");
    fs::write(&component, bytes).unwrap();
    for path in [folder.path(), &components] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let volume = format!("{}:/components:ro", components.display());
    let put = || stack.compose.run(&["run", "--rm", "-T", "-v", &volume, "handlers"]);
    put().unwrap();
    let generation = |node| stack.handler(node, "transacoes").unwrap()["generation"].as_u64();
    for node in ["node-1", "node-2"] {
        until(&format!("{node} swaps"), || generation(node) == Some(2));
    }
    fs::write(&component, "broken").unwrap();
    let refused = format!("{:#}", put().unwrap_err());
    assert!(refused.contains("not a valid component"), "{refused}");
    assert_eq!(stack.credit(), 200);
    for node in ["node-1", "node-2"] {
        stack.exec(node, &["galo", "rollback", "transacoes", "-m", "it was only a test"]).unwrap();
        assert_eq!(generation(node), Some(1), "{node}");
    }
    assert_eq!(stack.credit(), 200);
    assert_eq!(started(), begun, "a node was restarted");
}

/// `deploy/galo` from the host: a canary on both nodes, a restart of each, a rollback of both, and a canary that ends
/// on both because a node was restarted.
pub fn a_deployment_reaches_both_nodes_and_outlives_their_restarts(stack: &Stack) {
    const NODES: [&str; 2] = ["node-1", "node-2"];
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    take_components(&folder.path().join("components"));
    let mut bytes = fs::read(folder.path().join("components/transacoes.wasm")).unwrap();
    bytes.extend(b"\0\x05\x04next");
    fs::write(folder.path().join("next.wasm"), &bytes).unwrap();
    let command = |arguments: &[&str]| stack.compose.galo("galo", folder.path(), arguments);
    let galo = |arguments: &[&str]| finish(&mut command(arguments));
    let sha256 = |node| stack.handler(node, "transacoes").ok().map(|handler| handler["sha256"].clone());
    let old = sha256("node-1").unwrap();
    let serve = |digest: &serde_json::Value| NODES.iter().all(|node| sha256(node).as_ref() == Some(digest));
    // When it is deployed, then both nodes serve it, and the log of both says who did it.
    let deploy = ["deploy", "transacoes", "next.wasm", "--by", "id", "-m", "a test", "--canary"];
    let printed = galo(&[&deploy[..], &["50%,100%", "--hold", "1s"]].concat()).unwrap();
    assert!(printed.contains("transacoes: deployed"), "{printed}");
    let new = sha256("node-1").unwrap();
    assert!(new != old && serve(&new), "{old} {new}");
    let audit = galo(&["audit", "transacoes", "--last", "1"]).unwrap();
    for node in NODES {
        assert!(audit.contains(&format!("unix:/run/galo-admin/{node}.sock:\n")), "{audit}");
    }
    assert_eq!(audit.matches("by ana: a test").count(), 2, "{audit}");
    // When one is stopped and the other is killed, then they serve it again, and one command takes both back.
    docker(&["restart", &stack.container("node-1")]).unwrap();
    docker(&["kill", &stack.container("node-2")]).unwrap();
    stack.compose.run(&["start", "node-2"]).unwrap();
    until("both serve it again", || serve(&new));
    let restored = old.as_str().unwrap();
    let printed = galo(&["rollback", "transacoes", "--to", &restored[..12], "-m", "only a test"]).unwrap();
    assert_eq!(printed.matches("rolled back").count(), 2, "{printed}");
    assert!(serve(&old));
    // When a node restarts while a canary runs, then the command takes it back on the other.
    bytes.extend(b"\0\x05\x04last");
    fs::write(folder.path().join("next.wasm"), &bytes).unwrap();
    let held = command(&[&deploy[..], &["50%,100%", "--hold", "60s"]].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let has_canary = |node| stack.handler(node, "transacoes").is_ok_and(|handler| handler["canary"].is_object());
    until("both have the canary", || NODES.iter().all(|node| has_canary(node)));
    docker(&["restart", &stack.container("node-2")]).unwrap();
    let ended = held.wait_with_output().unwrap();
    assert!(!ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    until("neither has a canary", || serve(&old) && !NODES.iter().any(|node| has_canary(node)));
    assert_eq!(stack.credit(), 200);
    stack.assert_ledger_holds();
}

/// As deploy/README.md has it, into a database of another name.
pub fn a_dump_is_restored(stack: &Stack) {
    stack.until_all_serve(&["node-1", "node-2"]);
    let postgres = |command: &str| stack.exec("postgres", &["sh", "-ec", command]).unwrap();
    postgres("pg_dump -U postgres -Fc rinha >/tmp/dump && createdb -U postgres restored");
    postgres("pg_restore -U postgres --exit-on-error -d restored </tmp/dump && rm /tmp/dump");
    let url = "DATABASE_URL=host=/run/postgresql dbname=restored user=postgres";
    let migrated = stack.compose.run(&["run", "--rm", "-T", "-e", url, "migrate"]).unwrap();
    assert!(migrated.contains("applied:    the 2 files of procedures/"), "{migrated}");
    let restored = |sql: &str| postgres(&format!("psql -U postgres -qAtX -d restored -c \"{sql}\""));
    let sum = "SELECT count(*), sum(saldo_apos) FROM rinha.transacoes";
    assert_eq!(restored(sum), stack.sql(sum));
    // Rights on the database itself are not in a dump.
    assert_eq!(restored("SELECT has_database_privilege('galo', current_database(), 'TEMPORARY')"), "f");
    stack.assert_ledger_holds();
}

/// The components that the image `galo-handlers` carries.
fn take_components(to: &Path) {
    let id = docker(&["create", "galo-handlers"]).unwrap();
    docker(&["cp", &format!("{id}:/components"), &to.display().to_string()]).unwrap();
    docker(&["rm", &id]).unwrap();
}
