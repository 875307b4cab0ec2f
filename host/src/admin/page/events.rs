//! What happened to the node, the newest first.

use maud::{Markup, html};

use super::table::{Column, first, left_out, table};
use super::text;
use super::view::View;
use crate::admin::api::events::Happened;

const COLUMNS: [Column; 4] = [Column("Time", ""), Column("Event", ""), Column("Handler", ""), Column("What", "")];

pub(super) fn events(view: &View) -> Markup {
    let all = &view.events;
    html! {
        @if all.is_empty() { p.note { "Nothing yet: no swap, refusal, rollback or outage since the node started." } }
        @else {
            (table("Events", &COLUMNS, &html! { @for event in first(all) { (row(event)) } }))
            (left_out(all.len(), "/api/events"))
        }
    }
}

fn row(event: &Happened) -> Markup {
    let class = match event.kind {
        "swap" | "recovery" => "chip good",
        "manifest" | "canary" | "shadow" | "accepted" | "recording" => "chip",
        _ => "chip bad",
    };
    // One line is read at a glance; of a longer text the first.
    let first = event.text.lines().next().unwrap_or_default();
    html! {
        tr {
            td { (text::moment(&event.at)) }
            td { span class=(class) { (event.kind) } }
            td { @if let Some(handler) = &event.handler { (handler) } @if let Some(generation) = event.generation { div.note { "generation " (generation) } } }
            td.text {
                @if first.len() == event.text.trim_end().len() { (first) }
                @else { details { summary { (first) } (text::block(&event.text)) } }
            }
        }
    }
}
