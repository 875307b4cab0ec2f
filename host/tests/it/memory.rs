//! The memory of guests: ordinary requests fit, a call that needs more than it begins with grows, and one that needs
//! more than it may have is a fault of its own kind that names the key to raise.

use std::sync::OnceLock;

use galo::contract::{Outcome, Plan, Request, Rows, Value};
use galo::develop::build::Profile;
use galo::failure::{Fault, FaultKind};
use galo::guest::{Component, ComponentError, Grants};
use galo::limits::{self, HandlerLimits, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN};
use http::Method;
use nix::sys::resource::{UsageWho, getrusage};

use crate::cli::Program;
use crate::fixture::{self, Guest};
use crate::handlers::Copy;
use crate::harness::{Guests, TestDatabase, TestNode, galo, handlers, request, request_with, verify};

/// A handler without std that takes as much memory as it is asked to, reads a JSON list, or returns all rows.
const LARGE: &str = r#"//! A handler that takes memory.
#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

use galo_kit::alloc::{string::String, vec, vec::Vec};
use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};

struct Large;

impl Handler for Large {
    fn prepare(request: &Request) -> Plan {
        let query = request.query.as_deref().unwrap_or_default();
        let number = |key: &str| query.strip_prefix(key).and_then(|text| text.parse().ok());
        if let Some(rows) = number("rows=") {
            return Plan::call("linhas", [i64::into(rows)], "");
        }
        if let Some(bytes) = number("bytes=") {
            // Written, so that the optimiser cannot leave it out.
            let taken = core::hint::black_box(vec![7_u8; bytes as usize]);
            return Response::json(200, &taken.len()).into();
        }
        if request.body.is_empty() {
            let headers: usize = request.headers.iter().map(|field| field.value.len()).sum();
            return Response::json(200, &[query.len(), headers]).into();
        }
        match serde_json::from_slice::<Vec<String>>(&request.body) {
            Ok(list) => Response::json(200, &list.len()).into(),
            Err(_) => Response::error(400, "not a list").into(),
        }
    }

    fn respond(_: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(Response::json(200, &rows.objects()))
    }
}

galo_kit::export!(Large);
"#;

/// The component, released: it has no message for what it panics on.
fn large() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let copy = Copy::new("large");
        let cargo = std::fs::read_to_string(copy.path("handlers/extrato/Cargo.toml")).unwrap();
        let cargo = cargo.replace("\"extrato\"", "\"large\"");
        let cargo = cargo.replace("serde.workspace = true", "serde_json.workspace = true");
        std::fs::create_dir_all(copy.path("handlers/large/src")).unwrap();
        std::fs::write(copy.path("handlers/large/Cargo.toml"), cargo).unwrap();
        std::fs::copy(copy.path("handlers/extrato/build.rs"), copy.path("handlers/large/build.rs")).unwrap();
        std::fs::write(copy.path("handlers/large/src/lib.rs"), LARGE).unwrap();
        copy.edit("galo.toml", |text| {
            text + "\n[[handler]]\nname = \"large\"\ncomponent = \"large.wasm\"\nroute = \"GET /large\"\n"
        });
        copy.component("large", Profile::Release)
    })
}

#[test]
fn a_handler_with_more_static_data_than_a_page_begins_with_two() {
    let copy = Copy::new("data");
    copy.edit("handlers/extrato/src/lib.rs", |text| {
        text + "\n/// More than a page holds beside the stack.\n#[used]\nstatic TABLE: [u8; 60_000] = [7; 60_000];\n"
    });
    let bytes = copy.component("extrato", Profile::Release);
    let fit = |memory_bytes_max| {
        let limits = HandlerLimits { memory_bytes_max, ..HandlerLimits::default() };
        verify(&bytes, Grants { wasi: false }, limits, None)
    };
    let component = fit(2 * MEMORY_BYTES_MIN).unwrap();
    assert!(component.prepare(&fixture::request("GET", "/clientes/x/extrato")).is_err(), "it has no parameter");
    let Err(ComponentError::Trial(fault)) = fit(MEMORY_BYTES_MIN) else { panic!("it began with one page") };
    assert_eq!(fault.kind, FaultKind::Memory);
}

fn component(memory_bytes_max: usize) -> Component {
    let limits = HandlerLimits { memory_bytes_max, ..HandlerLimits::default() };
    verify(large(), Grants { wasi: false }, limits, None).unwrap()
}

fn asked(query: &str, body: &[u8]) -> Request {
    Request { query: Some(query.to_owned()), body: body.to_owned(), ..fixture::request("GET", "/large") }
}

fn take(component: &Component, bytes: usize) -> Result<(), Fault> {
    match component.prepare(&asked(&format!("bytes={bytes}"), b""))? {
        Plan::Reply(response) => assert_eq!(response.body, bytes.to_string().into_bytes()),
        Plan::Call(_) => panic!("a call"),
    }
    Ok(())
}

#[test]
fn a_call_takes_all_of_its_memory_and_one_byte_more_is_a_fault_with_the_remedy() {
    for most in [MEMORY_BYTES_MIN, 3 * MEMORY_BYTES_MIN, MEMORY_BYTES_DEFAULT] {
        let component = component(most);
        // The largest block that fits is searched: stack and static data are not known here.
        let (mut fits, mut over) = (0, most);
        while over - fits > 1 {
            let middle = fits.midpoint(over);
            match take(&component, middle) {
                Ok(()) => fits = middle,
                Err(_) => over = middle,
            }
        }
        assert!(most - fits <= limits::GUEST_OWN_BYTES + 1024, "{fits} of {most}");
        let fault = take(&component, over).unwrap_err();
        let remedy = format!("{most} allowed; `memory_bytes_max` in its entry raises it");
        assert_eq!(fault.kind, FaultKind::Memory, "{fault}");
        assert!(fault.detail.ends_with(&remedy), "{fault}");
        assert!(fault.backtrace.is_some_and(|functions| functions.contains("prepare")));
        // The next call has the memory that a call begins with.
        take(&component, 16).unwrap();
    }
}

#[test]
fn a_list_in_the_body_that_fits_its_limit_is_read() {
    let list = |texts: usize| serde_json::to_vec(&vec!["a"; texts]).unwrap();
    let count = |component: &Component, body: &[u8]| match component.prepare(&asked("", body)) {
        Ok(Plan::Reply(response)) => Ok(String::from_utf8(response.body).unwrap()),
        Ok(Plan::Call(_)) => panic!("a call"),
        Err(fault) => Err(fault.kind),
    };
    let component = component(MEMORY_BYTES_DEFAULT);
    // A kilobyte, the largest body by default, and 100 KB.
    for texts in [257, limits::BODY_BYTES_DEFAULT / 4 - 1, 25_000] {
        assert_eq!(count(&component, &list(texts)), Ok(texts.to_string()));
    }
}

#[test]
fn the_largest_rows_come_back_as_json_and_the_largest_reply_is_built() {
    let component = component(MEMORY_BYTES_DEFAULT);
    let rows = |values: Vec<Value>| Outcome::Rows(Rows { columns: vec!["n".to_owned()], values });
    let numbers = limits::ROWS_BYTES_MAX / limits::VALUE_BYTES;
    let response = component.respond(b"", &rows((0..).take(numbers).map(Value::Integer).collect())).unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Vec<serde_json::Value>>(&response.body).unwrap().len(), numbers);
    // As JSON the text is as long as the limit, less what stands around it and the header.
    let text = "x".repeat(limits::REPLY_BYTES_DEFAULT - 100);
    let response = component.respond(b"", &rows(vec![Value::Text(text)])).unwrap().unwrap();
    assert!(response.body.len() > limits::REPLY_BYTES_DEFAULT - 100);
    let text = "x".repeat(limits::REPLY_BYTES_DEFAULT);
    let fault = component.respond(b"", &rows(vec![Value::Text(text)])).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Oversized);
    assert_eq!(fault.detail, "over 1048576 bytes handed back; `reply_bytes_max` in its entry raises it");
}

#[test]
fn a_call_that_grew_leaves_the_next_ones_as_they_were() {
    let component = component(MEMORY_BYTES_DEFAULT);
    let faults = || getrusage(UsageWho::RUSAGE_THREAD).unwrap().minor_page_faults();
    for _ in 0..1000 {
        take(&component, 16).unwrap();
    }
    // Every tenth call grows by 1 MiB, whose 256 pages it touches; the nine between cause no fault.
    let before = faults();
    for _ in 0..100 {
        take(&component, 1 << 20).unwrap();
    }
    let grown = faults() - before;
    let before = faults();
    for _ in 0..100 {
        take(&component, 1 << 20).unwrap();
        (0..9).for_each(|_| take(&component, 16).unwrap());
    }
    let between = faults() - before;
    assert!(between < grown + 500, "{grown} page faults of 100 calls that grow, {between} with 900 more between them");
}

#[test]
fn what_the_manifest_asks_for_is_held_against_the_declaration_of_the_component() {
    let declares = |memory: &'static str| Guest { memory, ..Guest::default() }.component();
    let fit = |component: &[u8], memory_bytes_max, body_bytes_max| {
        let limits = HandlerLimits { memory_bytes_max, body_bytes_max, ..HandlerLimits::default() };
        verify(component, Grants { wasi: false }, limits, None).map(drop)
    };
    let (one_page, free) = (declares("1 1"), declares("1"));
    let body = limits::BODY_BYTES_DEFAULT;
    // The defaults are not asked for, and one page holds the default body.
    fit(&one_page, MEMORY_BYTES_DEFAULT, body).unwrap();
    fit(&one_page, MEMORY_BYTES_MIN, body).unwrap();
    fit(&free, 2 * MEMORY_BYTES_DEFAULT, 100 * body).unwrap();
    fit(&declares("1 32"), 2 << 20, 100 * body).unwrap();
    for (memory, body, asked) in [
        (MEMORY_BYTES_MIN + 1, body, "`memory_bytes_max = 65537`, the"),
        (MEMORY_BYTES_DEFAULT, body + 1, "`body_bytes_max = 8193` (which takes 65538 bytes of memory), the"),
    ] {
        let Err(ComponentError::Memory(text)) = fit(&one_page, memory, body) else { panic!("accepted: {asked}") };
        let expected = format!("the manifest asks for {asked} component declares at most 65536 bytes: link it with");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn growth_beyond_the_declaration_of_the_component_is_named_too() {
    let grows = Guest { prepare: "(drop (memory.grow (i32.const 2))) i32.const 0", memory: "1 2", ..Guest::default() };
    let component = verify(&grows.component(), Grants { wasi: false }, HandlerLimits::default(), None).unwrap();
    let fault = component.prepare(&asked("", b"")).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Memory);
    assert!(fault.detail.starts_with("196608 bytes of memory wanted, the component declares at most 131072: link it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_1000_rows_is_answered_and_too_little_memory_is_counted_as_such() {
    let database = TestDatabase::new().await;
    // Rows of 197 bytes, as JSON of about 250.
    database
        .execute(
            "CREATE FUNCTION linhas(n integer) RETURNS TABLE (id integer, nome text, quando timestamptz) LANGUAGE sql AS
                 $$SELECT i, repeat('x', 177), now() FROM generate_series(1, n) i$$;
             GRANT EXECUTE ON FUNCTION linhas TO galo",
        )
        .await;
    let (calls, bytes) = ("procedures = [\"linhas\"]", tokio::task::block_in_place(large));
    let guests = Guests::new()
        .add("ample", bytes, &format!("{calls}\nheaders = [\"x-a\"]\nlimits = {{ body_bytes_max = 131072 }}"))
        .add("scarce", bytes, &format!("{calls}\nlimits = {{ memory_bytes_max = 65536 }}"));
    let node = tokio::task::block_in_place(|| Program::serve(&database, guests.folder.path()));
    let get = async |path: String, body: String| request(&node.listen, Method::GET, &path, body).await;
    for count in [1, 40, 1000] {
        let answer = get(format!("/ample?rows={count}"), String::new()).await;
        assert_eq!((answer.status.as_u16(), answer.json().as_array().unwrap().len()), (200, count));
    }
    // More rows than one statement may return are a failure of the procedure, with the remedy in the log.
    assert_eq!(get("/ample?rows=100000".to_owned(), String::new()).await.status, 500);
    tokio::task::block_in_place(|| node.wait_for("return fewer rows at once"));
    let list = serde_json::to_string(&vec!["some text of an order"; 4000]).unwrap();
    assert!(list.len() > 96_000);
    assert_eq!(get("/ample".to_owned(), list).await.text(), "4000");
    // The largest head: a query of 10 KB, and a header of 5.
    let query = "q".repeat(10_000);
    let head = [("x-a", "v".repeat(5000))];
    let head: Vec<_> = head.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = request_with(&node.listen, Method::GET, &format!("/scarce?{query}"), &head).await;
    assert_eq!(answer.text(), "[10000,0]");
    let answer = request_with(&node.listen, Method::GET, &format!("/ample?{query}"), &head).await;
    assert_eq!(answer.text(), "[10000,5000]");
    // One page does not hold 1,000 rows: a fault, and the next request is answered.
    assert_eq!(get("/scarce?rows=1000".to_owned(), String::new()).await.status, 500);
    assert_eq!(get("/scarce?rows=1".to_owned(), String::new()).await.status, 200);
    let line = tokio::task::block_in_place(|| node.wait_for("guest faulted"));
    for part in ["handler=\"scarce\"", "phase=respond", "kind=memory", "`memory_bytes_max` in its entry raises it"] {
        assert!(line.contains(part), "{part} is missing in: {line}");
    }
    let metrics = request(&node.admin, Method::GET, "/metrics", "").await;
    let counted = r#"galo_faults_total{handler="scarce",kind="memory"} 1"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_statement_are_bounded_as_the_guest_receives_them() {
    // 16 bytes for each value, and nine for the name of the column: 65,535 values are seven bytes less than the limit.
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE FUNCTION linhas(n integer) RETURNS TABLE (i integer) LANGUAGE sql AS 'SELECT generate_series(1, n)';
             GRANT EXECUTE ON FUNCTION linhas TO galo",
        )
        .await;
    let bytes = tokio::task::block_in_place(large);
    let node = TestNode::guests(&database, &Guests::new().add("list", bytes, "procedures = [\"linhas\"]")).await;
    let most = (limits::ROWS_BYTES_MAX - limits::TEXT_BYTES - 1) / limits::VALUE_BYTES;
    let answer = node.get(&format!("/list?rows={most}")).await;
    assert_eq!((answer.status.as_u16(), answer.json().as_array().unwrap().len()), (200, most));
    assert_eq!(node.get(&format!("/list?rows={}", most + 1)).await.status, 500);
    assert_eq!(node.get("/list?rows=1").await.text(), r#"[{"i":1}]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_with_a_memory_that_a_component_can_never_have() {
    let database = TestDatabase::new().await;
    let one_page = Guest { memory: "1 1", ..Guest::default() }.component();
    let refusal =
        Guests::new().add("small", &one_page, "limits = { memory_bytes_max = 131072 }").refusal(&database).await;
    assert!(refusal.contains("small"), "{refusal}");
    let reason = "the manifest asks for `memory_bytes_max = 131072`, the component declares at most 65536 bytes";
    assert!(refusal.contains(reason), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_no_huge_pages() {
    // Whatever the system grants: a node in a container of 80 MB was killed for pages of which it used a fifth.
    let database = TestDatabase::new().await;
    let mut command = galo();
    command.arg("serve");
    let node = Program::serve_with(command, &database, handlers(Profile::Release));
    let shown = |file: &str, label: &str| {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", node.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(label)).unwrap().trim();
        line.trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    assert_eq!(shown("status", "THP_enabled:"), 0);
    // What was touched before it could decline.
    let huge = shown("smaps_rollup", "AnonHugePages:");
    assert!(huge <= 8192, "{huge} KiB");
}
