//! The tables of BENCHMARKS.md. What was not measured has no table.

use std::fmt::Write as _;

use crate::contender::Contender;
use crate::figures::{brief, ratio, spread, whole};
use crate::load::PERCENTILES;
use crate::measure::Measured;
use crate::pgbench;
use crate::pgo;
use crate::results::Results;
use crate::rounds;

/// Of the limit, of the twin, of Galo without durability, and of the shorter ledger.
const GOALS: [f64; 4] = [0.5, 0.92, 0.8, 1.1];

/// Of the services that others would write, by connections.
const GOALS_OF_SERVICES: [(Contender, usize, f64); 3] =
    [(Contender::Peer, 64, 4.0), (Contender::Peer, 8, 2.0), (Contender::Plain, 8, 1.3)];

/// Goals, and what came out.
pub fn goals(results: &Results) -> String {
    let [limit, twin, durable, growth] = GOALS;
    let connections = results.goal_connections;
    let to = |other| rounds::galo_to(&results.samples, other, connections);
    let placed_to = |other| rounds::placed_galo_to(&results.samples, &results.placed, other, connections);
    let of_durable = spread(results.durable.iter().map(|pair| pair.on.throughput() / pair.off.throughput()));
    let rows = results.growth.map_or(0, |growth| growth.rows);
    let goals = [
        (format!("throughput of Galo to that of the limit, {connections} connections"), limit, to(Contender::Limit)),
        (
            "the same, Galo placed; the limit placed or not, as it does more".to_owned(),
            limit,
            placed_to(Contender::Limit),
        ),
        (
            format!("throughput of Galo to that of its native twin, {connections} connections"),
            twin,
            to(Contender::Twin),
        ),
        ("the same, Galo placed; the twin placed or not, as it does more".to_owned(), twin, placed_to(Contender::Twin)),
        (
            format!("throughput of Galo durable to that of Galo not durable, {connections} connections"),
            durable,
            of_durable,
        ),
    ];
    let of_services = GOALS_OF_SERVICES.map(|(other, connections, goal)| {
        let what = format!("throughput of Galo to that of {}, {connections} connections", other.name());
        (what, goal, rounds::galo_to(&results.samples, other, connections))
    });
    let mut rows_text = Vec::new();
    for (what, goal, found) in goals.into_iter().chain(of_services) {
        if let Some(found) = found {
            let met = if found.median >= goal { "met" } else { "missed" };
            rows_text.push(vec![what, format!("≥ {}", ratio(goal)), found.shown(ratio), met.to_owned()]);
        }
    }
    if let Some(found) = results.growth {
        let met = if found.ratio.median <= growth { "met" } else { "missed" };
        let what = format!("an extrato with {} rows in the ledger to one with ten", whole(f64::from(rows)));
        rows_text.push(vec![what, format!("≤ {}", ratio(growth)), found.ratio.shown(ratio), met.to_owned()]);
    }
    table(&["goal", "", "measured", ""], &rows_text)
}

/// Requests a second, by connections.
pub fn throughput(results: &Results) -> String {
    let write = |measured: &Measured| measured.throughput();
    by_connections(results, |contender, connections| Some(results.of(contender, connections, write)?.shown(whole)))
}

/// What Galo does to what the others do.
pub fn ratios(results: &Results) -> String {
    let mut rows = Vec::new();
    for other in [Contender::Limit, Contender::Plain, Contender::Peer, Contender::Twin] {
        let mut row = vec![format!("Galo to {}", other.name())];
        for &connections in &results.connections {
            let found = rounds::galo_to(&results.samples, other, connections);
            row.push(found.map_or_else(dash, |found| found.shown(ratio)));
        }
        if row.iter().skip(1).any(|cell| *cell != dash()) {
            rows.push(row);
        }
    }
    table(&header("throughput", results), &rows)
}

/// Milliseconds, by percentile.
pub fn latency(results: &Results) -> String {
    let row = |contender| {
        let connections = results.goal_connections;
        let cell = |place: usize| results.of(contender, connections, |measured| measured.load.latency[place]);
        (0..PERCENTILES.len()).map(|place| Some(cell(place)?.shown(brief))).collect::<Option<Vec<_>>>()
    };
    by_contender("ms", &PERCENTILES, row)
}

/// Requests a second with each process kept on one core, beside those without.
pub fn placed(results: &Results) -> String {
    let connections = results.goal_connections;
    let rows: Vec<_> = Contender::PLACED
        .into_iter()
        .filter_map(|contender| {
            let placed = rounds::of(&results.placed, contender, connections, Measured::throughput)?;
            let free = results.of(contender, connections, Measured::throughput);
            let to_it = rounds::placed_galo_to(&results.samples, &results.placed, contender, connections);
            Some(vec![
                name(contender),
                free.map_or_else(dash, |free| free.shown(whole)),
                placed.shown(whole),
                to_it.filter(|_| contender != Contender::Galo).map_or_else(dash, |found| found.shown(ratio)),
            ])
        })
        .collect();
    table(&["requests a second", "left to the kernel", "placed", "Galo placed to the better of the two"], &rows)
}

/// Galo with every commit on the disk, and without.
pub fn durable(results: &Results) -> String {
    type Pick = fn(&crate::compare::Pair) -> &Measured;
    let kinds: [(&str, Pick); 2] = [("durable", |pair| &pair.on), ("not durable", |pair| &pair.off)];
    let mut rows = Vec::new();
    for (name, pick) in kinds {
        let of = |value: fn(&Measured) -> f64| spread(results.durable.iter().map(|pair| value(pick(pair))));
        let (Some(throughput), Some(half), Some(late)) =
            (of(Measured::throughput), of(|m| m.load.latency[0]), of(|m| m.load.latency[3]))
        else {
            return String::new();
        };
        rows.push(vec![name.to_owned(), throughput.shown(whole), half.shown(brief), late.shown(brief)]);
    }
    table(&["", "requests a second", "p50, ms", "p99, ms"], &rows)
}

/// What an extrato costs the server.
pub fn growth(results: &Results) -> String {
    let Some(found) = results.growth else { return String::new() };
    let rows =
        [vec!["10".to_owned(), found.few.shown(brief)], vec![whole(f64::from(found.rows)), found.many.shown(brief)]];
    table(&["rows of the client", "µs a call, on the server"], &rows)
}

/// The machine.
pub fn machine(results: &Results) -> String {
    let rows: Vec<_> = results.facts.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    table(&["", ""], &rows)
}

/// How it was measured.
pub fn method(results: &Results) -> String {
    let Results { seconds, warm_seconds, rounds, nginx_workers, compared, .. } = results;
    let refused: Vec<_> = Contender::SERVICES
        .into_iter()
        .filter_map(|contender| {
            let found = results.of(contender, results.goal_connections, Measured::refused)?;
            Some(format!("{} {} %", contender.name(), found.shown(|value| format!("{value:.1}"))))
        })
        .collect();
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        text,
        include_str!("method.txt"),
        profile = pgo::NOTE,
        seconds = seconds,
        warm_seconds = warm_seconds,
        rounds = rounds,
        workers = nginx_workers,
        compared = compared,
        refused = if refused.is_empty() { dash() } else { refused.join(", ") },
        pool = pgbench::CONNECTIONS,
    );
    text
}

fn by_connections(results: &Results, cell: impl Fn(Contender, usize) -> Option<String>) -> String {
    let mut rows = Vec::new();
    for contender in Contender::ALL {
        let mut row = vec![name(contender)];
        if contender.speaks_http() {
            row.extend(
                results.connections.iter().map(|&connections| cell(contender, connections).unwrap_or_else(dash)),
            );
        } else {
            // It has no connections to nginx: one figure.
            row.push(cell(contender, pgbench::CONNECTIONS).unwrap_or_else(dash));
            row.resize(results.connections.len() + 1, String::new());
        }
        if row.iter().skip(1).any(|cell| !cell.is_empty() && *cell != dash()) {
            rows.push(row);
        }
    }
    table(&header("requests a second", results), &rows)
}

/// A table with a row for each contender that has one.
pub fn by_contender(unit: &str, columns: &[&str], row: impl Fn(Contender) -> Option<Vec<String>>) -> String {
    let mut rows = Vec::new();
    for contender in Contender::ALL {
        if let Some(cells) = row(contender) {
            rows.push([vec![name(contender)], cells].concat());
        }
    }
    table(&[&[unit][..], columns].concat(), &rows)
}

fn name(contender: Contender) -> String {
    match contender {
        Contender::Pgbench => format!("pgbench, {} connections", pgbench::CONNECTIONS),
        other => other.name().to_owned(),
    }
}

fn header(what: &'static str, results: &Results) -> Vec<String> {
    let connections = results.connections.iter().map(|connections| format!("{connections} connections"));
    std::iter::once(what.to_owned()).chain(connections).collect()
}

fn table(header: &[impl AsRef<str>], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(header.iter().map(AsRef::as_ref).collect());
    text += &line(vec!["---"; header.len()]);
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text + "\n"
}

/// What stands for a figure that there is none of.
pub fn dash() -> String {
    "–".to_owned()
}
