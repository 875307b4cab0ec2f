//! The metrics: they count what happened, and Prometheus accepts their text, by our own version of promtool's rules and
//! by promtool itself where it is installed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use galo::contract::Value;
use galo::database::{Batch, Database};
use galo::metrics::{Format, Metrics};
use http::Method;
use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::cli::Program;
use crate::fixture::{Guest, answers, calling, marked, replying};
use crate::harness::{Guests, TestDatabase, TestNode, granted, request_with, settings, transacao, until};

/// A sample: its name, its labels in their order, its value.
type Sample = (String, Labels, f64);
type Labels = Vec<(String, String)>;

/// A family of series as the classic text format has it.
#[derive(Debug, Default)]
struct Family {
    help: Option<String>,
    kind: Option<String>,
    samples: Vec<Sample>,
}

/// Parses the classic text format, strictly.
fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.strip_suffix('\n').ok_or("the last line has no end")?.lines() {
        let err = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').ok_or("a comment")?;
            let Some((name, rest)) = rest.split_once(' ') else { return err("nothing behind the name") };
            if name != current && families.contains_key(name) {
                return err("in two places");
            }
            name.clone_into(&mut current);
            let family = families.entry(current.clone()).or_default();
            let field = match word {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                _ => return err("neither HELP nor TYPE"),
            };
            if field.replace(rest.to_owned()).is_some() || !family.samples.is_empty() {
                return err("twice, or behind its samples");
            }
            continue;
        }
        let (name, labels, value) = sample(line)?;
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        if name != current && base != Some(&current) {
            return err("apart from its HELP and TYPE");
        }
        families.get_mut(&current).ok_or("no family")?.samples.push((name, labels, value));
    }
    Ok(families)
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, behind) = inside.split_once("=\"").ok_or_else(|| format!("a label: {line}"))?;
            let (mut value, mut chars) = (String::new(), behind.char_indices());
            let close = loop {
                match chars.next().ok_or_else(|| format!("no end of a label: {line}"))? {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next() {
                        Some((_, 'n')) => value.push('\n'),
                        Some((_, c @ ('"' | '\\'))) => value.push(c),
                        _ => return Err(format!("an escape: {line}")),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            inside = behind[close + 1..].trim_start_matches(',');
        }
        rest = &inside[1..];
    }
    let value = match rest.trim() {
        "+Inf" => f64::INFINITY,
        text => text.parse().map_err(|_| format!("a value: {line}"))?,
    };
    Ok((name.to_owned(), labels, value))
}

/// What promtool's linter reports, and what it assumes.
fn lint(families: &BTreeMap<String, Family>) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for (name, family) in families {
        let mut wrong = |what: &str| found.push(format!("{name}: {what}"));
        let kind = family.kind.as_deref().unwrap_or_default();
        if family.help.as_deref().unwrap_or_default().trim().is_empty() {
            wrong("no help text");
        }
        match kind {
            "counter" if !name.ends_with("_total") => wrong("a counter should end in _total"),
            "gauge" | "histogram" if name.ends_with("_total") => wrong("only a counter ends in _total"),
            "counter" | "gauge" | "histogram" => {}
            _ => wrong("no type"),
        }
        if kind != "histogram" && ["_count", "_sum", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
            wrong("a suffix of histograms");
        }
        let words: Vec<_> = name.split('_').collect();
        if words.iter().any(|word| ["counter", "gauge", "histogram", "summary"].contains(word)) {
            wrong("its type is in its name");
        }
        let units = ["ms", "us", "ns", "s", "sec", "secs", "milliseconds", "microseconds", "nanoseconds", "minutes"];
        let sizes = ["kb", "kib", "mb", "mib", "kilobytes", "megabytes", "bits", "percent"];
        if words.iter().any(|word| units.contains(word) || sizes.contains(word)) {
            wrong("not the base unit, in full");
        }
        let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !is_name(name) || !family.samples.iter().all(|(_, labels, _)| labels.iter().all(|(l, _)| is_name(l))) {
            wrong("a name that is not in snake case");
        }
        for (sample, labels, value) in &family.samples {
            let mut labels = labels.clone();
            labels.sort();
            if !seen.insert((sample.clone(), labels)) {
                wrong("a series twice");
            }
            if kind == "counter" && (value.is_nan() || *value < 0.0) {
                wrong("a counter below zero");
            }
        }
        if kind == "histogram" {
            histogram(family).iter().for_each(|what| wrong(what));
        }
    }
    found
}

/// Buckets in their order, the count, and whether there is a sum.
type OneHistogram = (Vec<(f64, f64)>, Option<f64>, bool);

/// The errors in the buckets of a family.
fn histogram(family: &Family) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    let mut series: HashMap<Labels, OneHistogram> = HashMap::new();
    for (name, labels, value) in &family.samples {
        let others = labels.iter().filter(|(label, _)| label != "le").cloned().collect();
        let (buckets, count, sum) = series.entry(others).or_default();
        match labels.iter().find(|(label, _)| label == "le") {
            Some((_, le)) => buckets.push((le.replace("+Inf", "inf").parse().unwrap_or(f64::NAN), *value)),
            None if name.ends_with("_count") => *count = Some(*value),
            None if name.ends_with("_sum") => *sum = true,
            None => wrong.push("neither a bucket nor a count nor a sum"),
        }
    }
    for (buckets, count, sum) in series.values() {
        let last = buckets.last().copied().unwrap_or_default();
        if !buckets.is_sorted_by(|(le, n), (next, m)| le < next && n <= m) {
            wrong.push("buckets that do not ascend");
        }
        if last.0 != f64::INFINITY || Some(last.1) != *count || !sum {
            wrong.push("the last bucket is not +Inf and the count, or there is no sum");
        }
    }
    wrong
}

/// The output of the real promtool; `None` where it is not installed.
fn promtool(text: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
}

fn assert_good(text: &str) {
    let families = parse(text).unwrap();
    assert_eq!(lint(&families), Vec::<String>::new());
    if let Some((good, report)) = promtool(text) {
        assert!(good, "{report}\n{text}");
    }
}

fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|shown| shown == *line), "`{line}` is missing in:\n{text}");
    }
}

/// The value of one series, 0 when it is missing.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn the_check_of_the_text_finds_what_is_wrong() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"a\\\"\\\\b\\n\"} 1\n";
    assert_good(good);
    for (text, wrong) in [
        ("# HELP a A.\n# TYPE a counter\na 1\n", "a counter should end in _total"),
        ("# TYPE a_total counter\na_total 1\n", "no help text"),
        ("# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n", "only a counter"),
        ("# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n", "base unit"),
        ("# HELP a_gauge A.\n# TYPE a_gauge gauge\na_gauge 1\n", "its type"),
        ("# HELP aB A.\n# TYPE aB gauge\naB 1\n", "snake case"),
        ("# HELP a A.\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"1\"} 2\n", "a series twice"),
        ("# HELP a A.\n# TYPE a histogram\na_sum 1\na_count 2\na_bucket{le=\"1\"} 1\n", "the last bucket"),
        (
            "# HELP a A.\n# TYPE a histogram\na_sum 1\na_count 1\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\n",
            "do not ascend",
        ),
    ] {
        let found = lint(&parse(text).unwrap());
        assert!(found.iter().any(|found| found.contains(wrong)), "{text}: {found:?}");
    }
    for text in [
        "a 1",
        "a 1\n",
        "# HELP a A.\n# TYPE a gauge\na x\n",
        "# HELP a A.\n# TYPE a gauge\na{x=\"1} 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\n# HELP b B.\n# TYPE b gauge\nb 1\n# HELP a A.\n",
        "# HELP a A.\n# TYPE a gauge\nb 1\n",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    if let Some((good, report)) = promtool("# HELP a_ms A.\n# TYPE a_ms counter\na_ms 1\n") {
        assert!(!good && report.contains("_total"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened_and_are_what_prometheus_wants() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await;
    node.post("/clientes/1/transacoes", "").await;
    node.get("/clientes/1/extrato").await;
    node.get("/nowhere").await;
    node.get("/clientes/1/transacoes").await;
    let shown = node.admin("/metrics").await;
    assert_eq!(shown.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = shown.text();
    assert_good(text);
    assert_has(
        text,
        &[
            r#"galo_requests_total{handler="transacoes",code="200"} 1"#,
            r#"galo_requests_total{handler="transacoes",code="422"} 1"#,
            r#"galo_handler_info{handler="transacoes",route="POST /clientes/{id}/transacoes"} 1"#,
            r#"galo_request_duration_seconds_count{handler="transacoes"} 2"#,
            r#"galo_request_read_duration_seconds_count{handler="transacoes"} 2"#,
            r#"galo_guest_duration_seconds_count{handler="transacoes",phase="prepare"} 2"#,
            r#"galo_guest_duration_seconds_count{handler="extrato",phase="respond"} 1"#,
            r#"galo_call_wait_duration_seconds_count{procedure="extrato"} 1"#,
            r#"galo_call_wait_duration_seconds_count{procedure="realizar_transacao"} 1"#,
            r#"galo_call_database_duration_seconds_count{procedure="realizar_transacao"} 1"#,
            r#"galo_calls_total{procedure="realizar_transacao",sqlstate_class="00"} 1"#,
            r#"galo_calls_total{procedure="extrato",sqlstate_class="00"} 1"#,
            r#"galo_calls_unsent_total{procedure="extrato"} 0"#,
            r#"galo_lane_calls_waiting{procedure="realizar_transacao"} 0"#,
            r#"galo_unrouted_total{code="404"} 1"#,
            r#"galo_unrouted_total{code="405"} 1"#,
            "galo_in_flight 0",
            "galo_shed_total 0",
            "galo_database_up 1",
            r#"galo_pool_connections_wanted{pool="calls"} 4"#,
            r#"galo_pool_connections_open{pool="batches"} 1"#,
            r#"galo_pool_calls_waiting{pool="calls"} 0"#,
            concat!("galo_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",revision=\"\"} 1"),
        ],
    );
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let start = value(text, "process_start_time_seconds");
    assert!(start <= since_1970 + 1.0 && start > since_1970 - 24.0 * 3600.0, "{start}");
    assert!(value(text, "process_cpu_seconds_total") > 0.0, "{text}");
    assert!(value(text, "process_virtual_memory_bytes") > value(text, "process_resident_memory_bytes"), "{text}");
    assert!(value(text, "process_resident_memory_bytes") > 1e6, "{text}");
    assert!(value(text, "process_max_fds") > value(text, "process_open_fds"), "{text}");
    // The phases are parts of the whole.
    let sum = |series: &str| value(text, &series.replace('{', "_duration_seconds_sum{"));
    let parts = sum(r#"galo_request_read{handler="extrato"}"#)
        + sum(r#"galo_guest{handler="extrato",phase="prepare"}"#)
        + sum(r#"galo_guest{handler="extrato",phase="respond"}"#)
        + sum(r#"galo_call_wait{procedure="extrato"}"#)
        + sum(r#"galo_call_database{procedure="extrato"}"#);
    let whole = sum(r#"galo_request{handler="extrato"}"#);
    assert!(parts > 0.0 && parts <= whole, "{parts} of {whole}");
    // A client that accepts OpenMetrics gets it.
    let accept = [("accept", "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5")];
    let shown = request_with(&node.admin_address(), Method::GET, "/metrics", &accept).await;
    assert!(shown.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(shown.text().contains("# TYPE galo_requests counter") && shown.text().ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_how_they_end_and_where_their_time_goes() {
    // Given a procedure that fails as it is asked to, alone and with a batch form,
    let (database, metrics) = (TestDatabase::new().await, Metrics::new());
    database
        .execute(
            "CREATE FUNCTION um(id int, divisor int, OUT v int) LANGUAGE sql AS 'SELECT 1 / divisor';
             CREATE FUNCTION muitos(ordinals int[], ids int[], divisores int[]) RETURNS TABLE (ordinal int, v int) LANGUAGE sql
             AS 'SELECT o, 1 / d FROM unnest(ordinals, divisores) AS u(o, d)'",
        )
        .await;
    for batch in [None, Some(Batch::new("muitos", "id"))] {
        let pool = Arc::new(Database::new(&database.target(), 1, &metrics));
        let um = Arc::new(pool.describe(&granted("um", batch.as_ref())).await.unwrap());
        pool.start(vec![Arc::clone(&um)]).await.unwrap();
        let before = metrics.text(Format::Classic);
        // when two calls succeed and one divides by zero,
        for (divisor, is_ok) in [(1, true), (0, false), (2, true)] {
            let outcome = pool.call(&um, vec![Value::Integer(1), Value::Integer(divisor)]).await;
            assert_eq!(outcome.is_ok(), is_ok);
        }
        // and one is made when there are no connections,
        pool.drain().await;
        assert!(pool.call(&um, vec![Value::Integer(1), Value::Integer(1)]).await.is_err());
        // then each is counted, in one place.
        let after = metrics.text(Format::Classic);
        assert_good(&after);
        let more = |series: &str| value(&after, series) - value(&before, series);
        assert_eq!(more(r#"galo_calls_total{procedure="um",sqlstate_class="00"}"#), 2.0, "{after}");
        assert_eq!(more(r#"galo_calls_total{procedure="um",sqlstate_class="22"}"#), 1.0, "{after}");
        assert_eq!(more(r#"galo_calls_unsent_total{procedure="um"}"#), 1.0, "{after}");
        assert_eq!(more(r#"galo_call_wait_duration_seconds_count{procedure="um"}"#), 3.0, "{after}");
        assert_eq!(more(r#"galo_call_database_duration_seconds_count{procedure="um"}"#), 3.0, "{after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_its_connection_is_seen_waiting_and_its_time_is_the_wait() {
    // Given a pool of one connection, and a call that holds it because its row is locked,
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION trava() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1 FROM rinha.clientes WHERE id = 1 FOR UPDATE'").await;
    let guests = Guests::new().add("x", &calling("trava"), "procedures = [\"trava\"]\n");
    let settings = galo::config::Settings { pool_connections: 1, ..settings(guests.folder.path()) };
    let node = TestNode::with(&database, settings).await;
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let asked = |address: String| async move { request_with(&address, Method::GET, "/x", &[]).await.status.as_u16() };
    let first = tokio::spawn(asked(node.address()));
    database.until_a_call_waits_for_a_lock().await;
    let metrics = Arc::clone(&node.running.node.metrics);
    let shown = || {
        node.running.node.database.count();
        metrics.text(Format::Classic)
    };
    assert_has(&shown(), &[r#"galo_pool_connections_in_use{pool="calls"} 1"#]);
    // when another call arrives, then it is counted as waiting for a connection,
    let second = tokio::spawn(asked(node.address()));
    until("it waits", shown, || value(&shown(), r#"galo_pool_calls_waiting{pool="calls"}"#) == 1.0).await;
    let waits = std::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waited = waits.elapsed().as_secs_f64();
    lock.commit().await.unwrap();
    // (on a very busy machine both may have waited for too long)
    let statuses = (first.await.unwrap(), second.await.unwrap());
    let text = shown();
    assert_has(&text, &[r#"galo_pool_calls_waiting{pool="calls"} 0"#]);
    if statuses == (200, 200) {
        assert!(value(&text, r#"galo_call_wait_duration_seconds_sum{procedure="trava"}"#) >= waited, "{text}");
        assert!(value(&text, r#"galo_call_database_duration_seconds_sum{procedure="trava"}"#) >= waited, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_client_has_gone_is_counted() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let body = transacao(1, "c", "x");
    let head = format!("POST /clientes/1/transacoes HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    database.until_a_call_waits_for_a_lock().await;
    drop(stream);
    let metrics = Arc::clone(&node.running.node.metrics);
    until("the request is gone", String::new, || metrics.in_flight.get() == 0).await;
    lock.commit().await.unwrap();
    let ended = || {
        let text = metrics.text(Format::Classic);
        let calls = text.lines().filter(|line| line.starts_with(r#"galo_calls_total{procedure="realizar_transacao""#));
        calls.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    until("its call is counted", || metrics.text(Format::Classic), || ended() == 1).await;
    assert_eq!(
        value(&metrics.text(Format::Classic), r#"galo_request_duration_seconds_count{handler="transacoes"}"#),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_bounded_over_swaps_and_refusals_and_counters_never_go_back() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "").add("y", &answers(200), "");
    let node = TestNode::guests(&database, &guests).await;
    node.get("/x").await;
    node.get("/y").await;
    let series = async || {
        let shown = node.admin("/metrics").await;
        assert_good(shown.text());
        let names = shown.text().lines().filter(|line| !line.starts_with('#') && line.contains("handler="));
        names.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<HashSet<_>>()
    };
    let before = series().await;
    // Swaps and refused components add no series,
    for generation in 2..5 {
        guests.put("x", &marked(&answers(200), generation));
        node.until_generation("x", generation).await;
        node.get("/x").await;
    }
    guests.put("x", b"garbage");
    node.until_refused("x").await;
    assert_eq!(series().await, before);
    // nor do refused manifests,
    let whole = guests.manifest();
    let one =
        |name: &str| format!("[[handler]]\nname = \"{name}\"\ncomponent = \"none.wasm\"\nroute = \"GET /{name}\"\n");
    guests.put_file("galo.toml", format!("{whole}{}", one("z")).as_bytes());
    node.until_manifest_refused().await;
    assert_eq!(series().await, before);
    guests.put("x", &answers(200));
    // and a removed handler is shown for a while with its last counts, and goes on counting from them when it is back.
    let of_y = r#"galo_requests_total{handler="y",code="200"}"#;
    let only_x = whole.split("[[handler]]").take(2).collect::<Vec<_>>().join("[[handler]]");
    guests.put_file("galo.toml", only_x.as_bytes());
    let handlers = || node.running.node.registry.table().handlers.len();
    until("y is gone", String::new, || handlers() == 1).await;
    assert_eq!(value(node.admin("/metrics").await.text(), of_y), 1.0);
    guests.put_file("galo.toml", whole.as_bytes());
    until("y is back", String::new, || handlers() == 2).await;
    node.get("/y").await;
    let text = node.admin("/metrics").await;
    assert_eq!(value(text.text(), of_y), 2.0);
    assert_eq!(value(text.text(), r#"galo_requests_total{handler="x",code="200"}"#), 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_handler_is_counted_by_its_status() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("ok", &answers(200), "").add("teapot", &replying(418, None, 0).component(), "").add(
        "traps",
        &Guest::default().component(),
        "",
    );
    let program = Program::serve(&database, guests.folder.path());
    for path in ["/ok", "/teapot", "/traps", "/none"] {
        request_with(&program.listen, Method::GET, path, &[]).await;
    }
    let shown = request_with(&program.admin, Method::GET, "/metrics", &[]).await;
    assert_good(shown.text());
    assert_has(
        shown.text(),
        &[
            r#"galo_requests_total{handler="ok",code="200"} 1"#,
            r#"galo_requests_total{handler="teapot",code="418"} 1"#,
            r#"galo_requests_total{handler="traps",code="500"} 1"#,
            r#"galo_faults_total{handler="traps",kind="trap"} 1"#,
            r#"galo_unrouted_total{code="404"} 1"#,
        ],
    );
    program.signal(Signal::SIGTERM);
}
