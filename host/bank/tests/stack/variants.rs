//! What the files on top of `compose.yaml` change.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use galo_bank::compose::{Compose, PASSWORD, folder};
use serde_json::json;

use crate::stack::{Stack, until};

/// The contest's limits for all containers together. MB or MiB: the smaller one is within both.
const NANO_CPUS_MAX: u64 = 1_500_000_000;
const MEMORY_BYTES_MAX: u64 = 550_000_000;

pub fn the_contests_does_not_wait_for_the_disk(compose: &Compose) {
    let stack = Stack::up(&compose.with(&["compose.rinha.yaml"]));
    assert_eq!((stack.sql("SHOW fsync").as_str(), stack.sql("SHOW synchronous_commit").as_str()), ("off", "off"));
    assert_confined(&stack);
    stack.until_all_serve(&["node-1", "node-2"]);
    stack.assert_ledger_holds();
}

pub fn placed_keeps_each_process_on_its_core(compose: &Compose) {
    let stack = Stack::up(&compose.with(&["compose.rinha.yaml", "compose.placed.yaml"]));
    for (service, core) in [("nginx", "0"), ("node-1", "0"), ("node-2", "1"), ("postgres", "1")] {
        let allowed = stack.exec(service, &["sed", "-n", "s/^Cpus_allowed_list:\\s*//p", "/proc/1/status"]).unwrap();
        assert_eq!(allowed, core, "{service}");
    }
    for _ in 0..60 {
        assert_eq!(stack.credit(), 200);
    }
    // Two requests in three go to the first node.
    let (first, second) = (stack.calls("node-1"), stack.calls("node-2"));
    assert!(second > 0 && 2 * first > 3 * second, "{first} requests to node-1, {second} to node-2");
}

pub fn four_nodes_serve_without_a_restart(compose: &Compose) {
    // A copy of the nodes' list, because the test changes it.
    let scratch = tempfile::tempdir().unwrap();
    let upstream = scratch.path().join("upstream");
    fs::create_dir(&upstream).unwrap();
    fs::copy(folder().join("nginx/upstream/nodes.conf"), upstream.join("nodes.conf")).unwrap();
    for path in [scratch.path(), &upstream] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = scratch.path().join("compose.yaml");
    let volume = format!("{}:/etc/nginx/upstream:ro", upstream.display());
    fs::write(&file, format!("services:\n  nginx:\n    volumes: [\"{volume}\"]\n")).unwrap();
    let stack = Stack::up(&compose.with(&[file]));
    stack.compose.run(&["--profile", "four", "up", "-d", "--no-recreate", "node-3", "node-4"]).unwrap();
    let mut nodes = fs::read_to_string(upstream.join("nodes.conf")).unwrap();
    for node in ["node-3", "node-4"] {
        until(&format!("{node} is healthy"), || stack.inspect(node)["State"]["Health"]["Status"] == "healthy");
        nodes += &format!("server unix:/run/galo/{node}.sock max_fails=0;\n");
    }
    fs::write(upstream.join("nodes.conf"), nodes).unwrap();
    stack.exec("nginx", &["nginx", "-e", "stderr", "-s", "reload"]).unwrap();
    stack.until_all_serve(&["node-1", "node-2", "node-3", "node-4"]);
    stack.assert_ledger_holds();
}

pub fn nodes_and_postgres_speak_tcp(compose: &Compose) {
    let stack = Stack::prepare(&compose.with(&["compose.tcp.yaml"]));
    stack.compose.run(&["run", "--rm", "-T", "migrate"]).unwrap();
    stack.sql(&format!("ALTER ROLE galo PASSWORD '{PASSWORD}'"));
    stack.start();
    assert_confined(&stack);
    stack.until_all_serve(&["node-1", "node-2"]);
    stack.assert_ledger_holds();
}

/// Every container runs without privileges, only nginx publishes a port, and all together keep to the limits.
pub fn assert_confined(stack: &Stack) {
    let (cpus, bytes) = confined(stack, &["nginx", "node-1", "node-2", "postgres"]);
    assert!(cpus <= NANO_CPUS_MAX && bytes <= MEMORY_BYTES_MAX, "{cpus} ns of CPU a second, {bytes} bytes");
}

/// Asserts the same of these services but for the sum of their limits, of CPU and memory, which it returns.
pub fn confined(stack: &Stack, services: &[&str]) -> (u64, u64) {
    let (mut cpus, mut bytes) = (0, 0);
    for &service in services {
        let container = stack.inspect(service);
        let host = &container["HostConfig"];
        let limit = |name: &str| host[name].as_u64().filter(|limit| *limit > 0);
        cpus += limit("NanoCpus").unwrap_or_else(|| panic!("{service} has no limit of CPU"));
        bytes += limit("Memory").unwrap_or_else(|| panic!("{service} has no limit of memory"));
        assert_eq!(host["ReadonlyRootfs"], json!(true), "{service}");
        assert_eq!(host["CapDrop"], json!(["ALL"]), "{service}");
        assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]), "{service}");
        let user = container["Config"]["User"].as_str().unwrap();
        assert!(user.starts_with(|c| matches!(c, '1'..='9')), "{service} runs as `{user}`");
        let ports = host["PortBindings"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(ports, usize::from(service == "nginx"), "{service} publishes {ports} ports");
    }
    (cpus, bytes)
}
