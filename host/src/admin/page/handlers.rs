//! Which generation of each handler serves, what came before, and what was refused or rolled back and why.

use maud::{Markup, html};

use super::record::refused;
use super::table::{Column, first, left_out, table};
use super::text;
use super::view::{Done, Place, View};
use crate::report::{HandlerReport, Shadow, ShadowState, State};

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
        @match &view.done {
            Done::RolledBack(Ok(text)) => p.fine role="status" { (text) },
            Done::RolledBack(Err(denied)) => (refused(denied)),
            _ => {},
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
                (faults(handler.faults))
            }
        }
        @if let Some(canary) = &handler.canary {
            tr {
                th scope="row" { "canary" div.note { (canary.percent) " by " (canary.by) } }
                td { (generation(Some(canary.generation), Some(&canary.sha256))) }
                td {
                    span.chip { "canary" }
                    div.note {
                        (canary.differed) " of " (canary.compared) " decided otherwise"
                        @if canary.intended > 0 { ", " (canary.intended) " as changed examples state" }
                    }
                }
                td.wide { (text::moment(&canary.since)) }
                td.number {
                    (text::count(canary.calls))
                    (faults(canary.faults))
                }
            }
        }
        @if let Some(previous) = &handler.previous {
            tr.past {
                th scope="row" { "previous" }
                td { (generation(Some(previous.generation), Some(&previous.sha256))) }
                td colspan="3" { "kept for a rollback" }
            }
        }
        (roll_back(handler))
        @if let Some(back) = &handler.rolled_back {
            (past("was live", generation(Some(back.generation), Some(&back.sha256)), "rolled back", &back.at, &back.cause))
        }
        @if let Some(refused) = &handler.refused {
            @let why = format!("refused: {}", refused.stage);
            (past("candidate", generation(None, refused.sha256.as_deref()), &why, &refused.at, &refused.message))
        }
        @if let Some(refused) = &handler.refused_deployment {
            @let why = format!("refused: {}", refused.stage);
            (past("deployment", generation(None, refused.sha256.as_deref()), &why, &refused.at, &refused.message))
        }
        @if let Some(shadow) = &handler.shadow { (self::shadow(shadow)) }
    }
}

/// Takes back the canary, or what serves if there is something before it.
fn roll_back(handler: &HandlerReport) -> Markup {
    let to = handler.previous.as_ref().map(|previous| previous.generation);
    let (what, only) = match (&handler.canary, to) {
        (Some(canary), _) => (format!("End the canary, generation {}", canary.generation), &canary.sha256),
        (None, Some(to)) => (format!("Roll back to generation {to}"), &handler.sha256),
        (None, None) => return html! {},
    };
    let named = |name: &str| format!("{name}-{}", handler.name);
    html! {
        tr.past {
            td colspan=(COLUMNS.len()) {
                details.back {
                    summary { (what) " …" }
                    form method="post" action="/#handlers" {
                        input type="hidden" name="do" value="rollback";
                        input type="hidden" name="handler" value=(handler.name);
                        input type="hidden" name="only" value=(only);
                        label for=(named("why")) { "Why" }
                        input id=(named("why")) name="why" required maxlength="500" autocomplete="off" placeholder="wrong totals";
                        label for=(named("who")) { "Your name" }
                        input id=(named("who")) name="who" maxlength="100" autocomplete="username" placeholder="for the audit log";
                        button type="submit" { (what) }
                    }
                }
            }
        }
    }
}

/// What runs beside the live requests, or did last.
fn shadow(shadow: &Shadow) -> Markup {
    let Shadow { sha256, state, message, every, counts, dropped, .. } = shadow;
    let (how, class) = match state {
        ShadowState::Verifying => ("verifying", "chip"),
        ShadowState::Running => ("running", "chip good"),
        ShadowState::Refused => ("refused", "chip bad"),
        ShadowState::Ended => ("ended", "chip"),
    };
    html! {
        tr.past {
            th scope="row" { "shadow" div.note { "1 in " (text::count(*every as u64)) } }
            td { (generation(None, Some(sha256))) }
            td colspan="3" {
                span class=(class) { (how) } " "
                (text::count(counts.differ)) " of " (text::count(counts.compared)) " decided otherwise"
                @if counts.skipped + dropped > 0 { ", " (text::count(counts.skipped + dropped)) " not compared" }
                @for path in &counts.paths { div.note { code { (path.path) } " " (text::count(path.count)) } }
            }
        }
        @if let Some(message) = message { tr.why { td colspan=(COLUMNS.len()) { (text::block(message)) } } }
    }
}

fn faults(count: u64) -> Markup {
    html! {
        @if count > 0 { div.bad { (text::plural(usize::try_from(count).unwrap_or(usize::MAX), "fault")) } }
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
    };
    html! { span class=(class) { (state) } }
}
