//! The path of a request that no handler answered, as its trace may show it: without the parameters that a manifest
//! keeps out of records. A path that fits no route may have them anywhere, such as before a slash too many.

use crate::manifest::Entry;
use crate::record::REDACTED;
use crate::registry::Table;
use crate::route::{Route, Segment};

/// A path without the parameters that must not be kept. One that fits no route keeps what the routes spell out, if any
/// handler has such parameters.
pub(super) fn shown(table: &Table, path: &str) -> String {
    let routes = table.handlers.iter().flat_map(|handler| {
        let Entry { routes, record, .. } = &handler.entry;
        routes.iter().map(|route| (route, record.redact.parameters.as_slice()))
    });
    redacted(routes, path)
}

fn redacted<'a>(routes: impl Iterator<Item = (&'a Route, &'a [String])> + Clone, path: &str) -> String {
    if path == "*" || routes.clone().all(|(_, hidden)| hidden.is_empty()) {
        return path.to_owned();
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let fits = |route: &Route| {
        let pairs = || route.segments().iter().zip(&segments);
        route.segments().len() == segments.len() && pairs().all(|(its, text)| spells(its, text) || is_given(its, text))
    };
    let mut fitting = routes.clone().filter(|(route, _)| fits(route)).peekable();
    let kept: Vec<&str> = if fitting.peek().is_some() {
        // Which of several was meant is not known: what one of them hides is hidden.
        let mut kept = segments.clone();
        for (route, hidden) in fitting {
            for (segment, text) in route.segments().iter().zip(&mut kept) {
                if matches!(segment, Segment::Parameter(name) if hidden.contains(name)) {
                    *text = REDACTED;
                }
            }
        }
        kept
    } else {
        let spelled =
            |route: &Route| route.segments().iter().zip(&segments).take_while(|(its, text)| spells(its, text)).count();
        let known = routes.map(|(route, _)| spelled(route)).max().unwrap_or_default();
        segments[..known].iter().copied().chain([REDACTED]).collect()
    };
    format!("/{}", kept.join("/"))
}

fn spells(segment: &Segment, text: &str) -> bool {
    matches!(segment, Segment::Literal(literal) if literal == text)
}

fn is_given(segment: &Segment, text: &str) -> bool {
    matches!(segment, Segment::Parameter(_)) && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_shows_no_parameter_that_is_hidden_whatever_is_wrong_with_it() {
        let route = |text: &str| text.parse::<Route>().unwrap();
        let hidden = ["id".to_owned()];
        let routes = [
            (route("GET /people/{id}/card/{part}"), &hidden[..]),
            (route("GET /people/new"), &[]),
            (route("POST /people/{who}"), &hidden[..]),
            (route("GET /"), &[]),
        ];
        let shown = |path| redacted(routes.iter().map(|(route, hidden)| (route, *hidden)), path);
        for (path, expected) in [
            ("/people/maria/card/front", "/people/(redacted)/card/front"),
            ("/people/maria/card/front/", "/people/(redacted)"),
            ("/people/maria/", "/people/(redacted)"),
            ("/people/maria", "/people/maria"),
            ("/people/new/", "/people/new/(redacted)"),
            ("/peoples/maria", "/(redacted)"),
            ("//maria", "//(redacted)"),
            ("/", "/"),
            ("*", "*"),
        ] {
            assert_eq!(shown(path), expected, "{path}");
        }
        let nothing_hidden = routes.iter().map(|(route, _)| (route, &[][..]));
        assert_eq!(redacted(nothing_hidden, "/people/maria/"), "/people/maria/");
    }
}
