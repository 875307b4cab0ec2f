//! How much each route is asked, how it answers and how fast, by generation.

use maud::{Markup, html};

use super::bar;
use super::table::{Column, first, left_out, table};
use super::text;
use super::view::View;
use crate::admin::api::traffic::RouteTraffic;

const COLUMNS: [Column; 8] = [
    Column("Route", ""),
    Column("Gen.", "number wide"),
    Column("Last minute", "wide"),
    Column("Req/s", "number"),
    Column("4xx · 5xx", "number"),
    Column("p50", "number"),
    Column("p90", "number wide"),
    Column("p99", "number"),
];

pub(super) fn traffic(view: &View) -> Markup {
    let all = &view.traffic;
    html! {
        @if all.is_empty() { p.note { "No routes yet." } }
        @else {
            (table("Traffic", &COLUMNS, &html! { @for route in first(all) { (row(route)) } }))
            (left_out(all.len(), "/api/traffic"))
        }
    }
}

fn row(route: &RouteTraffic) -> Markup {
    let errors = route.client_errors + route.server_errors;
    html! {
        tr.past[!route.serves] {
            th scope="row" { code { (route.route) } div.note { (route.handler) } }
            td.number.wide { (route.generation) }
            td.wide { (bar::seconds(&route.per_second)) }
            td.number { (format!("{:.1}", route.requests_per_second)) }
            td.number {
                @if errors == 0 { span.note { "0" } }
                @else {
                    span.warn[route.client_errors > 0] { (text::count(route.client_errors)) } " · "
                    span.bad[route.server_errors > 0] { (text::count(route.server_errors)) }
                }
            }
            td.number { (text::maybe_micros(route.p50_us)) }
            td.number.wide { (text::maybe_micros(route.p90_us)) }
            td.number { (text::maybe_micros(route.p99_us)) }
        }
    }
}
