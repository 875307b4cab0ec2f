//! The page in a real browser: its policy lets its own script and style run and nothing else, it keeps itself up to
//! date, everything is done with the keyboard alone, and without a script it works as well. No text leaves the page
//! sideways.

use galo::develop::build::Profile;
use serde_json::json;

use crate::devtools::Devtools;
use crate::fixture::{Part, answers, echoing};
use crate::harness::{Guests, TestDatabase, TestNode, handlers, request_with, transacao};
use crate::page::{developers, recorded};

/// Runs a test of the browser beside the runtime, whose node answers it.
async fn driven(node: &TestNode, test: impl FnOnce(&mut Devtools, String) + Send + 'static) {
    let page = format!("http://{}/", node.admin_address());
    let browser = tokio::task::spawn_blocking(move || {
        let mut browser = Devtools::start(1280, 900);
        test(&mut browser, page);
        browser.complaints.clone()
    });
    assert_eq!(browser.await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_keeps_itself_up_to_date_in_a_browser() {
    let database = TestDatabase::new().await;
    let node = developers(&database, handlers(Profile::Release)).await;
    let listen = node.address();
    driven(&node, move |browser, page| {
        browser.show(&page);
        // Its style applies, and its script runs.
        assert_eq!(browser.value("getComputedStyle(document.querySelector('section')).borderRadius"), "10px");
        browser.until("!document.getElementById('live').hidden");
        assert_eq!(browser.value("document.querySelectorAll('tr.entry').length"), 0);
        browser.value("window.kept = true");
        // A request that somebody else sends appears by itself, in the same document.
        let sent = std::net::TcpStream::connect(&listen).unwrap();
        std::io::Write::write_all(
            &mut &sent,
            b"GET /clientes/1/extrato HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
        browser.until("document.querySelectorAll('tr.entry').length == 1");
        assert_eq!(browser.value("window.kept"), true);
        // Paused, it stays as it is.
        browser.value("document.getElementById('live').click()");
        assert_eq!(browser.value("document.getElementById('live').textContent"), "Paused");
    })
    .await;
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_done_with_the_keyboard_alone_in_a_browser() {
    let database = TestDatabase::new().await;
    let node = developers(&database, handlers(Profile::Release)).await;
    node.post("/clientes/1/transacoes", transacao(7, "c", "first")).await;
    recorded(&node, "transacoes", 1).await;
    driven(&node, |browser, page| {
        browser.show(&page);
        // Opens the record, runs it again, and sends another request from the form of its route.
        browser.tab_until("document.activeElement.id == 'a-r-transacoes-1'");
        browser.press("Enter");
        browser.until("document.querySelectorAll('.panel').length == 4");
        browser.tab_until("document.activeElement.value == 'current'");
        browser.press("Enter");
        browser.until("document.body.textContent.includes('Generation 1 decides the same as the record.')");
        browser.tab_until("document.activeElement.matches('details.route:has(input[value=\"transacoes\"]) > summary')");
        browser.press("Enter");
        browser.tab_until("document.activeElement.matches('details[open] .send button')");
        browser.press("Enter");
        browser.until("document.querySelector('.answer .chip') != null");
        browser.tab_until("document.activeElement.textContent == 'what happened'");
        browser.press("Enter");
        browser.until("document.querySelectorAll('.panel').length == 4 && location.hash == '#r-transacoes-2'");
    })
    .await;
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_script_the_page_shows_and_does_the_same_in_a_browser() {
    let database = TestDatabase::new().await;
    let node = developers(&database, handlers(Profile::Release)).await;
    node.post("/clientes/1/transacoes", transacao(7, "c", "first")).await;
    recorded(&node, "transacoes", 1).await;
    driven(&node, |browser, page| {
        browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
        browser.show(&page);
        assert_eq!(browser.value("document.getElementById('live').hidden"), true);
        browser.show(&format!("{page}?record=transacoes/1"));
        browser.tab_until("document.activeElement.value == 'current'");
        browser.press("Enter");
        browser.until("document.body.textContent.includes('Generation 1 decides the same as the record.')");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_does_nothing_in_a_browser_and_fits_into_any_width() {
    let database = TestDatabase::new().await;
    let evil = "<img src=/x onerror='window.evil=1'><script>window.evil=1</script>";
    let guests = Guests::new().add("x", &echoing(Part::Header), "headers = [\"x-evil\"]");
    let node = developers(&database, guests.folder.path()).await;
    let long = format!("/x?{}", "a".repeat(3000));
    request_with(&node.address(), http::Method::GET, &long, &[("x-evil", evil)]).await;
    recorded(&node, "x", 1).await;
    driven(&node, |browser, page| {
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (380, "light"), (380, "dark")] {
            browser.resize(width, 900);
            let dark = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            browser.call("Emulation.setEmulatedMedia", dark);
            for address in [page.clone(), format!("{page}?record=x/1")] {
                browser.show(&address);
                let wide = browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth");
                assert_eq!(wide, 0, "{address} is wider than {width}");
            }
            assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
            assert_eq!(browser.value("window.evil === undefined"), true);
            let ground = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(ground == "rgb(20, 19, 18)", scheme == "dark", "{ground}");
        }
        // A script that somebody smuggled in would not run.
        let smuggled = "(() => { const script = document.createElement('script'); script.textContent = 'window.evil = 1'; \
                        document.body.append(script); return window.evil === undefined })()";
        assert_eq!(browser.value(smuggled), true);
        browser.value("1");
        let stopped = std::mem::take(&mut browser.complaints);
        assert!(stopped.iter().any(|text| text.contains("Content Security Policy")), "{stopped:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_rolled_back_with_the_keyboard_and_without_a_script_in_a_browser() {
    let database = TestDatabase::new().await;
    for scripts in [true, false] {
        let guests = Guests::new().add("x", &answers(200), "");
        let node = developers(&database, guests.folder.path()).await;
        guests.put("x", &answers(201));
        node.until_generation("x", 2).await;
        driven(&node, move |browser, page| {
            if !scripts {
                browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
            }
            browser.show(&page);
            browser.tab_until("document.activeElement.matches('details.back > summary')");
            browser.press("Enter");
            browser.tab_until("document.activeElement.name == 'why'");
            // Without a reason the browser sends nothing.
            browser.tab_until("document.activeElement.matches('details.back button')");
            browser.press("Enter");
            assert_eq!(browser.value("document.querySelector('p.fine') == null"), true);
            browser.value("document.querySelector('[name=why]').value = 'wrong totals'");
            browser.tab_until("document.activeElement.matches('details.back button')");
            browser.press("Enter");
            browser.until("document.body.textContent.includes('x: rolled back from generation 2 to generation 1')");
            let wide = browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(wide, 0);
        })
        .await;
        assert_eq!(node.generation("x"), 1);
    }
}
