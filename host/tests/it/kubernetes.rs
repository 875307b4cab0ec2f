//! Compares `deploy/kubernetes` with the host's limits and options. `.ci/kubernetes` checks it against the schemas.

use galo::limits;

use crate::cli::run;
use crate::harness::{checkout, galo};

fn deployment() -> String {
    std::fs::read_to_string(checkout().root.join("deploy/kubernetes/deployment.yaml")).unwrap()
}

/// The number after a text.
fn number(text: &str, behind: &str) -> u64 {
    let rest = text.split(behind).nth(1).unwrap_or_else(|| panic!("no `{behind}`"));
    let digits: String = rest.trim_start_matches(['"', ' ']).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn a_pod_has_the_time_that_its_node_takes_to_end() {
    let deployment = deployment();
    let linger = number(&deployment, "name: GALO_LINGER, value:");
    let ends = [
        limits::DRAIN_GRACE,
        limits::CALL_TIMEOUT,
        limits::TRACES_CLOSE_TIMEOUT,
        limits::STATE_CLOSE_TIMEOUT,
        limits::LOG_FLUSH_TIMEOUT,
    ];
    let takes: u64 = linger + ends.iter().map(std::time::Duration::as_secs).sum::<u64>();
    let grace = number(&deployment, "terminationGracePeriodSeconds:");
    assert!(linger >= 5 && takes < grace, "{takes} s of {grace}");
}

#[test]
fn every_variable_of_the_deployment_is_one_that_galo_reads() {
    let (_, help, _) = run(galo().args(["serve", "--help"]));
    let deployment = deployment();
    let names: Vec<_> =
        deployment.split("name: ").skip(1).map(|rest| rest.split([',', '\n']).next().unwrap()).collect();
    let ours: Vec<_> = names.into_iter().filter(|name| name.starts_with("GALO_") || *name == "DATABASE_URL").collect();
    assert!(ours.len() > 8, "{ours:?}");
    for name in ours {
        assert!(help.contains(name), "{name} is not in the help");
    }
}

#[test]
fn the_variables_that_kubernetes_sets_for_a_service_are_not_typos() {
    let mut command = galo();
    command.args(["serve", "--listen", "nowhere"]);
    for name in ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR"] {
        command.env(format!("GALO_{name}"), "tcp://10.0.0.1:80").env(format!("GALO_ADMIN_{name}"), "tcp://10.0.0.1:80");
    }
    let (success, _, stderr) = run(command.env("GALO_LISTEN_PORT", "80").env("GALO_PORT_HTTP", "80"));
    // The listener's, the database's, and the two typos.
    assert!(!success && stderr.contains("has 4 mistakes"), "{stderr}");
    assert!(
        stderr.contains("GALO_LISTEN_PORT: unknown variable") && stderr.contains("GALO_PORT_HTTP: unknown variable"),
        "{stderr}"
    );
}
