//! Which generation of each handler serves, what came before, and what was refused or rolled back and why.

use maud::{Markup, html};

use super::table::{Column, first, left_out, table};
use super::text;
use super::view::{Place, View};
use crate::report::{HandlerReport, State};

const COLUMNS: [Column; 5] = [
    Column("Handler", ""),
    Column("Generation", ""),
    Column("State", ""),
    Column("Since", "wide"),
    Column("Requests", "number"),
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
            td { (generation(Some(handler.generation), Some(&handler.sha256))) }
            td { (state(handler.state)) }
            td.wide { @if let Some(since) = &handler.since { (text::moment(since)) } }
            td.number {
                (text::count(handler.calls))
                @if handler.faults > 0 { div.bad { (text::plural(usize::try_from(handler.faults).unwrap_or(usize::MAX), "fault")) } }
            }
        }
        @if let Some(previous) = &handler.previous {
            tr.past {
                th scope="row" { "previous" }
                td { (generation(Some(previous.generation), Some(&previous.sha256))) }
                td colspan="3" { "kept for a rollback" }
            }
        }
        @if let Some(back) = &handler.rolled_back {
            (past("was live", generation(Some(back.generation), Some(&back.sha256)), "rolled back", &back.at, &back.cause))
        }
        @if let Some(refused) = &handler.refused {
            @let why = format!("refused: {}", refused.stage);
            (past("candidate", generation(None, refused.sha256.as_deref()), &why, &refused.at, &refused.message))
        }
    }
}

/// The number of a generation, and its digest.
fn generation(number: Option<u64>, sha256: Option<&str>) -> Markup {
    html! {
        @if let Some(number) = number { span.generation { (number) } " " }
        @if let Some(sha256) = sha256 { (text::digest(sha256)) }
    }
}

/// A generation that does not serve, with the reason below.
fn past(what: &str, generation: Markup, how: &str, at: &str, why: &str) -> Markup {
    html! {
        tr.past {
            th scope="row" { (what) }
            td { (generation) }
            td colspan="3" { span.chip.bad { (how) } " " (text::moment(at)) }
        }
        tr.why { td colspan=(COLUMNS.len()) { (text::block(why)) } }
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
