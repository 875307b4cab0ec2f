//! The procedures that handlers may call.

use maud::{Markup, html};

use super::table::{Column, first, left_out, table};
use super::text;
use super::view::View;
use crate::admin::api::procedures::Granted;

const COLUMNS: [Column; 6] = [
    Column("Procedure", ""),
    Column("Granted to", "wide"),
    Column("Calls", "number"),
    Column("Failed\u{a0}· unsent", "number"),
    Column("Wait p50\u{a0}·\u{a0}p99", "number wide"),
    Column("Database p50\u{a0}·\u{a0}p99", "number"),
];

pub(super) fn procedures(view: &View) -> Markup {
    let all = &view.procedures;
    html! {
        @if all.is_empty() { p.note { "No handler may call a procedure." } }
        @else {
            (table("Procedures", &COLUMNS, &html! { @for procedure in first(all) { (row(procedure)) } }))
            (left_out(all.len(), "/api/procedures"))
            p.note { "Since the node started. Times are estimated from the buckets of the metrics." }
        }
    }
}

fn row(procedure: &Granted) -> Markup {
    let wrong = procedure.failed + procedure.unsent;
    html! {
        tr {
            th scope="row" { (signature(procedure)) }
            td.wide { (procedure.handlers.join(", ")) }
            td.number { (text::count(procedure.succeeded + procedure.failed)) @if procedure.waiting > 0 { div.note { (text::count(procedure.waiting)) " wait" } } }
            td.number {
                @if wrong == 0 { span.note { "0" } }
                @else { span.warn { (text::count(procedure.failed)) " · " (text::count(procedure.unsent)) } }
            }
            td.number.wide { (text::maybe_micros(procedure.wait_p50_us)) " · " (text::maybe_micros(procedure.wait_p99_us)) }
            td.number { (text::maybe_micros(procedure.database_p50_us)) " · " (text::maybe_micros(procedure.database_p99_us)) }
        }
    }
}

fn signature(procedure: &Granted) -> Markup {
    html! {
        code {
            b { (procedure.name) } "(" wbr;
            @for (index, parameter) in procedure.parameters.iter().enumerate() {
                @if index > 0 { ", " }
                (parameter.name) @if !parameter.name.is_empty() { " " }
                span.note { (parameter.its_type) @if parameter.optional { "?" } }
            }
            ")"
        }
        div.note {
            @if procedure.columns.is_empty() { "returns nothing" }
            @else {
                "→ "
                @for (index, column) in procedure.columns.iter().enumerate() {
                    @if index > 0 { ", " } (column.name) " " (column.its_type)
                }
            }
            @if let Some(batch) = &procedure.batch { " · in batches by " (batch) }
            @if !procedure.writes { " · only reads" }
        }
    }
}
