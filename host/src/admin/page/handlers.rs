//! Which generation of each handler serves, what came before, and what was refused or rolled back and why.

use maud::{Markup, html};

use super::table::{Column, first, left_out, table};
use super::text;
use super::view::{Place, View};
use crate::report::{HandlerReport, State};

const COLUMNS: [Column; 7] = [
    Column("Handler", ""),
    Column("Generation", "number"),
    Column("Digest", ""),
    Column("State", ""),
    Column("Since", "wide"),
    Column("Requests", "number"),
    Column("Faults", "number"),
];

pub(super) fn handlers(view: &View) -> Markup {
    let all = &view.handlers.handlers;
    html! {
        @if let Some(refused) = &view.handlers.manifest.refused {
            div.trouble {
                p { strong { "The manifest was refused" } " at " (refused.stage) ", " (text::moment(&refused.at)) "; the one before it still serves." }
                (text::block(&refused.message))
            }
        }
        @if all.is_empty() { p.note { "The node is starting." } }
        @else {
            (table("Handlers", &COLUMNS, &html! { @for handler in first(all) { (rows(handler)) } }))
            (left_out(all.len(), "/api/handlers"))
        }
    }
}

fn rows(handler: &HandlerReport) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href=(Place::filtered(Some(&handler.name), false, 0)) title="its requests" { (handler.name) }
                @for route in &handler.routes { div.note { code { (route) } } }
            }
            td.number { (handler.generation) }
            td { (text::digest(&handler.sha256)) }
            td { (state(handler.state)) }
            td.wide { @if let Some(since) = &handler.since { (text::moment(since)) } }
            td.number { (text::count(handler.calls)) }
            td.number.bad[handler.faults > 0] { (text::count(handler.faults)) }
        }
        @if let Some(previous) = &handler.previous {
            tr.past {
                th scope="row" { "before it" }
                td.number { (previous.generation) }
                td { (text::digest(&previous.sha256)) }
                td colspan="4" { span.note { "kept for a rollback" } }
            }
        }
        @if let Some(back) = &handler.rolled_back {
            tr.past {
                th scope="row" { "rolled back" }
                td.number { (back.generation) }
                td { (text::digest(&back.sha256)) }
                td colspan="4" { span.chip.bad { "rolled back" } " " (text::moment(&back.at)) (text::block(&back.cause)) }
            }
        }
        @if let Some(refused) = &handler.refused {
            tr.past {
                th scope="row" { "candidate" }
                td.number { "–" }
                td { @if let Some(sha256) = &refused.sha256 { (text::digest(sha256)) } }
                td colspan="4" {
                    span.chip.bad { "refused: " (refused.stage) } " " (text::moment(&refused.at))
                    (text::block(&refused.message))
                }
            }
        }
    }
}

fn state(state: State) -> Markup {
    let class = match state {
        State::Live => "chip good",
        State::Probation => "chip",
        State::RolledBack => "chip bad",
    };
    html! { span class=(class) { (state) } }
}
