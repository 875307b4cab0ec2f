//! What clients may see of a fault, whichever way the stack is run. Pure: reads a record, and returns what should not
//! be in it.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::client::KEPT_CONNECTION_CLOSED;
use crate::history::{Failed, History};
use crate::proof::Violation;

/// deploy/nginx/nginx.conf: `proxy_read_timeout`, after which a request goes to the other node.
const READ_TIMEOUT: Duration = Duration::from_millis(4500);

/// For a busy machine, on top of what a configuration promises.
const SLACK: Duration = Duration::from_millis(1500);

/// From the moment that Postgres takes connections again to the first answer.
const BACK_MAX: Duration = Duration::from_secs(2);

/// How long a client waits for its 503: limits.rs has 0.8 s for a connection.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

/// Clients notice nothing.
///
/// # Errors
/// A request that failed.
pub fn unnoticed(history: &History) -> anyhow::Result<()> {
    none_of(&history.failed())
}

/// A node hung: some answers took until nginx turned to the other one, none took longer, none failed.
///
/// # Errors
/// A request that failed; a slowest one that was too slow, or too quick to have met the node.
pub fn hang(history: &History) -> anyhow::Result<()> {
    unnoticed(history)?;
    let slowest = history.answered().into_iter().map(|(sent, ended)| ended.saturating_sub(sent)).max();
    let slowest = slowest.context("nothing was answered")?;
    println!("the slowest answer took {slowest:?}");
    ensure!(slowest > READ_TIMEOUT, "no request met the node that hung");
    ensure!(slowest < READ_TIMEOUT + SLACK, "an answer took {slowest:?}");
    Ok(())
}

/// Postgres was `killed`, and took connections again when it was `back`: 503 at once, and soon nothing more of it.
///
/// # Errors
/// A request that failed otherwise, or slowly, or when all should be well; an outage that no request met.
pub fn outage(history: &History, killed: Duration, back: Duration) -> anyhow::Result<()> {
    let answered = history.answered();
    let first = answered.iter().map(|(_, ended)| *ended).filter(|ended| *ended > back).min();
    let first = first.context("nothing was answered after Postgres was back")?.saturating_sub(back);
    println!("unavailable for {:?}; the first answer came {first:?} after that", back.saturating_sub(killed));
    ensure!(first < BACK_MAX, "the first answer came {first:?} after Postgres was back");
    let failed = history.failed();
    ensure!(failed.iter().any(|failed| failed.sent > killed), "no request failed during the outage");
    let took = |failed: &Failed| failed.ended.saturating_sub(failed.sent);
    println!("the slowest refusal took {:?}", failed.iter().map(took).max().unwrap_or_default());
    let bad = failed
        .into_iter()
        .filter(|failed| !failed.why.contains("503 ") || failed.sent >= back + BACK_MAX || took(failed) >= REFUSAL_MAX);
    none_of(&bad.collect::<Vec<_>>())
}

/// The shard of these clientes was `killed`, and took connections again when it was `back`: as an outage for them, and
/// the others notice nothing.
///
/// # Errors
/// As [`outage`]; also a request of another cliente that failed.
pub fn shard_outage(history: &History, of: &[i32], killed: Duration, back: Duration) -> anyhow::Result<()> {
    let others: Vec<_> = history.failed().into_iter().filter(|failed| !of.contains(&failed.cliente)).collect();
    none_of(&others)?;
    outage(history, killed, back)
}

/// Each of these groups of clientes was moved to another shard: they were refused for so long at most, and the others
/// noticed nothing.
///
/// # Errors
/// A request of another cliente that failed, or one that failed otherwise; a group that was refused for longer, or that
/// nobody asked for while it moved.
pub fn moved(history: &History, groups: &[&[i32]], most: Duration) -> anyhow::Result<()> {
    let failed = history.failed();
    let (of_groups, others): (Vec<_>, Vec<_>) =
        failed.into_iter().partition(|failed| groups.iter().any(|group| group.contains(&failed.cliente)));
    none_of(&others)?;
    refusals_only(history)?;
    for group in groups {
        let of_group = of_groups.iter().filter(|failed| group.contains(&failed.cliente));
        let (first, last) =
            (of_group.clone().map(|failed| failed.sent).min(), of_group.map(|failed| failed.ended).max());
        let (Some(first), Some(last)) = (first, last) else { bail!("nobody met the move of {group:?}") };
        println!("{group:?} were refused for {:?}", last.saturating_sub(first));
        ensure!(last.saturating_sub(first) <= most, "{group:?} were refused from {first:?} to {last:?}");
    }
    Ok(())
}

/// nginx was reloaded: retiring workers close idle connections, and a request may have been sent on one at that moment.
///
/// # Errors
/// A request that failed otherwise.
pub fn reload(history: &History) -> anyhow::Result<()> {
    let mut failed = history.failed();
    failed.retain(|failed| !failed.why.contains(KEPT_CONNECTION_CLOSED));
    none_of(&failed)
}

/// A 503 where the outcome is not known, and no other failure.
///
/// # Errors
/// A request that failed otherwise.
pub fn refusals_only(history: &History) -> anyhow::Result<()> {
    let mut failed = history.failed();
    failed.retain(|failed| !failed.why.contains("503 "));
    none_of(&failed)
}

/// The ledger holds.
///
/// # Errors
/// The first of the violations, a line each.
pub fn ledger(violations: &[Violation]) -> anyhow::Result<()> {
    let lines: Vec<_> = violations.iter().take(10).map(ToString::to_string).collect();
    ensure!(violations.is_empty(), "{} violations:\n{}", violations.len(), lines.join("\n"));
    Ok(())
}

fn none_of(failed: &[Failed]) -> anyhow::Result<()> {
    let first = &failed[..failed.len().min(5)];
    ensure!(failed.is_empty(), "{} requests should not have failed, the first of them: {first:#?}", failed.len());
    Ok(())
}
