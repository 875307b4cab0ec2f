//! The page: one document without foreign parts, rendered here, so that it can be read without a script. Its script
//! only keeps it up to date. It shows what `api` hands out, and its forms do what `api` does.
//!
//! Everything that came from a client, a handler or the database is text here: `maud` escapes it, and the policy of the
//! page forbids every script and style but its own, known by their digests.

mod bar;
mod document;
mod events;
mod forms;
mod handlers;
mod procedures;
mod record;
mod requests;
mod table;
mod text;
mod traffic;
mod view;

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use maud::Markup;
use sha2::{Digest as _, Sha256};

use self::view::{Done, Place, View};
use super::api::denied::Denied;
use super::api::replay::{On, Replay};
use super::api::save::Save;
use super::api::send::Send;
use super::api::{replay, save, send};
use super::body::{self, Fields};
use super::out::{only, typed, with};
use super::{Admin, deploy, gate, show};
use crate::registry::Who;
use crate::report::{Reason, RollbackOrder};
use crate::wire::{Incoming, Outgoing};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Only the page's own style and script run; it loads nothing, sends its forms and asks for itself only here, and is in
/// no frame. Its icon is in the document.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let digest = |text: &str| BASE64.encode(Sha256::digest(text.as_bytes()));
    let (style, script) = (digest(STYLE), digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
         img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).ok()
});

/// Whether a path is the page.
pub(super) fn is(path: &str) -> bool {
    path == "/"
}

/// Answers a request to the page.
pub(super) async fn answer(admin: &Arc<Admin>, incoming: Incoming) -> Outgoing {
    let query = Fields::of_query(incoming.uri().query().unwrap_or_default());
    let place = match Place::of(&query) {
        Ok(place) => place,
        Err(denied) => return failed(&denied),
    };
    let done = match *incoming.method() {
        Method::GET | Method::HEAD => Done::Nothing,
        Method::POST => match act(admin, incoming).await {
            Ok(done) => done,
            Err(denied) => return failed(&denied),
        },
        _ => return only(incoming.method(), "GET, HEAD, POST, OPTIONS"),
    };
    let made = admin.work(move |admin| document::document(&View::of(admin, place, done), STYLE, SCRIPT)).await;
    made.map_or_else(|denied| failed(&denied), |markup| html(StatusCode::OK, markup))
}

/// Does what a form asks for. What is denied is shown where the form is.
async fn act(admin: &Arc<Admin>, incoming: Incoming) -> Result<Done, Denied> {
    let user = gate::user(&incoming);
    let fields = Fields::of_form(&body::read(incoming).await?);
    let field = |name| fields.get(name).unwrap_or_default().to_owned();
    let (handler, number) = (field("handler"), fields.number("number")?.unwrap_or(0));
    match fields.get("do") {
        Some("replay") => {
            let on = if fields.get("on") == Some("candidate") { On::Candidate } else { On::Current };
            admin.work(move |admin| replay::replay(admin, &Replay { handler, number, on })).await.map(Done::replayed)
        }
        Some("rollback") => {
            let user = user.unwrap_or_else(|| Who::page().to_string());
            let given = |name, otherwise: &str| match field(name).trim() {
                "" => otherwise.to_owned(),
                text => text.to_owned(),
            };
            let (who, why) = (given("who", &user), given("why", ""));
            let order = RollbackOrder { only: Some(field("only")), ..RollbackOrder::of(Reason { who, why }) };
            admin.work(move |admin| roll_back(admin, &handler, &order)).await.map(Done::RolledBack)
        }
        Some("save") => {
            let name = field("name").trim().to_owned();
            admin.work(move |admin| save::save(admin, &Save { handler, number, name })).await.map(Done::saved)
        }
        Some("send") => {
            // A form sends every line end as two characters.
            let body = field("body").replace("\r\n", "\n");
            let headers = header_lines(&field("headers"));
            let asked = Send { method: field("method"), path: field("path").trim().to_owned(), headers, body };
            let sent = send::send(admin, asked.clone()).await;
            Ok(Done::Sent { handler, route: field("route"), asked, sent })
        }
        _ => Err(Denied::bad("this is not one of the page's forms")),
    }
}

/// Rolls back what the form was shown for. Returns what was done.
fn roll_back(admin: &Admin, name: &str, order: &RollbackOrder) -> Result<String, Denied> {
    let table = admin.started()?.registry.table();
    let handler = table.handler(name).ok_or_else(|| Denied::missing(format!("no handler {name}")))?;
    if order.why.is_empty() {
        return Err(Denied::bad("say why: the reason is kept in the audit log"));
    }
    let from = deploy::newest(handler);
    if order.only.as_deref() != Some(from.component.compiled.digest.to_string().as_str()) {
        return Err(Denied::conflict(format!("{name} has changed since the page was made: look at it again")));
    }
    deploy::back(handler, order).map_err(|(status, message)| Denied::new(status, message))?;
    let report = show::handler(handler, &admin.started()?.gates);
    let passed = report.rolled_back.and_then(|back| back.passed_over()).unwrap_or_default();
    Ok(format!("{name}: rolled back from generation {} to generation {}{passed}", from.number, report.generation))
}

/// `Name: value` in each line.
fn header_lines(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pair = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    lines.map(pair).collect()
}

fn failed(denied: &Denied) -> Outgoing {
    html(denied.status, document::failure(denied, STYLE))
}

fn html(status: StatusCode, markup: Markup) -> Outgoing {
    let mut outgoing = typed(status, "text/html; charset=utf-8", markup.into_string());
    if let Some(policy) = &*POLICY {
        outgoing.headers_mut().insert(CONTENT_SECURITY_POLICY, policy.clone());
    }
    // The browser must name the page's own origin when it sends a form: `gate` looks at it.
    let outgoing = with(outgoing, REFERRER_POLICY, "same-origin");
    with(outgoing, http::HeaderName::from_static("cross-origin-opener-policy"), "same-origin")
}

/// An answer that may hold the data of clients: it is kept nowhere, and is only what it says it is.
pub(super) fn private(outgoing: Outgoing) -> Outgoing {
    let outgoing = with(outgoing, CACHE_CONTROL, "no-store");
    with(outgoing, X_CONTENT_TYPE_OPTIONS, "nosniff")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_of_a_name_and_a_value() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let lines = header_lines("a: b:c\r\n\n  X-Y :  z \nnothing");
        assert_eq!(lines, [pair("a", "b:c"), pair("X-Y", "z"), pair("nothing", "")]);
    }

    #[test]
    fn the_policy_allows_no_style_or_script_but_those_of_the_page() {
        let policy = POLICY.as_ref().unwrap().to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        // Nothing in them ends their element early, or is fetched.
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</") && !text.contains("url(") && !text.contains("@import"));
        }
        assert!(!SCRIPT.contains("innerHTML"));
    }
}
