//! Canaries on nodes in this process: which requests they answer, and that one that faults, decides otherwise or is
//! slow is taken back before its clients are harmed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use galo::config::{Readers, Recording, Settings, StateFolder};
use galo::guest::Digest;
use galo::operator::{self, Access, Deployment};
use galo::record::Record;
use galo::registry::Who;
use galo::replay;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::cli::run;
use crate::fixture::{Guest, answers, calling, calling_then, calling_with, marked, replying};
use crate::harness::{Answer, Guests, TestDatabase, TestNode, galo, request, request_with, settings, until};

/// Two procedures that a canary and what serves may differ in.
const UM_AND_DOIS: &str = "CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
                           CREATE FUNCTION dois() RETURNS bigint LANGUAGE sql AS 'SELECT 2::bigint'";

/// A folder with the handler `x` on `GET /x/{id}`.
pub fn folder(component: &[u8], more: &str) -> Guests {
    let guests = Guests::new().add("x", component, more);
    guests.put_file("galo.toml", guests.manifest().replace("GET /x", "GET /x/{id}").as_bytes());
    guests
}

/// A node with a state folder.
async fn node(database: &TestDatabase, guests: &Guests, state: &TempDir) -> TestNode {
    let state = StateFolder::Required(state.path().join("state"));
    TestNode::with(database, Settings { state, ..settings(guests.folder.path()) }).await
}

/// Waits until a state folder has it that what serves was deployed over the component of the handlers folder. What was
/// rolled back may have been, too: that says nothing.
pub async fn until_recorded_over(state: &Path) {
    let file = || std::fs::read_to_string(state.join("state.json")).unwrap_or_default();
    let is_over = || {
        let read = serde_json::from_str::<Value>(&file()).unwrap_or_default();
        read["handlers"]["x"]["current"]["over"].is_string()
    };
    until("it is recorded over what is deployed", file, is_over).await;
}

pub fn deployment(component: &[u8], steps: &[&str]) -> Deployment {
    Deployment {
        name: "x".to_owned(),
        component: component.to_vec(),
        sha256: Digest::of(component).to_string(),
        signature: None,
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        promotes: steps.last() == Some(&"100%"),
        hold: Duration::ZERO,
        by: "id".to_owned(),
        differences: None,
        who: "ana@test".to_owned(),
        why: "a test".to_owned(),
    }
}

async fn deploy(nodes: &[&TestNode], deployment: &Deployment) -> anyhow::Result<()> {
    let access = |node: &&TestNode| Access { admin: node.running.admin.clone(), token: None };
    let nodes: Vec<_> = nodes.iter().map(access).collect();
    operator::deploy(&nodes, deployment, |_| {}).await
}

/// An order to the admin address.
async fn order(node: &TestNode, command: &str, order: Value) -> Answer {
    request(&node.admin_address(), Method::POST, &format!("/handlers/x/{command}"), order.to_string()).await
}

fn canary(node: &TestNode) -> Option<u64> {
    node.handler("x").lineage().canary.as_ref().map(|canary| canary.generation.number)
}

/// Why the last generation was rolled back.
fn cause(node: &TestNode) -> String {
    node.handler("x").lineage().rolled_back.as_ref().map(|back| back.cause.clone()).unwrap_or_default()
}

/// What the audit log has, as event and why.
async fn story(node: &TestNode) -> Vec<(String, String)> {
    let lines = node.admin("/api/audit").await;
    let entries = lines.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    entries.map(|entry| (text(&entry["event"]), text(&entry["why"]))).collect()
}

/// Requests on eight connections while something else goes on. Returns how many were answered and how many not with
/// 200.
async fn under_load<T>(node: &TestNode, work: impl Future<Output = T>) -> (T, usize, Vec<u16>) {
    let ended = Arc::new(AtomicBool::new(false));
    let clients = (0..8u32).map(|client| {
        let (address, ended) = (node.address(), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut statuses = Vec::new();
            let mut connection = crate::harness::Connection::open(&address).await;
            for number in 0u32.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("/x/{}", number * 8 + client);
                statuses.push(connection.send(Method::GET, &path, "").await.unwrap().status.as_u16());
            }
            statuses
        })
    });
    let clients: Vec<_> = clients.collect();
    let done = work.await;
    ended.store(true, Ordering::Relaxed);
    let statuses: Vec<_> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    let wrong = statuses.iter().copied().filter(|status| *status != 200).collect();
    (done, statuses.len(), wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_choose_alike_and_a_client_stays_with_its_generation() {
    // Given two nodes with folders of their own, when both have the same canary, then each id has the same answer on
    // both, and those that the canary answered at 10% it still answers at 50%.
    let database = TestDatabase::new().await;
    let guests = [folder(&answers(200), ""), folder(&answers(200), "")];
    let states = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let nodes = [node(&database, &guests[0], &states[0]).await, node(&database, &guests[1], &states[1]).await];
    let new = answers(201);
    let share = |steps| Deployment { differences: Some("report".to_owned()), ..deployment(&new, steps) };
    let mut before = Vec::new();
    for (steps, range) in [(&["10%"], 20..60), (&["50%"], 160..240)] {
        deploy(&[&nodes[0], &nodes[1]], &share(steps)).await.unwrap();
        let mut chosen = Vec::new();
        for id in 0..400 {
            let path = format!("/x/{id}");
            let statuses = [nodes[0].get(&path).await.status, nodes[1].get(&path).await.status];
            assert_eq!(statuses[0], statuses[1], "{id}");
            if statuses[0] == 201 {
                chosen.push(id);
            }
        }
        assert!(range.contains(&chosen.len()), "{}", chosen.len());
        assert!(before.iter().all(|id| chosen.contains(id)));
        before = chosen;
    }
    // At last it serves, and the folder, which has the old one, changes nothing by being looked at again.
    deploy(&[&nodes[0], &nodes[1]], &share(&["100%"])).await.unwrap();
    for node in &nodes {
        assert_eq!((node.generation("x"), canary(node)), (2, None));
        node.running.orders.scan_again();
        assert_eq!(node.get("/x/1").await.status, 201);
    }
    let events: Vec<_> = story(&nodes[0]).await.into_iter().map(|(event, _)| event).collect();
    assert_eq!(events, ["canary", "step", "step", "promoted"]);
}

/// Two nodes of the handler `x` with this canary at a half, which answers 201, not 200.
async fn halved(database: &TestDatabase, more: &str, section: &str, by: &str) -> [TestNode; 2] {
    let guests = [folder(&answers(200), more), folder(&answers(200), more)];
    for guests in &guests {
        guests.put_file("galo.toml", (guests.manifest() + section).as_bytes());
    }
    let start = async |guests: &Guests| TestNode::with(database, crate::token::with_secret(guests)).await;
    let nodes = [start(&guests[0]).await, start(&guests[1]).await];
    let half =
        Deployment { by: by.to_owned(), differences: Some("report".to_owned()), ..deployment(&answers(201), &["50%"]) };
    deploy(&[&nodes[0], &nodes[1]], &half).await.unwrap();
    nodes
}

/// Sends a request with each of these headers to both nodes. Returns which of them the canary answered, on both.
async fn chosen(nodes: &[TestNode; 2], headers: impl Iterator<Item = Option<(&str, String)>>) -> Vec<bool> {
    let mut chosen = Vec::new();
    for (number, header) in headers.enumerate() {
        let mut statuses = Vec::new();
        for node in nodes {
            // Another path each time: it must not decide.
            let path = format!("/x/{number}{}", statuses.len());
            let header: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
            statuses.push(request_with(&node.address(), Method::GET, &path, &header).await.status.as_u16());
        }
        assert!(statuses[0] == statuses[1] && [200, 201].contains(&statuses[0]), "{number}: {statuses:?}");
        chosen.push(statuses[0] == 201);
    }
    chosen
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_choose_alike_by_a_header() {
    let database = TestDatabase::new().await;
    let nodes = halved(&database, "", "", "header:x-tenant").await;
    let tenants = || (0..100).map(|tenant| Some(("x-tenant", format!("t{tenant}"))));
    let first = chosen(&nodes, tenants()).await;
    let count = first.iter().filter(|chosen| **chosen).count();
    assert!((25..75).contains(&count), "{count}");
    assert_eq!(chosen(&nodes, tenants()).await, first);
    // A client without the header stays with the old generation.
    assert_eq!(chosen(&nodes, (0..20).map(|_| None)).await, [false; 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_choose_alike_by_a_claim_that_was_verified() {
    let database = TestDatabase::new().await;
    let section = crate::token::SHARED;
    let nodes = halved(&database, "claims = \"optional\"", section, "claim:sub").await;
    // The tokens of one client differ, its claim does not.
    let tokens = |until: i64| {
        (0..100).map(move |client| {
            let mut claims = crate::token::good();
            claims["sub"] = format!("c{client}").into();
            claims["exp"] = crate::token::in_seconds(until).into();
            Some(("authorization", format!("Bearer {}", crate::token::by_secret(&claims))))
        })
    };
    let first = chosen(&nodes, tokens(60)).await;
    let count = first.iter().filter(|chosen| **chosen).count();
    assert!((25..75).contains(&count), "{count}");
    assert_eq!(chosen(&nodes, tokens(300)).await, first);
    // Neither a token without the claim nor none chooses the canary.
    let mut other = crate::token::good();
    other["sub"] = Value::Null;
    let other = || Some(("authorization", format!("Bearer {}", crate::token::by_secret(&other))));
    assert_eq!(chosen(&nodes, (0..20).map(|number| other().filter(|_| number % 2 == 0))).await, [false; 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_gate_says_what_a_difference_means_and_the_command_may_override_it() {
    let database = TestDatabase::new().await;
    let refused = "it decides otherwise than generation 1: response.status";
    for (gate, differences, goes_back) in [
        ("", None, true),
        ("gate = \"refuse\"", None, true),
        ("gate = \"report\"", None, false),
        ("gate = \"report\"", Some("refuse"), true),
        ("gate = \"refuse\"", Some("report"), false),
    ] {
        let node = TestNode::guests(&database, &folder(&answers(200), gate)).await;
        let of = |steps| Deployment { differences: differences.map(str::to_owned), ..deployment(&answers(201), steps) };
        // What is all of the requests and is not promoted: the last step is a hair less.
        deploy(&[&node], &of(&["99.99%"])).await.unwrap();
        for id in 0..20 {
            node.get(&format!("/x/{id}")).await;
        }
        assert_eq!(
            (canary(&node).is_none(), cause(&node) == refused_in(refused, goes_back)),
            (goes_back, true),
            "{gate}"
        );
        // What was accepted differs as it may.
        if goes_back && differences.is_none() {
            let digest = Digest::of(&answers(201)).to_string();
            let accept = format!("/candidates/{}/accept", &digest[..12]);
            let accepted = request(&node.admin_address(), Method::POST, &accept, "").await;
            assert_eq!(accepted.status, 200, "{}", accepted.text());
            deploy(&[&node], &of(&["99.99%"])).await.unwrap();
            let mut statuses = Vec::new();
            for id in 0..20 {
                statuses.push(node.get(&format!("/x/{id}")).await.status.as_u16());
            }
            assert!(canary(&node).is_some() && statuses.contains(&201), "{gate}: {statuses:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_example_covers_what_a_canary_decides_otherwise() {
    // Given an example that the canary passes and what serves fails, when requests of its route differ as it states,
    // then the canary stays; when one of another route does, it goes back and the client has the old answer.
    let database = TestDatabase::new().await;
    database.execute(UM_AND_DOIS).await;
    let (replies, calls) = (json!({"reply": {"status": 201}}), |name: &str| json!({"call": {"procedure": name}}));
    let rows = json!({"columns": ["um"], "values": [[1]]});
    let answered = json!({"plan": calls("um"), "rows": rows, "response": {"status": 201}});
    for (old, new, example, statuses, cause_of_other) in [
        (answers(200), answers(201), json!({"plan": replies}), (201, 200), "worse in prepare: "),
        (calling("um"), calling("dois"), json!({"plan": calls("dois")}), (200, 200), "worse in prepare: "),
        (calling("um"), calling_then("um", 201).component(), answered, (201, 200), "worse in respond: "),
    ] {
        let guests = folder(&old, "procedures = [\"um\", \"dois\"]\ngate = \"refuse\"");
        let routes =
            guests.manifest().replace("route = \"GET /x/{id}\"", "routes = [\"GET /x/{id}\", \"GET /y/{id}\"]");
        guests.put_file("galo.toml", routes.as_bytes());
        let node = TestNode::guests(&database, &guests).await;
        let mut example = example;
        example["request"] = json!({"path": "/x/7"});
        guests.put_file("x/examples/changed.json", example.to_string().as_bytes());
        deploy(&[&node], &deployment(&new, &["99.99%"])).await.unwrap();
        for id in 0..20 {
            assert_eq!(node.get(&format!("/x/{id}")).await.status.as_u16(), statuses.0, "{id}");
        }
        let report = node.admin("/handlers").await.json()["handlers"][0]["canary"].clone();
        assert_eq!((&report["differed"], &report["intended"]), (&json!(20), &json!(20)), "{report}");
        let shown = run(galo().args(["handlers", "--admin", &node.admin_address()])).1;
        assert!(shown.contains("20 of 20 decided otherwise, 20 as changed examples state"), "{shown}");
        assert_eq!(node.get("/y/1").await.status.as_u16(), statuses.1);
        assert!(canary(&node).is_none() && cause(&node).starts_with(cause_of_other), "{}", cause(&node));
    }
}

/// Why a canary went back, if it did.
fn refused_in(refused: &str, goes_back: bool) -> String {
    if goes_back { format!("worse in prepare: {refused}") } else { String::new() }
}

/// Deploys a canary under load, which is to be taken back for this reason before a client has a wrong answer.
async fn is_taken_back(database: &TestDatabase, (right, component): (&[u8], &[u8]), expected: &str) {
    let guests = folder(right, "procedures = [\"pay\"]");
    let state = tempfile::tempdir().unwrap();
    let node = node(database, &guests, &state).await;
    let deployed = async {
        let slowly = Deployment { hold: Duration::from_secs(5), ..deployment(component, &["10%", "100%"]) };
        deploy(&[&node], &slowly).await
    };
    let (deployed, answered, wrong) = under_load(&node, deployed).await;
    let error = format!("{:#}", deployed.unwrap_err());
    assert!(error.contains(expected) && error.contains("rolled back"), "{error}");
    assert!(cause(&node).starts_with(expected), "{}", cause(&node));
    assert!(answered > 0 && wrong.is_empty(), "{answered} {wrong:?}");
    assert_eq!((node.generation("x"), canary(&node)), (1, None));
    let told = story(&node).await;
    assert_eq!((told[0].0.as_str(), told[1].0.as_str()), ("canary", "rolled back"));
    assert!(told[1].1.starts_with(expected), "{told:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_at_an_outcome_or_answers_it_otherwise_is_taken_back_and_harms_nobody() {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION pay() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'").await;
    let right = calling("pay");
    let traps = Guest { respond: "unreachable", ..calling_then("pay", 200) }.component();
    let otherwise = calling_then("pay", 202).component();
    for (component, expected) in [
        (traps, "trap in respond"),
        (otherwise, "worse in respond: it decides otherwise than generation 1: response.status"),
    ] {
        is_taken_back(&database, (&right, &component), expected).await;
    }
    // The cause goes to logs, and does not have a name that may be a client's.
    let named = |value| replying(200, Some(("x-ana", value)), 0).component();
    let expected = "worse in prepare: it decides otherwise than generation 1: response.headers.*";
    is_taken_back(&database, (&named("1"), &named("2")), expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_traps_or_decides_otherwise_is_taken_back_under_load_and_harms_nobody() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE SEQUENCE wrong; GRANT USAGE ON SEQUENCE wrong TO PUBLIC;
             CREATE FUNCTION pay(amount text) RETURNS text LANGUAGE sql AS
                 'SELECT CASE WHEN amount = ''100'' THEN ''paid'' ELSE nextval(''public.wrong'')::text END'",
        )
        .await;
    let right = calling_with("pay", "100");
    // One that traps, one that pays a cent more, one that answers otherwise, one that forgets the call.
    let traps = Guest { respond: "unreachable", ..Guest::default() }.component();
    let cases = [
        (traps, "trap in prepare"),
        (calling_with("pay", "101"), "worse in prepare: it decides otherwise than generation 1: call.arguments[0]"),
        (replying(200, Some(("x-total", "1")), 0).component(), "worse in prepare: it decides otherwise"),
        (answers(500), "worse in prepare"),
    ];
    for (component, expected) in cases {
        is_taken_back(&database, (&right, &component), expected).await;
    }
    // What the wrong one planned was never carried out.
    let called: bool =
        database.owner().await.query_one("SELECT is_called FROM public.wrong", &[]).await.unwrap().get(0);
    assert!(!called);
}

/// A guest that counts to so many and replies 200.
fn counting(to: u32) -> Vec<u8> {
    let prepare = format!(
        "(local $i i32) (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) \
         (br_if $l (i32.lt_u (local.get $i) (i32.const {to})))) i32.const 1024"
    );
    Guest { prepare: &prepare, ..replying(200, None, 0) }.component()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_takes_twice_as_long_is_taken_back_within_500_of_its_requests() {
    let database = TestDatabase::new().await;
    let guests = folder(&counting(1_000_000), "");
    let node = TestNode::guests(&database, &guests).await;
    let slow = Deployment { hold: Duration::from_secs(60), ..deployment(&counting(2_000_000), &["50%"]) };
    let (deployed, _, wrong) = under_load(&node, deploy(&[&node], &slow)).await;
    let error = format!("{:#}", deployed.unwrap_err());
    assert!(error.contains("its guest calls take") && error.contains("times as long"), "{error}");
    let (_, requests) = error.split_once("over ").unwrap();
    let requests: u32 = requests.split(' ').next().unwrap().parse().unwrap();
    assert!(requests <= 500, "{error}");
    assert!(wrong.is_empty(), "{wrong:?}");
    let report = node.admin("/handlers").await.json();
    assert_eq!(report["handlers"][0]["rolled_back"]["generation"], 2);

    // The same component once more is not slower, however long it is looked at.
    let same = marked(&counting(1_000_000), 1);
    let same = Deployment { hold: Duration::from_secs(2), ..deployment(&same, &["50%", "100%"]) };
    let (deployed, answered, wrong) = under_load(&node, deploy(&[&node], &same)).await;
    deployed.unwrap();
    assert!(answered > 100 && wrong.is_empty(), "{answered} {wrong:?}");
    assert_eq!(node.generation("x"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_the_old_generation_shares_takes_no_canary_back() {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION falha() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$").await;
    let guests = folder(&calling("falha"), "procedures = [\"falha\"]");
    let node = TestNode::guests(&database, &guests).await;
    deploy(&[&node], &deployment(&marked(&calling("falha"), 1), &["50%"])).await.unwrap();
    for id in 0..50 {
        assert_eq!(node.get(&format!("/x/{id}")).await.status, 500);
    }
    assert_eq!(canary(&node), Some(2));
    // One fails here, one fails there: a client cannot take it back either.
    let lineage = node.handler("x").lineage();
    let counts = lineage.canary.as_ref().unwrap().counts();
    assert!(counts.all > 10 && counts.differed == 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn intended_differences_are_counted_and_a_rejected_plan_still_goes_back() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
             CREATE FUNCTION falha() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$",
        )
        .await;
    let guests = folder(&calling("um"), "procedures = [\"um\", \"falha\"]");
    let node = TestNode::guests(&database, &guests).await;
    let report =
        |component: &[u8]| Deployment { differences: Some("report".to_owned()), ..deployment(component, &["50%"]) };
    let all = async || join_all((0..40).map(async |id| node.get(&format!("/x/{id}")).await.status.as_u16())).await;
    deploy(&[&node], &report(&answers(202))).await.unwrap();
    let statuses = all().await;
    assert!(statuses.contains(&200) && statuses.contains(&202), "{statuses:?}");
    let handlers = node.admin("/handlers").await.json();
    let differed = handlers["handlers"][0]["canary"]["differed"].as_u64().unwrap();
    assert!(differed > 5, "{handlers}");
    let back = json!({"who": "ana", "why": "enough"});
    assert_eq!(order(&node, "rollback", back).await.status, 200);
    assert_eq!((canary(&node), all().await), (None, vec![200; 40]));
    // Its calls are rejected, where the old generation plans others: the first client pays, the others do not.
    deploy(&[&node], &report(&calling("falha"))).await.unwrap();
    let mut failed = 0;
    for id in 0..40 {
        failed += usize::from(node.get(&format!("/x/{id}")).await.status == 500);
    }
    assert_eq!((failed, canary(&node)), (1, None), "{}", cause(&node));
    // An answer 5xx is never intended, whether it is decided before the call or after it: no client gets one.
    for (component, expected) in [
        (answers(500), "worse in prepare: it decides otherwise"),
        (calling_then("um", 500).component(), "worse in respond: it decides otherwise"),
    ] {
        deploy(&[&node], &report(&component)).await.unwrap();
        assert_eq!((all().await, canary(&node)), (vec![200; 40], None));
        assert!(cause(&node).starts_with(expected), "{}", cause(&node));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_answers_where_the_old_generation_fails_is_not_taken_back() {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'").await;
    for old in [
        Guest { respond: "unreachable", ..calling_then("um", 200) }.component(),
        Guest { respond: "unreachable", ..Guest::default() }.component(),
    ] {
        let guests = folder(&old, "procedures = [\"um\"]");
        let node = TestNode::guests(&database, &guests).await;
        deploy(&[&node], &deployment(&calling("um"), &["50%"])).await.unwrap();
        let statuses = join_all((0..40).map(async |id| node.get(&format!("/x/{id}")).await.status.as_u16())).await;
        assert!(statuses.contains(&500) && statuses.contains(&200), "{statuses:?}");
        assert_eq!(canary(&node), Some(2), "{}", cause(&node));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_change_of_the_folder_wins_and_what_cannot_be_is_refused() {
    let database = TestDatabase::new().await;
    let (guests, state) = (folder(&answers(200), ""), tempfile::tempdir().unwrap());
    let running = node(&database, &guests, &state).await;
    let refused = async |deployment: Deployment| format!("{:#}", deploy(&[&running], &deployment).await.unwrap_err());
    let new = answers(200 + 1);
    let by = |by: &str| Deployment { by: by.to_owned(), ..deployment(&new, &["1%"]) };
    for (wrong, expected) in [
        (by("nothing"), "no route of `x` has the parameter `nothing`, but id"),
        (by("claim:sub"), "`x` is not granted the claims of tokens"),
        (deployment(b"not a component", &["1%"]), "422"),
        (Deployment { name: "y".to_owned(), ..deployment(&new, &["1%"]) }, "has no handler y"),
        (Deployment { name: "../x".to_owned(), ..deployment(&new, &["1%"]) }, "invalid handler name"),
    ] {
        let error = refused(wrong).await;
        assert!(error.contains(expected) || expected == "422" && error.contains("compile"), "{expected}: {error}");
    }
    let report =
        |component: &[u8], steps| Deployment { differences: Some("report".to_owned()), ..deployment(component, steps) };
    deploy(&[&running], &report(&new, &["10%"])).await.unwrap();
    let error = refused(deployment(&answers(202), &["1%"])).await;
    assert!(error.contains("has another canary") && error.contains("galo rollback x"), "{error}");
    // Whoever asks without the command is told what to send.
    let other = json!({"component": BASE64_STANDARD.encode(answers(202)), "percent": "1%", "by": "request",
                       "who": "ana", "why": "a test"});
    let answer = order(&running, "deploy", other).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("end it first (POST /handlers/x/rollback)"), "{}", answer.text());
    // Given a canary, when the folder gets another component, then that serves everything.
    guests.put("x", &answers(203));
    running.until_generation("x", 3).await;
    assert_eq!((canary(&running), running.get("/x/1").await.status.as_u16()), (None, 203));
    let told = story(&running).await;
    assert!(told.iter().any(|(event, why)| event == "ended" && why.contains("folder")), "{told:?}");
    // Given a component that was deployed, when the node starts again, then it serves, until the folder is changed.
    deploy(&[&running], &report(&new, &["100%"])).await.unwrap();
    assert_eq!(running.get("/x/1").await.status, 201);
    until_recorded_over(&state.path().join("state")).await;
    running.stop().await;
    let again = node(&database, &guests, &state).await;
    assert_eq!(again.get("/x/1").await.status, 201);
    // So does a change of the manifest that leaves the component as it is.
    guests.put_file(
        "galo.toml",
        format!("{}\n# changed\nlimits = {{ deadline_ms = 90 }}\n", guests.manifest()).as_bytes(),
    );
    until("the new limits hold", String::new, || again.handler("x").entry.limits.deadline.as_millis() == 90).await;
    assert_eq!(again.get("/x/1").await.status, 201);
    guests.put("x", &answers(204));
    until("the folder wins", String::new, || again.handler("x").lineage().current.over.is_none()).await;
    assert_eq!(again.get("/x/1").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_the_folder_that_was_rolled_back_stays_so_after_a_later_deployment_was() {
    // Given a folder whose component was rolled back, and a deployment over it that was rolled back too, when the
    // folder is looked at again or the node restarts, then the first generation still serves.
    let database = TestDatabase::new().await;
    let (guests, state) = (folder(&answers(200), ""), tempfile::tempdir().unwrap());
    let running = node(&database, &guests, &state).await;
    guests.put("x", &answers(201));
    running.until_generation("x", 2).await;
    let back = async || order(&running, "rollback", json!({"who": "ana", "why": "wrong"})).await.status;
    assert_eq!((back().await.as_u16(), running.get("/x/1").await.status.as_u16()), (200, 200));
    let report = Deployment { differences: Some("report".to_owned()), ..deployment(&answers(202), &["100%"]) };
    deploy(&[&running], &report).await.unwrap();
    assert_eq!(running.get("/x/1").await.status, 202);
    assert_eq!((back().await.as_u16(), running.get("/x/1").await.status.as_u16()), (200, 200));
    running.running.orders.scan_again();
    until_recorded_over(&state.path().join("state")).await;
    assert_eq!(running.get("/x/1").await.status, 200);
    running.stop().await;
    let again = node(&database, &guests, &state).await;
    assert_eq!(again.get("/x/1").await.status, 200);
    // A component that is new in the folder serves.
    guests.put("x", &answers(203));
    until("the folder wins", String::new, || again.handler("x").lineage().current.over.is_none()).await;
    assert_eq!(again.get("/x/1").await.status, 203);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_generation_serves_again_by_its_digest_and_the_node_remembers() {
    let database = TestDatabase::new().await;
    let (guests, state) = (folder(&answers(200), ""), tempfile::tempdir().unwrap());
    let running = node(&database, &guests, &state).await;
    let file = |component: &[u8]| state.path().join(format!("state/{}.wasm", Digest::of(component)));
    let has = |component: &[u8]| {
        let path = file(component);
        let record = std::fs::read_to_string(state.path().join("state/state.json")).unwrap_or_default();
        path.exists() && record.contains(&Digest::of(component).to_string())
    };
    for number in 0..12u16 {
        if number > 0 {
            guests.put("x", &answers(200 + number));
            running.until_generation("x", u64::from(number) + 1).await;
        }
        until("it is kept", String::new, || has(&answers(200 + number))).await;
    }
    // The last ten are kept.
    until("the oldest is removed", String::new, || !file(&answers(201)).exists()).await;
    assert!(has(&answers(202)));
    let to = |digest: String| json!({"to": digest, "who": "ana", "why": "the report is wrong"});
    // The first one is the last that was proved, so it is kept for a rollback all the same.
    let gone = order(&running, "rollback", to(Digest::of(&answers(201)).to_string())).await;
    assert!(gone.status == 404 && gone.text().contains("no kept generation of x"), "{}", gone.text());
    let kept = Digest::of(&answers(203)).to_string();
    let back = order(&running, "rollback", to(kept[..8].to_owned())).await;
    assert_eq!((back.status.as_u16(), running.generation("x")), (200, 4), "{}", back.text());
    assert_eq!(running.get("/x/1").await.status, 203);
    running.running.orders.scan_again();
    until_recorded_over(&state.path().join("state")).await;
    assert_eq!(running.get("/x/1").await.status, 203);
    running.stop().await;
    let again = node(&database, &guests, &state).await;
    assert_eq!((again.get("/x/1").await.status.as_u16(), again.generation("x")), (203, 4));
    let told = story(&again).await;
    assert_eq!(told.last().unwrap(), &("restored".to_owned(), "the report is wrong".to_owned()));
    assert_eq!(order(&again, "rollback", to("nothing".to_owned())).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_names_the_generation_whose_answer_was_sent() {
    // Given a node that records, when a canary answers alike or otherwise, or plans another call, then the record is of
    // the generation that the client heard, and running it again on that one decides the same.
    let database = TestDatabase::new().await;
    database.execute(UM_AND_DOIS).await;
    let right = calling("um");
    let guests = folder(&right, "procedures = [\"um\", \"dois\"]");
    let recording = Recording::one_in(1);
    let node = TestNode::with(
        &database,
        Settings { recording, readers: Readers::Loopback, generation_header: true, ..settings(guests.folder.path()) },
    )
    .await;
    let same = marked(&right, 1);
    let cases = [
        (same.clone(), &same, None),
        (calling_then("um", 201).component(), &right, Some("it decides otherwise than generation 1: response.status")),
        (calling("dois"), &right, Some("it decides otherwise than generation 1: call.procedure")),
    ];
    for (number, (component, by, fault)) in cases.into_iter().enumerate() {
        let deploy = json!({
            "component": BASE64_STANDARD.encode(&component), "percent": "100%", "by": "id", "differences": "refuse",
            "who": "ana", "why": "a test",
        });
        let answer = order(&node, "deploy", deploy).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let lineage = node.handler("x").lineage();
        let answer = node.get("/x/1").await;
        let ring = node.handler("x").ring.get().unwrap().clone();
        let last = || ring.last(1, number as u64).pop();
        until("it is recorded", String::new, || last().is_some()).await;
        let record = Record::parse(&last().unwrap().line).unwrap();
        assert_eq!((answer.status.as_u16(), record.response.status), (200, 200));
        let digest = Digest::of(by).to_string();
        assert_eq!(record.sha256, digest);
        let label = format!("{};sha256=\"{digest}\"", record.generation);
        assert_eq!(answer.header("galo-generation"), label);
        let generations = [&lineage.current, &lineage.canary.as_ref().unwrap().generation];
        let generation = generations.into_iter().find(|it| it.number == record.generation).unwrap();
        let again = replay::run(&generation.component, &record).unwrap();
        assert_eq!(replay::differences(&replay::recorded(&record), &again, 9, &[]), [], "{}", record.line());
        assert_eq!(record.fault.is_some(), fault.is_some(), "{}", record.line());
        assert!(fault.is_none_or(|fault| record.fault.as_ref().unwrap().contains(fault)), "{}", record.line());
        if fault.is_none() {
            let explained = node.admin(&format!("/api/explain?id={}", record.request.id)).await.json();
            assert_eq!(explained["requests"][0]["generation"], "canary", "{explained}");
            assert_eq!(order(&node, "rollback", json!({"who": "ana", "why": "next"})).await.status, 200);
        }
        assert_eq!(canary(&node), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_passes_the_gate_before_it_answers() {
    let database = TestDatabase::new().await;
    let guests = folder(&answers(200), "gate = \"refuse\"");
    let recording = Recording::one_in(1);
    let node = TestNode::with(&database, Settings { recording, ..settings(guests.folder.path()) }).await;
    assert_eq!(node.get("/x/1").await.status, 200);
    let ring = node.handler("x").ring.get().unwrap().clone();
    until("it is recorded", String::new, || !ring.last(1, 0).is_empty()).await;
    let report = Deployment { differences: Some("report".to_owned()), ..deployment(&answers(201), &["50%"]) };
    let error = format!("{:#}", deploy(&[&node], &report).await.unwrap_err());
    assert!(error.contains("recorded: ") && error.contains("1 of 1"), "{error}");
    assert_eq!(canary(&node), None);
    let path = format!("/candidates/{}/accept", report.sha256);
    assert_eq!(request(&node.admin_address(), Method::POST, &path, "").await.status, 200);
    deploy(&[&node], &report).await.unwrap();
    assert_eq!(canary(&node), Some(2));
    let told = story(&node).await;
    assert!(told.iter().any(|(event, why)| event == "refused" && why.starts_with("a test: recorded: ")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_without_a_token_nobody_brings_a_component_or_changes_what_serves() {
    // Given a node of production that every user of its machine can reach, when one of them orders what would run code
    // of theirs, then it is refused with the remedy, and nothing has changed.
    let database = TestDatabase::new().await;
    let (guests, state) = (folder(&answers(200), ""), tempfile::tempdir().unwrap());
    let state = StateFolder::Required(state.path().join("state"));
    let guarded = Settings { state, readers: Readers::Guarded, ..settings(guests.folder.path()) };
    let node = TestNode::with(&database, guarded).await;
    let admin = node.admin_address();
    let (new, asked) = (answers(201), json!({"who": "eve", "why": "a test"}));
    let digest = Digest::of(&new).to_string();
    let with = |more: Value| {
        let mut order = asked.clone();
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        order.to_string().into_bytes()
    };
    let component = BASE64_STANDARD.encode(&new);
    for (path, body) in [
        ("/handlers/x/deploy".to_owned(), with(json!({"component": component, "percent": "100%", "by": "request"}))),
        ("/handlers/x/canary".to_owned(), with(json!({"sha256": digest}))),
        ("/handlers/x/rollback".to_owned(), with(json!({"to": &digest[..12]}))),
        ("/handlers/x/shadow".to_owned(), new.clone()),
        (format!("/candidates/{}/accept", &digest[..12]), with(json!({}))),
    ] {
        let answer = request(&admin, Method::POST, &path, body).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
        assert!(answer.text().contains("--admin-token-file FILE"), "{}", answer.text());
    }
    assert!(canary(&node).is_none() && story(&node).await.is_empty(), "{:?}", story(&node).await);
    // What served before may be ordered by anyone: it is the brake.
    let back = request(&admin, Method::POST, "/handlers/x/rollback", "").await;
    assert_eq!(back.status, 409, "{}", back.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_one_deployment_leaves_another_one_of_the_same_component() {
    let database = TestDatabase::new().await;
    let (guests, state) = (folder(&answers(200), ""), tempfile::tempdir().unwrap());
    let node = node(&database, &guests, &state).await;
    let new = marked(&answers(200), 1);
    let digest = Digest::of(&new).to_string();
    deploy(&[&node], &deployment(&new, &["50%"])).await.unwrap();
    // Another command that has the same component, and has begun nothing here, takes nothing back.
    let back = |deployment: &str| json!({"only": digest, "deployment": deployment, "who": "ana", "why": "a test"});
    assert_eq!(order(&node, "rollback", back("another")).await.status, 200);
    assert!(canary(&node).is_some());
    // Nobody changes anything without a reason, whatever the order is sent with.
    let blank = json!({"sha256": digest, "percent": null, "who": "ana", "why": " "});
    for command in ["rollback", "canary"] {
        let answer = order(&node, command, blank.clone()).await;
        assert_eq!((answer.status.as_u16(), canary(&node)), (400, Some(2)), "{command}: {}", answer.text());
    }
    let report = node.admin("/handlers").await.json();
    let own = report["handlers"][0]["canary"]["deployment"].as_str().unwrap().to_owned();
    // Nor does it step with it, unless it takes it over.
    let step = |deployment: &str, resumes: bool| json!({"sha256": digest, "percent": "60%", "deployment": deployment, "resumes": resumes, "who": "b", "why": "c"});
    let answer = order(&node, "canary", step("another", false)).await;
    assert!(answer.status == 409 && answer.text().contains("has taken this deployment over"), "{}", answer.text());
    assert_eq!(order(&node, "canary", step("another", true)).await.status, 200);
    assert_eq!(order(&node, "rollback", back(&own)).await.status, 200);
    assert!(canary(&node).is_some());
    // A promoted one keeps its deployment.
    let promote = json!({"sha256": digest, "percent": null, "deployment": "another", "who": "b", "why": "c"});
    assert_eq!(order(&node, "canary", promote).await.status, 200);
    assert_eq!(node.admin("/handlers").await.json()["handlers"][0]["deployment"], "another");
    assert_eq!(order(&node, "rollback", back(&own)).await.status, 200);
    assert_eq!(node.generation("x"), 2);
    assert_eq!(order(&node, "rollback", back("another")).await.status, 200);
    assert_eq!(node.generation("x"), 1);
}

/// The admin address of a node, on which the order to promote waits until it is let through.
async fn held_back(node: &TestNode, open: &Arc<Notify>) -> Access {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (admin, open) = (node.admin_address(), Arc::clone(open));
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let (admin, open) = (admin.clone(), Arc::clone(&open));
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                let length = from.read(&mut bytes).await.unwrap();
                if bytes.starts_with(b"POST /handlers/x/canary ") {
                    open.notified().await;
                }
                let mut to = TcpStream::connect(admin).await.unwrap();
                to.write_all(&bytes[..length]).await.unwrap();
                // Either side may close first.
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    Access { admin: address.parse().unwrap(), token: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_back_while_another_one_is_promoted_takes_both_back() {
    // What the nodes serve at the end is looked up there: each of them may have gone back since it was promoted.
    let database = TestDatabase::new().await;
    let guests = [folder(&answers(200), ""), folder(&answers(200), "")];
    let (one, two) = (TestNode::guests(&database, &guests[0]).await, TestNode::guests(&database, &guests[1]).await);
    let open = Arc::new(Notify::new());
    let nodes = [Access { admin: one.running.admin.clone(), token: None }, held_back(&two, &open).await];
    let deployment = deployment(&marked(&answers(200), 1), &["100%"]);
    let goes_back = async {
        until("it is promoted", || format!("{:?}", canary(&one)), || one.generation("x") == 2).await;
        let serving = Arc::clone(&one.handler("x").lineage().current);
        assert!(one.handler("x").roll_back(&serving, &Who::node(), "a fault".to_owned()).is_some());
        open.notify_one();
    };
    let (deployed, ()) = tokio::join!(operator::deploy(&nodes, &deployment, |_| {}), goes_back);
    let error = format!("{:#}", deployed.unwrap_err());
    assert!(
        error.contains("a fault") && error.contains("x: rolled back, all nodes serve the old generation"),
        "{error}"
    );
    assert_eq!((one.generation("x"), two.generation("x")), (1, 1));
}
