//! The last requests that were recorded, one in a line, each with a bar of its phases.

use maud::{Markup, html};

use super::bar;
use super::record;
use super::table::{Column, table};
use super::text;
use super::view::{Place, View};
use crate::admin::api::requests::Summary;
use crate::limits;
use crate::record::Why;

const COLUMNS: [Column; 6] = [
    Column("Time", "wide"),
    Column("Status", ""),
    Column("Request", ""),
    Column("Phases", "phases"),
    Column("Took", "number"),
    Column("Gen.", "number wide"),
];

pub(super) fn requests(view: &View) -> Markup {
    let shown = match &view.requests {
        Ok(shown) => shown,
        Err(denied) => return html! { p.note { (denied.message) } },
    };
    let is_open = |summary: &Summary| is_open(view, summary);
    html! {
        (filter(view))
        @if let Some(open) = view.open.as_ref().filter(|_| !shown.iter().any(is_open)) {
            div.alone { (record::record(view, open)) }
        }
        @if shown.is_empty() { (nothing(view)) }
        @else {
            (legend())
            (table("Requests", &COLUMNS, &html! { @for summary in shown { (row(view, summary)) } }))
            @if shown.len() == limits::PAGE_REQUESTS {
                p.note { a href=(Place::filtered(view.place.wanted.handler.as_deref(), view.place.wanted.errors, limits::RECORDS_DEFAULT)) { "more requests" } }
            }
        }
    }
}

fn is_open(view: &View, summary: &Summary) -> bool {
    view.open.as_ref().is_some_and(|open| open.handler == summary.handler && open.number == summary.number)
}

fn nothing(view: &View) -> Markup {
    html! {
        p.note {
            @if view.status.recording == 0 { "Recording is off: start the node with --record N to keep one request in N." }
            @else if view.place.wanted.errors { "No request was answered with an error." }
            @else { "No request yet. Send one from below, or with curl." }
        }
    }
}

fn filter(view: &View) -> Markup {
    let (handler, errors) = (view.place.wanted.handler.as_deref(), view.place.wanted.errors);
    let link = |text: &str, to: String, current: bool| {
        html! { a href=(to) aria-current=[current.then_some("true")] { (text) } }
    };
    html! {
        nav.filter aria-label="Which requests" {
            (link("all", Place::filtered(handler, false, 0), !errors))
            (link("errors", Place::filtered(handler, true, 0), errors))
            @if view.handlers.handlers.len() > 1 {
                span.gap {}
                (link("every handler", Place::filtered(None, errors, 0), handler.is_none()))
                @for its in view.handlers.handlers.iter().take(12) {
                    (link(&its.name, Place::filtered(Some(&its.name), errors, 0), handler == Some(its.name.as_str())))
                }
            }
        }
    }
}

fn legend() -> Markup {
    html! {
        p.legend aria-hidden="true" {
            @for phase in bar::PHASES.into_iter().chain(["rest"]) { span.key { span class=(format!("dot {phase}")) {} (phase) } }
        }
    }
}

fn row(view: &View, summary: &Summary) -> Markup {
    let (open, id) = (is_open(view, summary), format!("r-{}-{}", summary.handler, summary.number));
    let to = if open { None } else { Some((summary.handler.as_str(), summary.number)) };
    let href = format!("{}#{}", view.place.with(to), if open { "requests" } else { &id });
    html! {
        tr.entry.open[open] id=(id) {
            td.wide { (text::moment(&summary.at)) }
            td { (record::status(summary.status)) }
            th scope="row" {
                a id=(format!("a-{id}")) href=(href) aria-expanded=(open) { (summary.method) " " (summary.path) }
                (marks(summary))
            }
            td.phases { (bar::phases_bar(&summary.times)) }
            td.number { (text::micros(summary.times.whole.into())) }
            td.number.wide { (summary.generation) }
        }
        @if let Some(opened) = view.open.as_ref().filter(|_| open) {
            tr.detail { td colspan=(COLUMNS.len()) { (record::record(view, opened)) } }
        }
    }
}

/// What is remarkable about a request.
fn marks(summary: &Summary) -> Markup {
    html! {
        @if summary.fault.is_some() { " " span.chip.bad { "fault" } }
        @if let Some(sqlstate) = &summary.sqlstate { " " span.chip { "SQLSTATE " (sqlstate) } }
        @if let Some(failure) = &summary.failure { " " span.chip { (failure) } }
        @if summary.why == Why::Slow { " " span.chip { "slow" } }
    }
}
