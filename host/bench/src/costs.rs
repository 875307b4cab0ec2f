//! The tables of what a request costs: CPU and context switches; and of the memory that is held meanwhile.

use crate::contender::Contender;
use crate::figures::{Spread, brief};
use crate::measure::{Component, Measured};
use crate::results::Results;
use crate::tables::{by_contender, dash};

/// Microseconds of CPU for a request, by component.
pub fn cpu(results: &Results, connections: usize) -> String {
    let columns: Vec<_> = Component::ALL.map(Component::name).into_iter().chain(["all"]).collect();
    by_contender("µs", &columns, |contender| by_component(results, contender, connections, |measured| measured.cpu))
}

/// Context switches for a request, by component, and how much of the machine was idle.
pub fn switches(results: &Results, connections: usize) -> String {
    let columns: Vec<_> = Component::ALL.map(Component::name).into_iter().chain(["all", "idle, %"]).collect();
    by_contender("context switches", &columns, |contender| {
        let mut cells = by_component(results, contender, connections, |measured| measured.switches)?;
        cells.push(results.of(contender, connections, |measured| measured.idle)?.shown(brief));
        Some(cells)
    })
}

/// Mebibytes, by component; not of the load generator, which has ended when it is looked at.
pub fn memory(results: &Results) -> String {
    let components = &Component::ALL[1..];
    let columns: Vec<_> = components.iter().map(|component| component.name()).collect();
    by_contender("MiB, anonymous; Pss", &columns, |contender| {
        let cell = |place: usize| {
            let of = |value: &dyn Fn(&Measured) -> f64| results.of(contender, results.goal_connections, value);
            let (anonymous, share) = (of(&|m| m.memory[place].anonymous)?, of(&|m| m.memory[place].share)?);
            Some(if share.most > 0.0 {
                format!("{}; {}", brief(anonymous.median), brief(share.median))
            } else {
                dash()
            })
        };
        (1..=components.len()).map(cell).collect::<Option<Vec<_>>>()
    })
}

/// A cell for each component, and one for all of them together.
fn by_component(
    results: &Results,
    contender: Contender,
    connections: usize,
    value: impl Fn(&Measured) -> [f64; 4],
) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    for place in 0..Component::ALL.len() {
        cells.push(present(results.of(contender, connections, |measured| value(measured)[place])?));
    }
    cells.push(results.of(contender, connections, |measured| value(measured).iter().sum())?.shown(brief));
    Some(cells)
}

/// A figure of a component; none of one that a contender does not have.
fn present(found: Spread) -> String {
    if found.most > 0.0 { found.shown(brief) } else { dash() }
}
