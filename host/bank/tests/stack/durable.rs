//! `compose.yaml` as it is: durable. The tests share one stack, and leave it serving.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use galo_bank::compose::docker;

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
