//! One record: request, plan, outcome and response side by side, and what can be done with it.

use maud::{Markup, html};

use super::bar;
use super::text;
use super::view::{Done, Open, View};
use crate::admin::api::denied::Denied;
use crate::admin::api::procedures::Parameter;
use crate::admin::api::replay::Replayed;
use crate::limits::PAGE_ROWS_SHOWN as ROWS_SHOWN;
use crate::record::{Outcome, Plan, Record, Request, Response, Rows};

/// The record, or why it cannot be shown.
pub(super) fn record(view: &View, open: &Open) -> Markup {
    let record = match &open.record {
        Ok(record) => record,
        Err(denied) => return refused(denied),
    };
    html! {
        div.record {
            p.times { @for (name, took) in bar::phases(&record.times) { span.time { span class=(format!("dot {name}")) {} (name) " " b { (text::micros(took)) } } } }
            (bar::phases_bar(&record.times))
            @if let Some(fault) = &record.fault { div.trouble { strong { "Fault" } (text::block(fault)) } }
            div.panels {
                div.panel { h3 { "Request" } (request(&record.request)) }
                div.panel { h3 { "Plan" } (plan(view, record)) }
                div.panel { h3 { "Outcome" } (outcome(record)) }
                div.panel { h3 { "Response" } (response(record)) }
            }
            @if !record.redacted.is_empty() {
                p.note { "Taken out before it was kept: " (record.redacted.join(", ")) ". Two components are compared with each other, not with the stored answer." }
            }
            (actions(view, open))
            (done(view))
            p.note {
                "id " code { (record.request.id) } " · generation " (record.generation) " · " (text::digest(&record.sha256))
                @if let Some(trace) = &record.trace { " · trace " code { (trace) } }
                @if let Some(batch) = record.batch { " · in a batch of " (batch) }
                " · " a href=(format!("/api/records/{}/{}", open.handler, open.number)) { "as JSON" }
            }
        }
    }
}

/// The status of a response.
pub(super) fn status(status: u16) -> Markup {
    let class = match status {
        500.. => "chip bad",
        400..500 => "chip warn",
        _ => "chip good",
    };
    html! { span class=(class) { (status) } }
}

/// Why something was not done.
pub(super) fn refused(denied: &Denied) -> Markup {
    html! { div.trouble role="alert" { (text::block(&denied.message)) } }
}

/// Names with values.
pub(super) fn pairs(title: &str, pairs: &[(String, String)]) -> Markup {
    html! {
        @if !pairs.is_empty() {
            h4 { (title) }
            dl.pairs { @for (name, value) in pairs { dt { (name) } dd { (value) } } }
        }
    }
}

fn request(request: &Request) -> Markup {
    html! {
        p { b { (request.method) } " " code { (request.path) } @if let Some(query) = &request.query { code { "?" (query) } } }
        (pairs("Parameters", &request.parameters))
        (pairs("Headers", &request.headers))
        (pairs("Config", &request.config))
        @if let Some(claims) = &request.claims { h4 { "Claims" } (text::block(&text::indented(claims))) }
        h4 { "Body" }
        (text::body(&request.body))
    }
}

fn plan(view: &View, record: &Record) -> Markup {
    match &record.plan {
        None => html! { p.note { "none: prepare did not end" } },
        Some(Plan::Reply) => html! { p { "Reply at once, without a call" } },
        Some(Plan::Call(called)) => {
            let known = view.procedures.iter().find(|procedure| procedure.name == called.procedure);
            let parameters: &[Parameter] = known.map_or(&[], |procedure| &procedure.parameters);
            let name = |index: usize| parameters.get(index).map_or("", |parameter| parameter.name.as_str());
            html! {
                p { "Call " code { (called.procedure) } }
                dl.pairs {
                    @for (index, argument) in called.arguments.iter().enumerate() {
                        dt { (index + 1) " " (name(index)) " " span.note { (text::kind(argument)) } }
                        dd { (text::cell(argument)) }
                    }
                }
                h4 { "Carry" }
                (text::body(&called.carry))
            }
        }
    }
}

fn outcome(record: &Record) -> Markup {
    match &record.outcome {
        None if matches!(record.plan, Some(Plan::Call(_))) => html! { p.note { "not known: the call has no outcome" } },
        None => html! { p.note { "no call" } },
        Some(Outcome::Error(error)) => html! {
            p { span.chip.bad { "SQLSTATE " (error.sqlstate) } }
            (text::block(&error.message))
            @if let Some(detail) = &error.detail { h4 { "Detail" } (text::block(detail)) }
            @if let Some(constraint) = &error.constraint { p.note { "constraint " code { (constraint) } } }
        },
        Some(Outcome::Rows(rows)) => {
            let width = rows.columns.len().max(1);
            let count = rows.values.len() / width;
            html! {
                p { (text::plural(count, "row")) }
                @if count == 1 {
                    dl.pairs { @for (name, cell) in rows.columns.iter().zip(&rows.values) { dt { (name) } dd { (text::cell(cell)) } } }
                } @else if count > 1 { (several(rows, width)) }
                @if count > ROWS_SHOWN { p.note { "… and " (text::count((count - ROWS_SHOWN) as u64)) " more rows" } }
            }
        }
    }
}

/// The first rows as a table.
fn several(rows: &Rows, width: usize) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Rows" {
            table {
                thead { tr { @for column in &rows.columns { th scope="col" { (column) } } } }
                tbody {
                    @for row in rows.values.chunks(width).take(ROWS_SHOWN) {
                        tr { @for cell in row { td { (text::cell(cell)) } } }
                    }
                }
            }
        }
    }
}

fn response(record: &Record) -> Markup {
    let Response { headers, body, log, .. } = &record.response;
    html! {
        p { (status(record.response.status)) @if let Some(failure) = &record.failure { " the host answered: " code { (failure) } } }
        (pairs("Headers", headers))
        @if record.failure.is_none() { h4 { "Body" } (text::body(body)) }
        (pairs("Log", log))
    }
}

/// What can be done with a record.
fn actions(view: &View, open: &Open) -> Markup {
    let Open { handler, number, current, candidate, refused, may_save, .. } = open;
    let action = format!("{}#r-{handler}-{number}", view.place.with(Some((handler, *number))));
    let name =
        |on: &str, component: &str| html! { button type="submit" name="on" value=(on) { "Replay on " (component) } };
    html! {
        @if let Some(why) = refused { details { summary { "Why it cannot be replayed on the candidate" } (text::block(why)) } }
        div.actions {
            form method="post" action=(action) {
                input type="hidden" name="do" value="replay";
                (hidden(open))
                @if let Some(current) = current { (name("current", current)) }
                @if let Some(candidate) = candidate { (name("candidate", candidate)) }
            }
            @if *may_save {
                form method="post" action=(action) {
                    input type="hidden" name="do" value="save";
                    (hidden(open))
                    label { "Name " input name="name" required pattern="[A-Za-z0-9_\\-]+" maxlength="64" autocomplete="off" placeholder="not-found"; }
                    button type="submit" { "Save as example" }
                }
            }
        }
    }
}

fn hidden(open: &Open) -> Markup {
    html! {
        input type="hidden" name="handler" value=(open.handler);
        input type="hidden" name="number" value=(open.number);
    }
}

/// What was done with it.
fn done(view: &View) -> Markup {
    match &view.done {
        Done::Replayed(Ok(replayed)) => self::replayed(replayed),
        Done::Saved(Ok(saved)) => html! { p.fine role="status" { "Saved as " code { (saved.path) } } },
        Done::Replayed(Err(denied)) | Done::Saved(Err(denied)) => refused(denied),
        Done::Nothing | Done::Sent { .. } | Done::RolledBack(_) => html! {},
    }
}

fn replayed(replayed: &Replayed) -> Markup {
    let Replayed { component: its, compared_with, same, differences, decided, .. } = replayed;
    let component = &text::capitalized(its);
    let json = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
    html! {
        @match compared_with {
            None => p.fine role="status" { (component) " was run; something is taken out of the record, so there is nothing to compare it with." },
            Some(before) if *same => p.fine role="status" { (component) " decides the same as " (before) "." },
            Some(before) => div.trouble role="status" {
                p { strong { (component) " decides otherwise" } " than " (before) ", in " (text::plural(differences.len(), "place")) ":" }
                div.scroll tabindex="0" role="region" aria-label="Differences" {
                    table.differences {
                        thead { tr { th scope="col" { "Where" } th scope="col" { (before) } th scope="col" { (component) } } }
                        tbody {
                            @for difference in differences {
                                tr {
                                    th scope="row" { code { (difference.path) } }
                                    td { (text::block(&json(&difference.before))) }
                                    td { (text::block(&json(&difference.after))) }
                                }
                            }
                        }
                    }
                }
            },
        }
        details { summary { "What " (its) " decided" } (text::block(&json(decided))) }
    }
}
