//! Which differences are intended, because a changed example states them.
//!
//! A changed example is one that the candidate passes and the serving generation fails. It covers the paths at which
//! the two decide otherwise on it, for all requests of its route; one without a request covers them for every route. A
//! difference is intended if every path of it is covered. The gate asks on recorded requests, a canary on live ones.

use std::collections::BTreeSet;
use std::time::Duration;

use super::compare::{Sides, known};
use super::cpu::spent;
use super::tally::paths;
use crate::example::{Example, Inputs};
use crate::guest::Component;
use crate::limits;
use crate::manifest::Entry;
use crate::replay::{self, Decision, Difference};

/// What changed examples cover.
#[derive(Debug, Default)]
pub struct Intended(Vec<Covered>);

#[derive(Debug)]
struct Covered {
    /// `None` is every route.
    route: Option<String>,
    paths: BTreeSet<String>,
}

impl Intended {
    /// What the examples of a candidate, which it has passed, say about its changes. `until` bounds it, in CPU time of
    /// this thread.
    pub(super) fn of(examples: &[Example], entry: &Entry, sides: &Sides<'_>, until: Duration) -> Self {
        let Some(serving) = sides.serving else { return Self::default() };
        let changed = examples.iter().take_while(|_| spent() < until);
        let changed = changed.filter(|example| example.check(entry, serving, Some(sides.procedures)).is_err());
        Self(changed.filter_map(|example| covered(example.inputs(entry).ok()?, serving, sides.candidate)).collect())
    }

    /// The same for a candidate that is compared on live requests. Takes a core for at most `GATE_CPU_MAX`.
    pub fn by(examples: &[Example], entry: &Entry, sides: &Sides<'_>) -> Self {
        Self::of(examples, entry, sides, spent() + limits::GATE_CPU_MAX)
    }

    /// Whether it is intended that a request of this route is decided otherwise.
    pub fn states(&self, route: &str, before: &Decision, after: &Decision) -> bool {
        // Most deployments change no example: then nothing is compared by path.
        !self.0.is_empty() && self.covers(route, &known(before, after, &[]))
    }

    /// Whether the differences on a request of this route are intended.
    pub(super) fn covers(&self, route: &str, differences: &[Difference]) -> bool {
        let covering = self.0.iter().filter(|covered| covered.route.as_ref().is_none_or(|of| of == route));
        let covered: BTreeSet<_> = covering.flat_map(|covered| &covered.paths).collect();
        // Where there may be more than were counted, one of them may be covered by nothing.
        let are_all = (1..limits::DIFFERENCES_PER_RECORD_MAX).contains(&differences.len());
        are_all && paths(differences).iter().all(|path| covered.contains(path))
    }
}

fn covered(inputs: Inputs, serving: &Component, candidate: &Component) -> Option<Covered> {
    let Inputs { request, outcome, carry } = inputs;
    let decide = |component: &Component| -> Option<Decision> {
        match (&request, &outcome) {
            (Some(request), outcome) => Some(replay::decide(component, request, |_| outcome.as_ref())),
            (None, Some(outcome)) => Some(replay::respond(component, &carry, outcome)),
            (None, None) => None,
        }
    };
    let found = known(&decide(serving)?, &decide(candidate)?, &[]);
    let route = request.as_ref().map(|request| request.route.to_string());
    Some(Covered { route, paths: paths(&found) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_intended_if_every_path_of_it_is_covered_on_its_route() {
        let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<_>>();
        let covered = |route: Option<&str>, of: &[&str]| Covered { route: route.map(str::to_owned), paths: set(of) };
        let intended = Intended(vec![
            covered(Some("GET /x"), &["response.status"]),
            covered(None, &["response.body.total"]),
            covered(Some("GET /y"), &["call.procedure"]),
        ]);
        let at = |path: &str| {
            let (path, place) = (path.to_owned(), path.to_owned());
            Difference { path, place, before: 0.into(), after: 1.into() }
        };
        let covers = |route: &str, paths: &[&str]| {
            intended.covers(route, &paths.iter().map(|path| at(path)).collect::<Vec<_>>())
        };
        assert!(covers("GET /x", &["response.status", "response.body.total"]));
        assert!(!covers("GET /x", &["response.status", "call.procedure"]));
        assert!(!covers("GET /y", &["response.status"]));
        assert!(!Intended::default().covers("GET /x", &[at("response.status")]));
        // What differs at no path that is known, or at more than are counted, is stated by nothing.
        assert!(!covers("GET /x", &[]));
        assert!(!covers("GET /x", &vec!["response.status"; limits::DIFFERENCES_PER_RECORD_MAX]));
    }
}
