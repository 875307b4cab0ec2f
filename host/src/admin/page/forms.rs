//! A form for each route, filled from the examples of its handler. It sends a real request to the node.

use maud::{Markup, html};

use super::record::{pairs, refused, status};
use super::table::{first, left_out};
use super::text;
use super::view::{Done, Place, View};
use crate::admin::api::denied::Denied;
use crate::admin::api::routes::RouteForm;
use crate::admin::api::send::Sent;
use crate::example::Filled;

pub(super) fn forms(view: &View) -> Markup {
    html! {
        p.note { "A form sends a real request to " @if let Some(listen) = &view.status.listen { code { (listen) } } ": what it changes is changed." }
        @for form in &view.forms { (route(view, form)) }
        (left_out(view.handlers.handlers.iter().map(|handler| handler.routes.len()).sum(), "/api/routes"))
    }
}

fn route(view: &View, form: &RouteForm) -> Markup {
    let sent = match &view.done {
        Done::Sent { handler, route, asked, sent } if *handler == form.handler && *route == form.route => {
            Some((asked, sent))
        }
        _ => None,
    };
    let chosen =
        view.place.form.as_ref().is_some_and(|(handler, route)| *handler == form.handler && *route == form.route);
    let example = view.place.example.as_deref().filter(|_| chosen);
    let wanted = form.requests.iter().find(|filled| filled.example.as_deref() == example && example.is_some());
    let Some(filled) = wanted.or(form.requests.first()) else { return html! {} };
    let asked = sent.map_or_else(
        || filled.clone(),
        |(asked, _)| Filled {
            path: asked.path.clone(),
            headers: asked.headers.clone(),
            body: asked.body.clone(),
            ..filled.clone()
        },
    );
    html! {
        details.route open[chosen || sent.is_some()] id=(anchor(form)) {
            summary { code { (form.route) } " " span.note { (form.handler) } }
            (examples(form, asked.example.as_deref().filter(|_| sent.is_none())))
            (fields(form, &asked))
            @if let Some((_, sent)) = sent { (answer(sent)) }
        }
    }
}

/// The anchor of a form: the name of its handler and the place of its route, without what an id may not have.
fn anchor(form: &RouteForm) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("try-{}-{}", form.handler, form.route.chars().map(plain).collect::<String>())
}

fn address(form: &RouteForm, example: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("of", &form.handler).append_pair("route", &form.route);
    if let Some(example) = example {
        query.append_pair("example", example);
    }
    format!("/?{}#{}", query.finish(), anchor(form))
}

/// The examples that can fill a form.
fn examples(form: &RouteForm, current: Option<&str>) -> Markup {
    let named: Vec<_> = form.requests.iter().filter_map(|filled| filled.example.as_deref()).collect();
    html! {
        @if !named.is_empty() {
            nav.filter aria-label="Examples" {
                span.note { "fill from" }
                @for name in first(&named) {
                    a href=(address(form, Some(name))) aria-current=[(current == Some(*name)).then_some("true")] { (name) }
                }
            }
        }
    }
}

fn fields(form: &RouteForm, filled: &Filled) -> Markup {
    let has_body = !matches!(form.method.as_str(), "GET" | "HEAD");
    let lines: Vec<_> = filled.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let body = match serde_json::from_str::<&serde_json::value::RawValue>(&filled.body) {
        Ok(json) => text::indented(json.get()),
        Err(_) => filled.body.clone(),
    };
    html! {
        form.send method="post" action=(address(form, filled.example.as_deref())) {
            input type="hidden" name="do" value="send";
            input type="hidden" name="handler" value=(form.handler);
            input type="hidden" name="route" value=(form.route);
            input type="hidden" name="method" value=(form.method);
            label { span { (form.method) } input name="path" value=(filled.path) required spellcheck="false" autocomplete="off"; }
            label { span { "Headers" }
                textarea name="headers" rows=(lines.len().clamp(1, 6)) spellcheck="false" placeholder="Name: value" { "\n" (lines.join("\n")) }
            }
            @if has_body {
                label { span { "Body" } textarea name="body" rows=(body.lines().count().clamp(3, 16)) spellcheck="false" { "\n" (body) } }
            }
            p {
                button type="submit" { "Send " (form.method) }
                @if form.token { span.note { " This route needs a token: add the header Authorization: Bearer …" } }
                @if !form.headers.is_empty() { span.note { " The handler sees " (form.headers.join(", ")) } }
            }
        }
    }
}

fn answer(sent: &Result<Sent, Denied>) -> Markup {
    match sent {
        Err(denied) => refused(denied),
        Ok(sent) => html! {
            div.answer role="status" {
                p {
                    (status(sent.status)) " in " b { (text::micros(sent.micros)) } " "
                    @if let Some(record) = &sent.record {
                        @let (handler, number) = (&record.handler, record.number);
                        a href=(format!("{}#r-{handler}-{number}", Place::default().with(Some((handler, number))))) { "what happened" }
                    }
                }
                (text::body(&sent.body))
                details { summary { "Headers" } (pairs("", &sent.headers)) }
            }
        },
    }
}
