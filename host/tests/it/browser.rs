//! A real browser: a page of another site fetches, sends JSON and cookies, and posts a form; with `[cors]` and without.
//! Without chromium the tests fail: only a real browser shows how browsers behave.

use std::process::{Child, Command, Stdio};

use http::Method;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::cors::with_section;
use crate::harness::{PATIENCE, TestDatabase, TestNode, request_with};

/// The page and its requests. It is a page of `localhost`, and the node is on `127.0.0.1`: another site.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><iframe name="frame"></iframe><script>
const api = "http://NODE", extrato = api + "/clientes/1/extrato", transacoes = api + "/clientes/1/transacoes";
const body = JSON.stringify({ valor: 1, tipo: "c", descricao: "pagina" });
const post = headers => fetch(transacoes, { method: "POST", headers, body });
const tries = {
    read: () => fetch(extrato),
    refusal: () => fetch(api + "/nada"),
    cookies: () => fetch(extrato, { credentials: "include" }),
    json: () => post({ "content-type": "application/json" }),
    other_header: () => post({ "content-type": "application/json", "x-other": "1" }),
    other_method: () => fetch(extrato, { method: "PUT" }),
    simple: () => post({ "content-type": "text/plain" }),
    unread: () => fetch(transacoes, { method: "POST", mode: "no-cors", body }),
};
const form = () => new Promise(done => {
    const form = document.createElement("form"), field = document.createElement("input");
    Object.assign(form, { action: transacoes, method: "post", enctype: "text/plain", target: "frame" });
    // A form sends NAME=VALUE; here name, `=` and value together are JSON.
    Object.assign(field, { name: '{"valor":1,"tipo":"c","descricao":"form","x":"', value: '"}' });
    form.append(field);
    document.body.append(form);
    document.querySelector("iframe").onload = () => done("sent");
    form.submit();
});
(async () => {
    const results = {};
    for (const [name, attempt] of Object.entries(tries)) {
        try {
            const answer = await attempt();
            results[name] = answer.type == "opaque" ? "opaque" : answer.status;
        } catch (error) {
            results[name] = error.name;
        }
    }
    results.form = await form();
    await fetch("/results", { method: "POST", body: JSON.stringify(results) });
})();
</script>"#;

/// A browser that shows one page, with its own profile.
struct Browser {
    child: Child,
    _profile: TempDir,
}

impl Browser {
    fn show(url: &str) -> Self {
        use std::os::unix::process::CommandExt as _;
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        // As root it has no sandbox, and a container's /dev/shm is small. With a debugging port it does not exit.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--remote-debugging-port=0", url]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().expect("chromium cannot be started: apt-get install chromium");
        Self { child, _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its process group: it has children.
        let _ = killpg(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// One request to the page's own site: the request line and the body.
async fn receive(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((head.lines().next()?.to_owned(), body.to_owned()));
            }
        }
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}

/// The site of the page, and its origin.
async fn site() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    (listener, origin)
}

/// Shows the page in a browser, and returns the results of its requests.
async fn tried(node: &TestNode, (listener, origin): (TcpListener, String)) -> Value {
    let page = PAGE.replace("NODE", &node.address());
    let _browser = Browser::show(&format!("{origin}/"));
    let served = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // A browser opens connections in advance, so one may stay silent.
            let Ok(Some((line, body))) = timeout(PATIENCE / 20, receive(&mut stream)).await else { continue };
            let content = if line.starts_with("GET / ") { page.as_str() } else { "" };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length:";
            let _ = stream.write_all(format!("{head} {}\r\n\r\n{content}", content.len()).as_bytes()).await;
            if line.starts_with("POST /results ") {
                return serde_json::from_str(&body).unwrap();
            }
        }
    };
    timeout(PATIENCE, served).await.expect("the browser has not come back with its results")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_reads_and_changes_nothing_in_a_browser() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let expected = json!({
        "read": "TypeError", "refusal": "TypeError", "cookies": "TypeError", "json": "TypeError",
        "other_header": "TypeError", "other_method": "TypeError", "simple": "TypeError", "unread": "opaque",
        "form": "sent",
    });
    assert_eq!(tried(&node, site().await).await, expected);
    // `simple`, `unread` and the form reached the node and were refused; the others sent a preflight first.
    assert_eq!(database.ledger_rows(1).await, 0);
    let metrics = node.admin("/metrics").await;
    assert!(metrics.text().contains(r#"handler="transacoes",code="403"} 3"#), "{}", metrics.text());
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_page_reads_and_posts_in_a_browser_as_the_section_allows() {
    for (credentials, cookies) in [(false, json!("TypeError")), (true, json!(200))] {
        let database = TestDatabase::new().await;
        let (listener, origin) = site().await;
        let credentials = format!("credentials = {credentials}");
        let section = format!("[cors]\norigins = [\"{origin}\"]\nheaders = [\"content-type\"]\n{credentials}");
        let node = TestNode::guests(&database, &with_section(&section)).await;
        let results = tried(&node, (listener, origin)).await;
        let expected = json!({
            "read": 200, "refusal": 404, "cookies": cookies, "json": 200, "other_header": "TypeError",
            "other_method": "TypeError", "simple": 200, "unread": "opaque", "form": "sent",
        });
        assert_eq!(results, expected);
        // These are `json`, `simple`, `unread` and the form.
        assert_eq!(database.ledger_rows(1).await, 4);
        database.assert_ledger_holds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_page_reads_in_a_browser_where_any_origin_is_allowed_but_not_with_cookies() {
    let database = TestDatabase::new().await;
    let folder = with_section("[cors]\norigins = [\"*\"]\nheaders = [\"content-type\"]");
    let node = TestNode::guests(&database, &folder).await;
    let results = tried(&node, site().await).await;
    assert_eq!((&results["read"], &results["json"], &results["form"]), (&json!(200), &json!(200), &json!("sent")));
    assert_eq!((&results["cookies"], &results["other_header"]), (&json!("TypeError"), &json!("TypeError")));
    assert_eq!(database.ledger_rows(1).await, 4);
    // The admin address still refuses pages of every origin.
    let page = [("origin", "http://localhost:3000"), ("sec-fetch-site", "cross-site")];
    assert_eq!(request_with(&node.admin_address(), Method::GET, "/live", &page).await.status, 403);
    database.assert_ledger_holds().await;
}
