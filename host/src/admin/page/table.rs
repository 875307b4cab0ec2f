//! A table that scrolls by itself where it is wider than the page.

use maud::{Markup, html};

use super::text;
use crate::limits;

/// A column: its title, and whether a narrow page leaves it out or it holds numbers.
pub(super) struct Column(pub(super) &'static str, pub(super) &'static str);

/// A table with this name for who hears the page.
pub(super) fn table(name: &str, columns: &[Column], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            table {
                thead { tr { @for Column(title, class) in columns { th scope="col" class=(class) { (title) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// The rows of the page, of all there are, and what is left out.
pub(super) fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(limits::PAGE_ROWS_MAX)]
}

/// How many rows are left out.
pub(super) fn left_out(all: usize, path: &str) -> Markup {
    let most = limits::PAGE_ROWS_MAX;
    html! {
        @if all > most { p.note { "… and " (text::count((all - most) as u64)) " more: " a href=(path) { (path) } } }
    }
}
