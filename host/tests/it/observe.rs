//! `deploy/observe`: the dashboard and the alerts name metrics and labels that a node has; Prometheus accepts the
//! rules, and each of them fires, where promtool is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{TestDatabase, TestNode, checkout, transacao};

fn observe() -> PathBuf {
    checkout().root.join("deploy/observe")
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(observe().join("grafana/dashboards/galo.json")).unwrap()).unwrap()
}

/// Every value of a field, wherever it is.
fn all<'a>(value: &'a Value, field: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == field => found.push(text),
            _ => all(value, field, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| all(value, field, found)),
        _ => {}
    }
}

/// The expressions of the alerts: one line, or the lines behind `>-`.
fn alerts() -> Vec<String> {
    let text = fs::read_to_string(observe().join("prometheus/alerts.yaml")).unwrap();
    let expressions = text.split("        expr: ").skip(1).map(|rest| match rest.strip_prefix(">-\n") {
        Some(rest) => rest.lines().take_while(|line| line.starts_with("          ")).collect::<Vec<_>>().join(" "),
        None => rest.lines().next().unwrap().to_owned(),
    });
    expressions.collect()
}

/// The names in an expression, without those in quotes, each with the labels in braces behind it.
fn names(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        rest = &rest[start..];
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        rest = &rest[name.len()..];
        let mut labels = Vec::new();
        if let Some((inside, behind)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            rest = behind;
            let parts = inside.split('"').step_by(2).map(|part| part.trim_matches(|c| !is_name(c)));
            labels = parts.filter(|part| !part.is_empty()).map(str::to_owned).collect();
        }
        found.push((name.to_owned(), labels));
    }
    found
}

/// The metrics of a text, each with its labels.
fn metrics(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        for (name, labels) in names(line).into_iter().take(1) {
            metrics.entry(name).or_default().extend(labels);
        }
    }
    // A counter without a series yet has a type.
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        metrics.entry(name.to_owned()).or_default();
    }
    metrics
}

/// What Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];

fn unknown(expression: &str, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut unknown = Vec::new();
    for (name, labels) in
        names(expression).iter().filter(|(name, _)| name.starts_with("galo_") || name.starts_with("process_"))
    {
        let Some(its) = known.get(name) else {
            unknown.push(name.clone());
            continue;
        };
        let missing = labels.iter().filter(|label| !its.contains(*label) && !ADDED.contains(&label.as_str()));
        unknown.extend(missing.map(|label| format!("{name}{{{label}}}")));
    }
    // `sum by (handler) (...)`: some metric of the expression has it.
    for by in expression.split("by (").skip(1).filter_map(|rest| rest.split_once(')')) {
        let has = |label: &str| {
            names(expression).iter().any(|(name, _)| known.get(name).is_some_and(|its| its.contains(label)))
        };
        let missing = by.0.split(',').map(str::trim).filter(|label| !ADDED.contains(label) && !has(label));
        unknown.extend(missing.map(|label| format!("by ({label})")));
    }
    unknown
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_name_metrics_that_a_node_has() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await;
    node.get("/clientes/1/extrato").await;
    node.get("/nowhere").await;
    // Of a node in front of shards.
    node.running.node.metrics.shards.of(0);
    let text = node.admin("/metrics").await.text().to_owned();
    let known = metrics(&text);
    assert!(
        known["galo_requests_total"].contains("code") && known["galo_call_wait_duration_seconds_bucket"].contains("le")
    );
    let dashboard = dashboard();
    let mut shown = Vec::new();
    all(&dashboard, "expr", &mut shown);
    all(&dashboard, "definition", &mut shown);
    let alerts = alerts();
    assert!(shown.len() > 40 && alerts.len() == 13, "{} {}", shown.len(), alerts.len());
    for expression in shown.into_iter().chain(alerts.iter().map(String::as_str)) {
        assert_eq!(unknown(expression, &known), Vec::<String>::new(), "{expression}");
    }
    // The check itself finds what is wrong.
    assert_eq!(unknown("rate(galo_reqests_total[5m])", &known), ["galo_reqests_total"]);
    assert_eq!(unknown("galo_requests_total{status=\"5..\"}", &known), ["galo_requests_total{status}"]);
    assert_eq!(unknown("sum by (route) (galo_requests_total)", &known), ["by (route)"]);
}

#[test]
fn every_panel_has_a_source_that_is_provisioned() {
    let sources = fs::read_to_string(observe().join("grafana/provisioning/datasources/galo.yaml")).unwrap();
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && !panel["title"].as_str().unwrap().is_empty());
        if panel["type"] != "row" {
            let uid = panel["datasource"]["uid"].as_str().unwrap();
            assert!(sources.contains(&format!("uid: {uid},")) && !panel["targets"].as_array().unwrap().is_empty());
        }
    }
    assert!(sources.contains("uid: traces,") && dashboard.to_string().contains("traces"));
}

#[test]
fn prometheus_accepts_the_rules_and_each_of_them_fires() {
    let folder = observe().join("prometheus");
    let promtool = |arguments: &[&str]| {
        let output = Command::new("promtool").current_dir(&folder).args(arguments).output().ok()?;
        Some((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
    };
    let Some((good, report)) = promtool(&["check", "rules", "alerts.yaml"]) else { return };
    assert!(good, "{report}");
    let (good, report) = promtool(&["test", "rules", "alerts.test.yaml"]).unwrap();
    assert!(good, "{report}");
    let (good, report) = promtool(&["check", "config", "prometheus.yaml"]).unwrap();
    assert!(good, "{report}");
    // Each alert has a test.
    let tests = fs::read_to_string(folder.join("alerts.test.yaml")).unwrap();
    for alert in fs::read_to_string(folder.join("alerts.yaml")).unwrap().split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        assert!(tests.contains(&format!("- name: {name}\n")), "{name} has no test");
    }
}

#[test]
fn every_file_that_a_compose_file_mounts_is_there() {
    let deploy = checkout().root.join("deploy");
    let mut mounted = 0;
    for (file, folder) in [("compose.observe.yaml", deploy.clone()), ("observe/compose.yaml", observe())] {
        let text = fs::read_to_string(deploy.join(file)).unwrap();
        for source in text.lines().filter_map(|line| line.trim().strip_prefix("- ./")?.split_once(':')) {
            assert!(folder.join(source.0).exists(), "{file}: {}", source.0);
            mounted += 1;
        }
    }
    assert_eq!(mounted, 8);
}
