//! The parts of a node's end that wait for others: for whoever sends it new connections, before the drain; and for the
//! disk of its state, behind it.

use std::time::Duration;

use crate::drain::{Drain, Outcome};
use crate::reload::Orders;
use crate::signals::Signals;
use crate::supervise::Supervisor;

/// What a node that lingers is asked, and what it looks at.
pub(super) struct Lingering<'a> {
    pub(super) drain: &'a Drain,
    pub(super) orders: &'a Orders,
    pub(super) supervisor: &'a Supervisor,
}

/// Between the signal to end and the drain: whoever sends new connections here has time to learn that the node is not
/// ready, and until then they are served. Another signal ends it.
pub(super) async fn linger(lingering: &Lingering<'_>, linger: Duration, signal: &str, signals: &mut Signals) {
    if linger.is_zero() {
        return;
    }
    lingering.drain.linger();
    tracing::info!(signal, seconds = linger.as_secs(), "lingering: not ready, and new connections are still served");
    tokio::select! {
        () = tokio::time::sleep(linger) => {}
        signal = signals.end(|| lingering.orders.scan_again()) => {
            tracing::info!(signal, "a second signal ends the lingering");
        }
        death = lingering.supervisor.died() => tracing::error!(task = death.task, "a task ended while lingering"),
    }
}

/// How a node ends when its state is recorded last. A disk that hangs does not hold its end up.
pub(super) async fn recorded_within(
    limit: Duration,
    record: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    outcome: Outcome,
) -> Outcome {
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(record)).await {
        Ok(Ok(Ok(()))) => return outcome,
        Ok(Ok(Err(error))) => tracing::error!("the state is not recorded: {error:#}"),
        Ok(Err(error)) => tracing::error!("the state is not recorded: {error}"),
        Err(_) => tracing::error!(
            "the state is not recorded: its disk did not answer within {} s; look at the folder of --state",
            limit.as_secs_f32()
        ),
    }
    match outcome {
        Outcome::Graceful => Outcome::Unrecorded,
        cut => cut,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_does_not_hold_the_end_up() {
        let (free, hung) = std::sync::mpsc::channel::<()>();
        let record = move || Ok(hung.recv()?);
        let outcome = recorded_within(Duration::from_millis(1), record, Outcome::Graceful).await;
        assert_eq!(outcome, Outcome::Unrecorded);
        // The thread ends, else the runtime would wait for it.
        free.send(()).unwrap();
    }

    #[tokio::test]
    async fn a_state_that_is_not_recorded_is_no_graceful_end() {
        let minute = Duration::from_secs(60);
        let cut = Outcome::Cut { connections: 1 };
        assert_eq!(recorded_within(minute, || Ok(()), Outcome::Graceful).await, Outcome::Graceful);
        assert_eq!(recorded_within(minute, || bail!("full"), Outcome::Graceful).await, Outcome::Unrecorded);
        assert_eq!(recorded_within(minute, || bail!("full"), cut).await, cut);
        assert_eq!(recorded_within(minute, || panic!("asked for"), Outcome::Graceful).await, Outcome::Unrecorded);
    }
}
