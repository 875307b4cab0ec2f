//! The parts of a node's end that wait for others: before the drain, for the load balancer to notice; after it, for the
//! disk of the state folder.

use std::time::Duration;

use crate::drain::{Drain, Outcome};
use crate::reload::Orders;
use crate::signals::Signals;
use crate::supervise::Supervisor;

/// The signals and state that a lingering node watches.
pub(super) struct Lingering<'a> {
    pub(super) drain: &'a Drain,
    pub(super) orders: &'a Orders,
    pub(super) supervisor: &'a Supervisor,
}

/// The time between the signal to end and the drain. It lets the load balancer notice that the node is not ready. Until
/// then new connections are served. Another signal ends it early.
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

/// Records the state last and returns how the node ended. A disk that hangs does not delay the end.
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
        // The thread must end, or the runtime would wait for it.
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
