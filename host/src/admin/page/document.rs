//! The document: its head, the state of the node, and the sections one after the other.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::view::View;
use super::{events, forms, handlers, procedures, requests, text, traffic};
use crate::admin::api::denied::Denied;

/// The sections, each with its anchor.
const SECTIONS: [(&str, &str); 6] = [
    ("handlers", "Handlers"),
    ("traffic", "Traffic"),
    ("requests", "Requests"),
    ("try", "Try"),
    ("procedures", "Procedures"),
    ("events", "Events"),
];

/// The icon, in the document so that nothing is fetched.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' \
                    height='16' rx='4' fill='%23b4431f'/%3E%3Cpath d='M11.2 5.6A3.9 3.9 0 1 0 12 8H8.4' fill='none' \
                    stroke='white' stroke-width='1.8'/%3E%3C/svg%3E";

/// The whole page.
pub(super) fn document(view: &View, style: &str, script: &str) -> Markup {
    let title = view.status.listen.as_ref().map_or_else(|| "Galo".to_owned(), |listen| format!("Galo {listen}"));
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title, style))
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    div.inside {
                        h1 { "Galo" }
                        (state(view))
                        nav aria-label="Sections" {
                            @for (id, name) in SECTIONS { a href=(format!("#{id}")) { (name) } }
                        }
                        button #live type="button" hidden aria-pressed="true" { "Live" }
                    }
                }
                main #main {
                    p #lost role="status" hidden { "The node does not answer. Trying again …" }
                    (facts(view))
                    (section("handlers", "Handlers", true, handlers::handlers(view)))
                    (section("traffic", "Traffic", true, traffic::traffic(view)))
                    // A record that is open stays as it is.
                    (section("requests", "Requests", view.open.is_none(), requests::requests(view)))
                    (section("try", "Try a route", false, forms::forms(view)))
                    (section("procedures", "Procedures", true, procedures::procedures(view)))
                    (section("events", "Events", true, events::events(view)))
                }
                footer {
                    "The same as JSON: " a href="/api/openapi.json" { "/api/openapi.json" } " · "
                    a href="/metrics" { "/metrics" } " · times are UTC"
                }
                script { (PreEscaped(script)) }
            }
        }
    }
}

/// A page that only says what is wrong.
pub(super) fn failure(denied: &Denied, style: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head("Galo", style))
            body { main #main { section { h2 { (denied.status) } p { (denied.message) } p { a href="/" { "To the page" } } } } }
        }
    }
}

fn head(title: &str, style: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            link rel="icon" href=(ICON);
            style { (PreEscaped(style)) }
        }
    }
}

fn section(id: &str, title: &str, live: bool, inside: Markup) -> Markup {
    html! {
        section #(id) aria-labelledby=(format!("{id}-title")) {
            h2 id=(format!("{id}-title")) { (title) }
            div id=(format!("{id}-inside")) data-live[live] { (inside) }
        }
    }
}

fn state(view: &View) -> Markup {
    let status = &view.status;
    html! {
        p #state data-live { span class=(if status.ready { "chip good" } else { "chip bad" }) { (status.state) } }
    }
}

/// The node in a line of figures.
fn facts(view: &View) -> Markup {
    let status = &view.status;
    let recording = match (status.recording, status.records_readable) {
        (0, _) => "off".to_owned(),
        (1, _) => "every request".to_owned(),
        (every, _) => format!("1 in {}", text::count(every as u64)),
    };
    let figure = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    let number = |value: i64| text::count(u64::try_from(value).unwrap_or(0));
    html! {
        dl.facts #facts data-live {
            @if let Some(listen) = &status.listen { (figure("Answers on", html! { code { (listen) } })) }
            (figure("Since", text::day(&status.began)))
            (figure("In flight", html! { (number(status.in_flight)) }))
            (figure("Connections", html! { (number(status.connections)) }))
            (figure("Shed", html! { (text::count(status.shed)) }))
            (figure("Recording", html! { (recording) }))
            @if status.records_dropped > 0 { (figure("Records dropped", html! { (text::count(status.records_dropped)) })) }
            @if status.task_restarts > 0 { (figure("Tasks restarted", html! { (text::count(status.task_restarts)) })) }
            (figure("Version", html! { (status.version) @if let Some(revision) = status.revision { " " (revision) } }))
        }
    }
}
