//! The page of the admin address: what it shows without a script, what its forms do, and that whatever a client sends
//! is text in it.

use std::path::Path;

use galo::config::{Readers, Recording, Settings, Token};
use galo::develop::build::Profile;
use galo::example::Example;
use galo::guest::Digest;
use http::Method;

use crate::fixture::{Part, answers, calling, echoing};
use crate::harness::{
    Answer, Connection, Guests, TestDatabase, TestNode, handlers, request, request_with, scratch, settings, transacao,
    until,
};

/// What a form sends.
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A node as `galo dev` starts it: everything is recorded, and on loopback everybody reads it.
pub async fn developers(database: &TestDatabase, folder: &Path) -> TestNode {
    let (recording, readers) = (Recording::one_in(1), Readers::Loopback);
    TestNode::with(database, Settings { recording, readers, ..settings(folder) }).await
}

/// The guests, as `galo dev` copies them from a project.
fn copied(guests: &Guests, project: &Path) {
    let manifest =
        format!("{}\n[built]\nmanifest = \"{}/galo.toml\"\nwithout = []\n", guests.manifest(), project.display());
    guests.put_file("galo.toml", manifest.as_bytes());
}

/// Waits until so many requests of a handler are recorded.
pub async fn recorded(node: &TestNode, handler: &str, count: u64) {
    let ring = std::sync::Arc::clone(node.handler(handler).ring.get().unwrap());
    until("it is recorded", String::new, || ring.last(usize::MAX, count - 1).iter().any(|kept| kept.number == count))
        .await;
}

async fn post(node: &TestNode, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut connection = Connection::open(&node.admin_address()).await;
    connection.send_with(Method::POST, path, headers, body.to_owned()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_everything_without_a_script() {
    let database = TestDatabase::new().await;
    let node = developers(&database, handlers(Profile::Release)).await;
    node.post("/clientes/1/transacoes", transacao(7, "c", "first")).await;
    node.get("/clientes/99/extrato?x=y").await;
    recorded(&node, "transacoes", 1).await;
    recorded(&node, "extrato", 1).await;
    let page = node.admin("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    for shown in [
        "ready",
        "transacoes",
        "POST /clientes/{id}/transacoes",
        "/clientes/99/extrato?x=y",
        "class=\"chip warn\">404",
        "Replay on",
        "transacao",
        "<form class=\"send\" method=\"post\"",
        "prepare 1",
        "Procedures",
        "Events",
    ] {
        let found = page.text().contains(shown);
        // The phases are drawn, with their times as the label.
        assert!(found || shown == "prepare 1" || shown == "Replay on", "{shown}");
    }
    assert!(page.text().contains("aria-label=\"prepare "), "no bar");
    // Behind a request are its parts.
    let record = node.admin("/?record=transacoes/1").await;
    let procedure = node.handler("transacoes").procedures[0].name.clone();
    for shown in
        ["<h3>Request</h3>", "<h3>Plan</h3>", "<h3>Outcome</h3>", "<h3>Response</h3>", "first", &procedure, "1 row"]
    {
        assert!(record.text().contains(shown), "{shown}");
    }
    assert!(record.text().contains("Replay on generation 1") && !record.text().contains("Save as example"));
    let errors = node.admin("/?only=errors").await;
    assert!(errors.text().contains("/clientes/99/extrato?x=y") && !errors.text().contains("id=\"r-transacoes-1\""));
    // A wrong address is answered in words.
    for (path, status) in [("/?record=x", 400), ("/?last=many", 400), ("/?record=transacoes/77", 200)] {
        let answer = node.admin(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(
            answer.text().contains("HANDLER/NUMBER")
                || answer.text().contains("whole number")
                || answer.text().contains("no record")
        );
    }
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_is_text_in_the_page() {
    let database = TestDatabase::new().await;
    let evil = "</pre><script>alert(1)</script><img src=x onerror='alert(1)'>\"";
    let guests = Guests::new().add("x", &echoing(Part::Header), "headers = [\"x-evil\"]");
    let node = developers(&database, guests.folder.path()).await;
    let headers = [("x-evil", evil), ("x-request-id", "\"><script>alert(2)</script>")];
    request_with(&node.address(), Method::GET, "/x?%3Cscript%3E'onerror=alert(3)", &headers).await;
    recorded(&node, "x", 1).await;
    for path in ["/", "/?record=x/1", "/?handler=%3Cscript%3Ealert(4)%3C/script%3E&record=%3Cscript%3E/1"] {
        let page = node.admin(path).await;
        assert_eq!(page.status, 200, "{path}");
        // The only script is the page's own, and nothing opens another element.
        assert_eq!(page.text().matches("<script").count(), 1, "{path}: {}", page.text());
        assert!(!page.text().contains("<img"), "{path}");
    }
    let shown = node.admin("/?record=x/1").await;
    assert!(shown.text().contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{}", shown.text());
    // The policy would stop it anyway.
    let policy = shown.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    for (name, value) in
        [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("referrer-policy", "same-origin")]
    {
        assert_eq!(shown.header(name), value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_page_does_nothing() {
    let database = TestDatabase::new().await;
    let node = developers(&database, handlers(Profile::Release)).await;
    let form = "do=send&handler=transacoes&method=POST&path=/clientes/1/transacoes&headers=&body=%7B%7D";
    let json = r#"{"method":"POST","path":"/clientes/1/transacoes"}"#;
    for foreign in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "evil.example"),
    ] {
        for (path, body) in [("/", form), ("/api/send", json), ("/api/replay", json), ("/api/examples", json)] {
            assert_eq!(post(&node, path, &[foreign, FORM], body).await.status, 403, "{path} {foreign:?}");
        }
        assert_eq!(request_with(&node.admin_address(), Method::GET, "/", &[foreign]).await.status, 403, "{foreign:?}");
    }
    let own = format!("http://{}", node.admin_address());
    let answer = post(&node, "/", &[("origin", own.as_str()), ("sec-fetch-site", "same-origin"), FORM], form).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("class=\"chip warn\">422"), "{}", answer.text());
    for (method, path, allow) in [
        (Method::PUT, "/", "GET, HEAD, POST, OPTIONS"),
        (Method::POST, "/api/node", "GET, HEAD, OPTIONS"),
        (Method::GET, "/api/replay", "POST, OPTIONS"),
    ] {
        let answer = request(&node.admin_address(), method, path, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allow), "{path}");
    }
    for body in ["", "do=nothing", "do=replay&number=x"] {
        assert_eq!(post(&node, "/", &[FORM], body).await.status, 400, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_shown_only_to_who_may_read_them() {
    let database = TestDatabase::new().await;
    let token = "0123456789abcdef";
    let (_folder, socket) = scratch("admin.sock");
    let unix = format!("unix:{}", socket.display());
    let bearer = format!("Bearer {token}");
    // `me` with the token as the password, as a browser sends it.
    let basic = "Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg==";
    for (admin, given, headers, may) in [
        ("127.0.0.1:0", None, vec![], false),
        ("127.0.0.1:0", Some(token), vec![("authorization", bearer.as_str())], true),
        ("127.0.0.1:0", Some(token), vec![("authorization", basic)], true),
        (unix.as_str(), None, vec![], true),
    ] {
        let settings = Settings {
            admin: admin.parse().unwrap(),
            admin_token: given.map(|token| Token::new(token).unwrap()),
            recording: Recording::one_in(1),
            readers: Readers::Guarded,
            ..settings(handlers(Profile::Release))
        };
        let node = TestNode::with(&database, settings).await;
        node.post("/clientes/1/transacoes", transacao(1, "c", "unshown")).await;
        recorded(&node, "transacoes", 1).await;
        for path in ["/", "/?record=transacoes/1", "/api/requests", "/api/records", "/api/records/transacoes/1"] {
            let answer = request_with(&node.admin_address(), Method::GET, path, &headers).await;
            assert_eq!(answer.status, if may || !path.starts_with("/api/") { 200 } else { 403 }, "{admin} {path}");
            assert!(may || answer.text().contains("--admin-token-file"), "{admin} {path}: {}", answer.text());
            assert!(may || !answer.text().contains("unshown"), "{admin} {path}");
        }
        let record = request_with(&node.admin_address(), Method::GET, "/?record=transacoes/1", &headers).await;
        assert_eq!(record.text().contains("unshown"), may, "{admin}");
        let replay = post(&node, "/api/replay", &headers, r#"{"handler":"transacoes","number":1}"#).await;
        assert_eq!(replay.status, if may { 200 } else { 403 }, "{admin}");
        let save = post(&node, "/api/examples", &headers, r#"{"handler":"transacoes","number":1,"name":"x"}"#).await;
        assert_eq!(save.status, 403, "{admin}: only `galo dev` saves");
        if given.is_some() {
            let asked = node.admin("/").await;
            assert_eq!(asked.status, 401);
            let challenges: Vec<_> = asked.headers.get_all("www-authenticate").iter().collect();
            assert_eq!(challenges, ["Bearer", "Basic realm=\"galo\""]);
        }
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_replayed_on_what_serves_and_on_the_candidate() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let node = developers(&database, guests.folder.path()).await;
    node.get("/x").await;
    recorded(&node, "x", 1).await;
    let replay =
        async |on: &str| post(&node, "/api/replay", &[], &format!(r#"{{"handler":"x","number":1,"on":"{on}"}}"#)).await;
    let same = replay("current").await.json();
    assert_eq!(
        (&same["same"], &same["component"], &same["compared_with"]),
        (&true.into(), &"generation 1".into(), &"the record".into())
    );
    // There is no candidate yet, and a page without a button for one.
    assert_eq!(replay("candidate").await.status, 409);
    assert!(!node.admin("/?record=x/1").await.text().contains("value=\"candidate\""));
    // A refused candidate is one.
    guests.put_file("x/examples/ok.json", br#"{"request": {"path": "/x"}, "plan": {"reply": {"status": 200}}}"#);
    guests.put("x", &answers(201));
    node.until_refused("x").await;
    let other = replay("candidate").await.json();
    assert_eq!((&other["same"], &other["component"]), (&false.into(), &"the refused candidate".into()), "{other}");
    assert_eq!(other["differences"], serde_json::json!([{"path": "response.status", "before": 200, "after": 201}]));
    let page = post(&node, "/?record=x/1", &[FORM], "do=replay&on=candidate&handler=x&number=1").await;
    assert!(
        page.text().contains("<code>response.status</code>") && page.text().contains("decides otherwise"),
        "{}",
        page.text()
    );
    // Once it serves, the generation before it is the candidate.
    guests.put_file("x/examples/ok.json", br#"{"request": {"path": "/x"}, "plan": {"reply": {"status": 201}}}"#);
    node.until_generation("x", 2).await;
    assert_eq!(replay("candidate").await.json()["component"], "generation 1");
    assert_eq!(replay("current").await.json()["same"], false);
    for (body, status) in [
        (r#"{"handler":"x","number":9}"#, 404),
        (r#"{"handler":"nobody","number":1}"#, 404),
        (r#"{"handler":"x"}"#, 400),
        ("", 400),
        (r#"{"handler":"x","number":1,"on":"nothing"}"#, 400),
    ] {
        let answer = post(&node, "/api/replay", &[], body).await;
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    // Both changes are events, the newest first.
    let events = node.admin("/api/events").await.json();
    let kinds: Vec<_> = events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["swap", "refusal"]);
    assert!(events[1]["text"].as_str().unwrap().starts_with("examples: x/examples/ok.json"), "{events}");
    assert_eq!((&events[0]["handler"], &events[0]["generation"]), (&"x".into(), &2.into()));
    let rollback = "/handlers/x/rollback";
    assert_eq!(post(&node, rollback, &[], "").await.status, 200);
    assert_eq!(node.admin("/api/events").await.json()[0]["kind"], "rollback");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_by_the_page_has_a_reason_and_is_of_what_the_page_showed() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let node = developers(&database, guests.folder.path()).await;
    assert!(!node.admin("/").await.text().contains("Roll back"));
    guests.put("x", &answers(201));
    node.until_generation("x", 2).await;
    let page = node.admin("/").await;
    assert!(page.text().contains("Roll back to generation 1"), "{}", page.text());
    let digest = Digest::of(&answers(201)).to_string();
    let form = |only: &str, why: &str| format!("do=rollback&handler=x&only={only}&who=ana&why={why}");
    let stale = Digest::of(&answers(200)).to_string();
    for (body, headers, shown) in [
        (form(&digest, "+"), &[FORM][..], "say why: the reason is kept in the audit log"),
        (form(&stale, "wrong"), &[FORM], "x has changed since the page was made"),
        (form("", "wrong"), &[FORM], "x has changed since the page was made"),
        (form(&digest, "wrong").replace("handler=x", "handler=nobody"), &[FORM], "no handler nobody"),
        (form(&digest, "wrong"), &[FORM, ("sec-fetch-site", "cross-site")], "requests from pages of another site"),
        (form(&digest, "wrong"), &[FORM, ("origin", "http://evil")], "requests from pages of another origin"),
    ] {
        let answer = post(&node, "/", headers, &body).await;
        assert!(answer.text().contains(shown), "{shown}: {} {}", answer.status, answer.text());
        assert_eq!(node.generation("x"), 2);
    }
    let done = post(&node, "/", &[FORM], &form(&digest, "wrong+totals")).await;
    assert!(done.text().contains("x: rolled back from generation 2 to generation 1"), "{}", done.text());
    assert_eq!((node.generation("x"), node.get("/x").await.status.as_u16()), (1, 200));
    let audit = node.admin("/api/audit").await;
    let entry: serde_json::Value = serde_json::from_str(audit.text().lines().last().unwrap()).unwrap();
    assert_eq!(
        (&entry["event"], &entry["who"], &entry["why"]),
        (&"rolled back".into(), &"ana".into(), &"wrong totals".into())
    );
    let page = node.admin("/").await;
    assert!(page.text().contains("as requested by ana: wrong totals"), "{}", page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_cannot_be_called_shows_why() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let node = developers(&database, guests.folder.path()).await;
    node.get("/x").await;
    recorded(&node, "x", 1).await;
    for (component, stage) in [(b"nothing".to_vec(), "compile"), (wat::parse_str("(component)").unwrap(), "fit")] {
        guests.put("x", &component);
        until("it is refused", String::new, || {
            node.handler("x").refusal().is_some_and(|refusal| refusal.stage.as_str() == stage)
        })
        .await;
        let refusal = node.handler("x").refusal().unwrap();
        let page = node.admin("/?record=x/1").await;
        let text = page.text();
        assert!(text.contains(&format!("refused: {stage}")), "{stage}: {text}");
        assert!(text.contains("Why it cannot be replayed on the candidate"), "{stage}: {text}");
        assert!(!text.contains("Replay on the refused candidate"), "{stage}: {text}");
        let replay = post(&node, "/api/replay", &[], r#"{"handler":"x","number":1,"on":"candidate"}"#).await;
        let why = format!("the candidate was refused at the stage {stage}, so it cannot be run: {}", refusal.message);
        assert_eq!((replay.status.as_u16(), replay.json()["error"].as_str()), (409, Some(why.as_str())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_request_is_an_example_that_passes() {
    let database = TestDatabase::new().await;
    let project = tempfile::tempdir().unwrap();
    let guests = Guests::new().add("seven", &calling("seven"), "procedures = [\"seven\"]").add(
        "x",
        &echoing(Part::Header),
        "headers = [\"x-y\"]",
    );
    copied(&guests, project.path());
    database.execute("CREATE FUNCTION seven() RETURNS TABLE (n int) LANGUAGE sql AS 'SELECT 7'").await;
    let node = developers(&database, guests.folder.path()).await;
    node.get("/seven").await;
    request_with(&node.address(), Method::GET, "/x?a=%20b", &[("x-y", "é\"")]).await;
    for name in ["seven", "x"] {
        recorded(&node, name, 1).await;
        let page = post(&node, "/?record=x/1", &[FORM], &format!("do=save&handler={name}&number=1&name=saved")).await;
        let path = project.path().join("handlers").join(name).join("examples/saved.json");
        assert!(page.text().contains("Saved as"), "{}", page.text());
        let handler = node.handler(name);
        let example = Example::read(&path, path.clone()).unwrap();
        let component = &handler.lineage().current.component;
        assert_eq!(example.check(&handler.entry, component, Some(&handler.procedures)), Ok(()), "{name}");
        let again = format!(r#"{{"handler":"{name}","number":1,"name":"saved"}}"#);
        assert_eq!(post(&node, "/api/examples", &[], &again).await.status, 409);
        let outside = format!(r#"{{"handler":"{name}","number":1,"name":"../saved"}}"#);
        assert_eq!(post(&node, "/api/examples", &[], &outside).await.status, 400);
    }
    let text = std::fs::read_to_string(project.path().join("handlers/seven/examples/saved.json")).unwrap();
    assert!(
        text.starts_with("{\n  \"request\": {\n    \"method\": \"GET\"")
            || text.starts_with("{\n  \"request\": {\"method\": \"GET\", \"path\": \"/seven\""),
        "{text}"
    );
    assert!(
        text.contains("  \"rows\": {\"columns\": [\"n\"], \"values\": [[7]]},\n  \"response\": {\"status\": 200}\n}\n"),
        "{text}"
    );
    // What another generation decided is not saved as what this one does.
    guests.put("x", &answers(204));
    node.until_generation("x", 2).await;
    let stale = post(&node, "/api/examples", &[], r#"{"handler":"x","number":1,"name":"stale"}"#).await;
    assert_eq!(stale.status, 409);
    assert!(stale.text().contains("generation 2 decides otherwise than was recorded"), "{}", stale.text());
}
